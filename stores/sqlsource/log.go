package sqlsource

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/layercache/layercache/invalidation"
)

// TableName names a stored table.
type TableName string

var (
	_ invalidation.Log = (*Log)(nil)
	_ invalidation.Log = (*Table)(nil)
)

// Log is the change log of one tenant of a stored table: which of its records changed, as of which version. It is safe for
// concurrent use.
//
// The versions are the table's. Those of a tenant rise in the order of its commits, with gaps where others wrote.
type Log struct {
	source *Source
	name   TableName
	tenant string
	sql    logStatements
}

// logStatements are the SQL of one log, rendered once. $1 is the tenant in each of them but head.
type logStatements struct {
	head, changes, sign string
}

// Log opens the change log of a table for a tenant. It does no I/O: of a table that the database does not have, every call
// fails with ErrNotMigrated. A tenant has at most 128 letters, digits, '.', '_' and '-'; "" is a tenant like any other, to
// which programs write that name none.
func (s *Source) Log(name TableName, tenant string) (*Log, error) {
	if !isTableName(string(name)) {
		return nil, fmt.Errorf("sqlsource: no table %q", string(name))
	}
	if !isTenant(tenant) {
		return nil, errTenant
	}
	l := &Log{source: s, name: name, tenant: tenant}
	l.sql = logStatements{head: l.render(headSQL), changes: l.render(changesSQL), sign: l.render(signSQL)}
	return l, nil
}

// errTenant does not repeat the tenant: it is nobody else's business.
var errTenant = errors.New("sqlsource: the tenant must be empty or have from 1 to 128 letters, digits, '.', '_' or '-'")

func isTenant(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && !('0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return len(s) <= 128
}

// isTableName says whether a name can stand in SQL as it is.
func isTableName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// render turns a statement about a log into the dialect's words; {tbl} is the table's name.
func (l *Log) render(query string) string {
	return l.source.dialect.render(strings.ReplaceAll(query, "{tbl}", "'"+string(l.name)+"'"))
}

// Name is the table's name.
func (l *Log) Name() TableName { return l.name }

// Tenant is whose changes the log holds.
func (l *Log) Tenant() string { return l.tenant }

const headSQL = `SELECT version FROM layercache_versions WHERE tbl = {tbl}`

// Head is the table's version now: no change of the tenant up to it is missing from the log.
func (l *Log) Head(ctx context.Context) (uint64, error) {
	var head uint64
	err := l.source.retry(ctx, func() error {
		return l.source.db.QueryRowContext(ctx, l.sql.head).Scan(&head)
	})
	if err != nil {
		return 0, failed("head", err)
	}
	return head, nil
}

// One statement, hence one snapshot. The inner limit finds the version of the last row asked for, and all rows of that
// version come along.
const changesSQL = `SELECT v.version,
	coalesce((SELECT t.version FROM layercache_trimmed t WHERE t.tbl = {tbl} AND t.tenant = $1), 0), o.version, o.id, o.whole
FROM layercache_versions v LEFT JOIN layercache_outbox o ON o.tbl = {tbl} AND o.tenant = $1 AND o.version > $2 AND o.version <= coalesce(
	(SELECT version FROM layercache_outbox WHERE tbl = {tbl} AND tenant = $1 AND version > $2 ORDER BY version LIMIT 1 OFFSET $3),
	9223372036854775807)
WHERE v.tbl = {tbl} ORDER BY o.version, o.id`

// Changes answers the tenant's change log above a version, as invalidation.Log asks. A Head below after says that the
// database is older than what the caller has seen, such as a restored backup: the page is then empty.
func (l *Log) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	var page invalidation.Page
	err := l.source.retry(ctx, func() (err error) {
		page, err = l.readChanges(ctx, int64(min(after, math.MaxInt64)), limit)
		return err
	})
	if err != nil {
		return invalidation.Page{}, failed("changes", err)
	}
	return page, nil
}

func (l *Log) readChanges(ctx context.Context, after int64, limit int) (invalidation.Page, error) {
	rows, err := l.source.db.QueryContext(ctx, l.sql.changes, l.tenant, after, limit-1)
	if err != nil {
		return invalidation.Page{}, err
	}
	defer rows.Close()
	var page invalidation.Page
	seen := false
	for rows.Next() {
		var version sql.NullInt64
		var id sql.NullString
		var whole sql.NullBool
		if err := rows.Scan(&page.Head, &page.Trimmed, &version, &id, &whole); err != nil {
			return invalidation.Page{}, err
		}
		seen = true
		if version.Valid {
			page.Changes = append(page.Changes, invalidation.Change{ID: id.String, All: whole.Bool, AsOf: uint64(version.Int64)})
		}
	}
	if err := rows.Err(); err != nil {
		return invalidation.Page{}, err
	}
	if !seen {
		return invalidation.Page{}, sql.ErrNoRows
	}
	return page, nil
}

// failed names an error of a read. Every read joins the version row, so an empty answer means that it is missing; it
// must not reach a caller as sql.ErrNoRows, which would look like an absent record.
func failed(op string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotMigrated
	}
	return named(op, err)
}
