package sqlsource

import (
	"context"
	"database/sql"
	"encoding/json"
	"iter"
)

// A batch of Import is one statement and one transaction of at most this many records and bytes.
const (
	importRecords = 500
	importBytes   = 4 << 20
)

const (
	importPostgres = `INSERT INTO {records} (tenant, {key}, document)
SELECT $1::text, pair->>0, pair->>1 FROM jsonb_array_elements($2::text::jsonb) AS pair
ON CONFLICT (tenant, {key}) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at`

	importSQLite = `INSERT INTO {records} (tenant, {key}, document)
SELECT $1, value->>0, value->>1 FROM json_each($2) WHERE true
ON CONFLICT (tenant, {key}) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at`
)

// Import stores many records, for tools and first fills. It goes in batches, each of them one transaction, and answers
// how many records it has stored, also beside an error; of an id that comes twice the later document stays. Relays
// deliver the changes: a batch of more than 64 records counts as a change of all of the tenant's. Its errors are Put's, about the
// batch that failed; those before it are stored.
func (t *Table) Import(ctx context.Context, records iter.Seq2[string, []byte]) (n int, asOf uint64, err error) {
	batch := make(map[string]string, importRecords)
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := t.importBatch(ctx, batch); err != nil {
			return err
		}
		n += len(batch)
		clear(batch)
		size = 0
		return nil
	}
	for id, document := range records {
		if err := checkID(id); err != nil {
			return n, 0, err
		}
		text := string(document)
		if !isText(text) {
			return n, 0, ErrBadDocument
		}
		batch[id] = text
		if size += len(id) + len(text); len(batch) >= importRecords || size >= importBytes {
			if err := flush(); err != nil {
				return n, 0, err
			}
		}
	}
	if err := flush(); err != nil {
		return n, 0, err
	}
	asOf, err = t.Head(ctx)
	return n, asOf, err
}

func (t *Table) importBatch(ctx context.Context, batch map[string]string) error {
	pairs := make([][2]string, 0, len(batch))
	for id, text := range batch {
		pairs = append(pairs, [2]string{id, text})
	}
	list, err := json.Marshal(pairs)
	if err != nil {
		return named("import", err)
	}
	if t.log.source.dialect == SQLite {
		_, _, err = t.log.writeSQLite(ctx, "import", "", t.sql.load, t.log.tenant, string(list))
		return err
	}
	return t.log.source.sendPostgres(ctx, "import", func(conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, t.sql.load, t.log.tenant, string(list))
		return err
	})
}
