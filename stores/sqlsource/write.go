package sqlsource

import (
	"context"
	"database/sql"
	"errors"
)

// On PostgreSQL a write is one statement and one round trip, so that the version row is never locked for the time a
// network takes. The writer's name travels in a setting of the transaction, from where the trigger reads it.
const (
	putPostgres = `INSERT INTO {records} (tenant, {key}, document, updated_at)
SELECT $1::text, $2::text, $3::text, now() FROM (SELECT set_config('layercache.writer', $4::text, true) AS writer) w WHERE w.writer IS NOT NULL
ON CONFLICT (tenant, {key}) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at
RETURNING layercache_version({tbl}), 1`

	deletePostgres = `WITH gone AS (
	DELETE FROM {records} r USING (SELECT set_config('layercache.writer', $3::text, true) AS writer) w
	WHERE r.tenant = $1::text AND r.{key} = $2::text AND w.writer IS NOT NULL RETURNING 1
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) AS n FROM gone) counted`

	putSQLite = `INSERT INTO {records} (tenant, {key}, document) VALUES ($1, $2, $3)
ON CONFLICT (tenant, {key}) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at`

	deleteSQLite = `DELETE FROM {records} WHERE tenant = $1 AND {key} = $2`

	signSQL = `UPDATE layercache_outbox SET writer = $2
WHERE tbl = {tbl} AND tenant = $1 AND NOT whole AND version = (SELECT version FROM layercache_versions WHERE tbl = {tbl})`
)

// Put stores a document under an id, in one transaction with its version and its outbox row. writer names the process
// that will deliver the change itself and then tell its relay (Relay.Delivered); with "" relays deliver it at once, like
// a foreign program's.
//
// An error means that nothing was stored, unless it is an *UnknownOutcomeError. Serialization and deadlock failures are
// retried until ctx ends.
func (t *Table) Put(ctx context.Context, id string, document []byte, writer string) (asOf uint64, err error) {
	if err := checkID(id); err != nil {
		return 0, err
	}
	text := string(document)
	if !isText(text) {
		return 0, ErrBadDocument
	}
	if t.log.source.dialect == SQLite {
		asOf, _, err = t.log.writeSQLite(ctx, "put", writer, t.sql.put, t.log.tenant, id, text)
	} else {
		asOf, _, err = t.log.writePostgres(ctx, "put", t.sql.put, t.log.tenant, id, text, writer)
	}
	return asOf, err
}

// Delete removes a record and says whether there was one. asOf is the table's version after it, either way. Its errors
// are Put's.
func (t *Table) Delete(ctx context.Context, id, writer string) (asOf uint64, existed bool, err error) {
	if err := checkID(id); err != nil {
		return 0, false, err
	}
	var n int64
	if t.log.source.dialect == SQLite {
		asOf, n, err = t.log.writeSQLite(ctx, "delete", writer, t.sql.remove, t.log.tenant, id)
	} else {
		asOf, n, err = t.log.writePostgres(ctx, "delete", t.sql.remove, t.log.tenant, id, writer)
	}
	return asOf, n > 0, err
}

// writePostgres runs a statement that answers the version and the number of records it touched, and reads the answer to
// its end: the commit comes after the rows.
func (l *Log) writePostgres(ctx context.Context, op, query string, args ...any) (asOf uint64, n int64, err error) {
	err = l.source.sendPostgres(ctx, op, func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, query, args...).Scan(&asOf, &n)
	})
	if err != nil {
		return 0, 0, err
	}
	return asOf, n, nil
}

// sendPostgres runs do, which is one statement that writes, with retries. Its error is an *UnknownOutcomeError unless it is
// known that nothing was stored.
func (s *Source) sendPostgres(ctx context.Context, op string, do func(*sql.Conn) error) error {
	sent := false
	err := s.retry(ctx, func() error {
		conn, err := s.db.Conn(ctx) // apart from the statement: a failure here is no unknown outcome
		if err != nil {
			return err
		}
		defer conn.Close()
		sent = true
		err = do(conn)
		if isRefused(err) {
			sent = false
		}
		return err
	})
	switch {
	case err == nil:
		return nil
	case sent:
		return &UnknownOutcomeError{Op: op, Err: err}
	default:
		return named(op, err)
	}
}

// writeSQLite runs a write, signs its outbox row, and reads the version, in one transaction.
func (l *Log) writeSQLite(ctx context.Context, op, writer, query string, args ...any) (asOf uint64, n int64, err error) {
	err = l.source.immediate(ctx, op, func(conn *sql.Conn) error {
		result, err := conn.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		if n, err = result.RowsAffected(); err != nil {
			return err
		}
		if writer != "" && n > 0 {
			if _, err := conn.ExecContext(ctx, l.sql.sign, l.tenant, writer); err != nil {
				return err
			}
		}
		return conn.QueryRowContext(ctx, l.sql.head).Scan(&asOf)
	})
	var unknown *UnknownOutcomeError
	switch {
	case err == nil:
		return asOf, n, nil
	case errors.As(err, &unknown):
		return 0, 0, err
	default:
		return 0, 0, failed(op, err)
	}
}
