package sqlsource

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/layercache/layercache/invalidation"
)

// Policies is the table of policy documents by agent id.
const Policies TableName = "policies"

// MaxID is the longest id of a record, in bytes.
const MaxID = 1024

// relations says where a table's records are: the relation and the column of its key.
var relations = map[TableName]struct{ relation, key string }{
	Policies: {"layercache_policies", "agent_id"},
}

// Table is what one tenant has of a stored table of documents: records by id, each change of which has a version. It is
// safe for concurrent use.
type Table struct {
	log *Log
	sql statements
}

// statements are the SQL of one table, rendered once. $1 is the tenant in each of them.
type statements struct {
	get, getMany, put, remove, load string
}

// Table opens a stored table for a tenant, which sees its own records alone. It does no I/O; a name of no table of
// documents and what cannot be a tenant (see Log) are errors.
func (s *Source) Table(name TableName, tenant string) (*Table, error) {
	at, ok := relations[name]
	if !ok {
		return nil, fmt.Errorf("sqlsource: no table %q", string(name))
	}
	log, err := s.Log(name, tenant)
	if err != nil {
		return nil, err
	}
	t := &Table{log: log}
	fill := strings.NewReplacer("{records}", at.relation, "{key}", at.key)
	render := func(query string) string { return log.render(fill.Replace(query)) }
	t.sql = statements{get: render(getSQL), getMany: render(getManySQL)}
	if s.dialect == SQLite {
		t.sql.put, t.sql.remove, t.sql.load = render(putSQLite), render(deleteSQLite), render(importSQLite)
	} else {
		t.sql.put, t.sql.remove, t.sql.load = render(putPostgres), render(deletePostgres), render(importPostgres)
	}
	return t, nil
}

// Log is the table's change log.
func (t *Table) Log() *Log { return t.log }

// Name is the table's name.
func (t *Table) Name() TableName { return t.log.name }

// Tenant is whose records the table answers.
func (t *Table) Tenant() string { return t.log.tenant }

// Head is the Log's.
func (t *Table) Head(ctx context.Context) (uint64, error) { return t.log.Head(ctx) }

// Changes is the Log's.
func (t *Table) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	return t.log.Changes(ctx, after, limit)
}

// Record is a stored document and the version of the table in the snapshot it was read in.
type Record struct {
	// Document is the record's text, the caller's own copy; nil if there is no record.
	Document []byte
	// AsOf is the table's version: no change up to it is missing from the answer.
	AsOf uint64
}

const getSQL = `SELECT v.version, r.{key} IS NOT NULL, r.document
FROM layercache_versions v LEFT JOIN {records} r ON r.tenant = $1 AND r.{key} = $2
WHERE v.tbl = {tbl}`

// Get reads one record in one round trip (two the first time on a connection, when the driver prepares statements).
// The record, or its absence, and AsOf come from one statement. AsOf is set when there is no record too.
func (t *Table) Get(ctx context.Context, id string) (rec Record, found bool, err error) {
	if err := checkID(id); err != nil {
		return Record{}, false, err
	}
	err = t.log.source.retry(ctx, func() error {
		return t.log.source.db.QueryRowContext(ctx, t.sql.get, t.log.tenant, id).Scan(&rec.AsOf, &found, &rec.Document)
	})
	if err != nil {
		return Record{}, false, failed("get", err)
	}
	return rec, found, nil
}

const getManySQL = `SELECT v.version, r.{key}, r.document
FROM layercache_versions v LEFT JOIN {records} r ON r.tenant = $1 AND r.{key} IN {ids:$2}
WHERE v.tbl = {tbl}`

// GetMany reads the records of several ids in one statement. An id that is missing from found has no record as of asOf.
func (t *Table) GetMany(ctx context.Context, ids []string) (found map[string][]byte, asOf uint64, err error) {
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return nil, 0, err
		}
	}
	if ids == nil {
		ids = []string{}
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, 0, named("get many", err)
	}
	err = t.log.source.retry(ctx, func() error {
		found, asOf, err = t.readMany(ctx, string(list))
		return err
	})
	if err != nil {
		return nil, 0, failed("get many", err)
	}
	return found, asOf, nil
}

func (t *Table) readMany(ctx context.Context, list string) (map[string][]byte, uint64, error) {
	rows, err := t.log.source.db.QueryContext(ctx, t.sql.getMany, t.log.tenant, list)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	found := make(map[string][]byte)
	var asOf uint64
	seen := false
	for rows.Next() {
		var id sql.NullString
		var document []byte
		if err := rows.Scan(&asOf, &id, &document); err != nil {
			return nil, 0, err
		}
		seen = true
		if id.Valid {
			found[id.String] = document
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, err
	}
	if !seen {
		return nil, 0, sql.ErrNoRows
	}
	return found, asOf, nil
}

func checkID(id string) error {
	if id == "" || len(id) > MaxID || !isText(id) {
		return ErrBadID
	}
	return nil
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
