package sqlsource

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"
)

const (
	// One reading of the clock, as in beatPostgres; what it waits for before that is the table's version.
	putAgentPostgres = `WITH c AS MATERIALIZED (SELECT {now} AS ms)
INSERT INTO layercache_agents
	(tenant, agent_id, name, capabilities, status, current_load, max_load, extra, last_heartbeat_ms, expires_ms)
SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::bigint, $7::bigint, $8::text,
	least(coalesce($9::bigint, c.ms), c.ms), c.ms + $10::bigint
FROM c CROSS JOIN (SELECT set_config('layercache.writer', $13::text, true) AS writer) w WHERE w.writer IS NOT NULL AND {put in touch}
ON CONFLICT (tenant, agent_id) DO UPDATE SET name = excluded.name, capabilities = excluded.capabilities, status = excluded.status,
	current_load = excluded.current_load, max_load = excluded.max_load, extra = excluded.extra,
	last_heartbeat_ms = excluded.last_heartbeat_ms, expires_ms = excluded.expires_ms
RETURNING layercache_version({tbl}), last_heartbeat_ms, expires_ms - $10::bigint`

	putAgentSQLite = `INSERT INTO layercache_agents
	(tenant, agent_id, name, capabilities, status, current_load, max_load, extra, last_heartbeat_ms, expires_ms)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, min(coalesce($9, {now}), {now}), {now} + $10 WHERE {put in touch}
ON CONFLICT (tenant, agent_id) DO UPDATE SET name = excluded.name, capabilities = excluded.capabilities, status = excluded.status,
	current_load = excluded.current_load, max_load = excluded.max_load, extra = excluded.extra,
	last_heartbeat_ms = excluded.last_heartbeat_ms, expires_ms = excluded.expires_ms
RETURNING last_heartbeat_ms, expires_ms - $10`

	// An agent that is gone is removed with the others, and was not there.
	removeAgentPostgres = `WITH removed AS (
	DELETE FROM layercache_agents a USING (SELECT set_config('layercache.writer', $3::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.agent_id = $2 AND w.writer IS NOT NULL RETURNING a.expires_ms > {now} AS live
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) FILTER (WHERE live) AS n FROM removed) counted`

	removeAgentSQLite = `DELETE FROM layercache_agents WHERE tenant = $1 AND agent_id = $2 AND expires_ms > {now}`

	flushAgentsPostgres = `WITH removed AS (
	DELETE FROM layercache_agents a USING (SELECT set_config('layercache.writer', $2::text, true) AS writer) w
	WHERE a.tenant = $1 AND w.writer IS NOT NULL RETURNING 1
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) AS n FROM removed) counted`

	flushAgentsSQLite = `DELETE FROM layercache_agents WHERE tenant = $1`
)

// Stored is what Put answers.
type Stored struct {
	// Heartbeat is the agent's, as stored. At is when it was stored, by the database's clock.
	Heartbeat, At int64
	// AsOf is the version.
	AsOf uint64
}

// Put stores an agent in place of what is there: its Heartbeat, or the database's time if heard is false or Heartbeat is
// still to come; Expires is ttl from the database's time. Its errors are those of Table.Put, and ErrSilence.
func (a *Agents) Put(ctx context.Context, row Agent, heard bool, ttl time.Duration, last Contact) (Stored, error) {
	if err := checkID(row.ID); err != nil {
		return Stored{}, err
	}
	for _, text := range []string{row.Name, row.Capabilities, row.Status, row.Extra} {
		if !isText(text) {
			return Stored{}, ErrBadDocument
		}
	}
	args := []any{
		a.log.tenant, row.ID, row.Name, row.Capabilities, row.Status, row.CurrentLoad, row.MaxLoad, row.Extra,
		sql.NullInt64{Int64: row.Heartbeat, Valid: heard},
		ttl.Milliseconds(), last.At, last.Grace.Milliseconds(),
	}
	var stored Stored
	var late, err error // late: no row, since the database was silent for too long
	if a.log.source.dialect == Postgres {
		err = a.log.source.sendPostgres(ctx, "put agent", func(conn *sql.Conn) error {
			late = conn.QueryRowContext(ctx, a.sql.put, append(args, a.writer)...).Scan(&stored.AsOf, &stored.Heartbeat, &stored.At)
			if errors.Is(late, sql.ErrNoRows) {
				return nil // which is an answer
			}
			return late
		})
	} else {
		stored.AsOf, err = a.signed(ctx, "put agent", func(conn *sql.Conn) (bool, error) {
			late = conn.QueryRowContext(ctx, a.sql.put, args...).Scan(&stored.Heartbeat, &stored.At)
			if errors.Is(late, sql.ErrNoRows) {
				return false, nil
			}
			return true, late
		})
	}
	switch {
	case err != nil:
		return Stored{}, err
	case late != nil:
		return Stored{}, ErrSilence
	}
	return stored, nil
}

// Delete removes an agent and says whether there was one that was not gone. Its errors are those of Table.Put.
func (a *Agents) Delete(ctx context.Context, id string) (asOf uint64, existed bool, err error) {
	if err := checkID(id); err != nil {
		return 0, false, err
	}
	asOf, n, err := a.write(ctx, "delete agent", a.sql.remove, a.log.tenant, id)
	return asOf, n > 0, err
}

// Flush removes every agent of the tenant. Its errors are those of Table.Put.
func (a *Agents) Flush(ctx context.Context) (asOf uint64, err error) {
	asOf, _, err = a.write(ctx, "flush agents", a.sql.flush, a.log.tenant)
	return asOf, err
}

// SetStatus changes the status of an agent that has another one. changed is false also where there is no agent. Its errors are
// those of Table.Put.
func (a *Agents) SetStatus(ctx context.Context, id, status string) (asOf uint64, changed bool, err error) {
	return a.update(ctx, "set status", a.sql.status, id, status)
}

// SetLoad is the same for the current load.
func (a *Agents) SetLoad(ctx context.Context, id string, load int64) (asOf uint64, changed bool, err error) {
	return a.update(ctx, "set load", a.sql.load, id, load)
}

// Take adds one to the load of an agent that is available and has room: less than its maximum, and than 2^53-1.
func (a *Agents) Take(ctx context.Context, id string) (asOf uint64, changed bool, err error) {
	return a.update(ctx, "take", a.sql.take, id, int64(1))
}

// Give takes one from the load of an agent that has some.
func (a *Agents) Give(ctx context.Context, id string) (asOf uint64, changed bool, err error) {
	return a.update(ctx, "give", a.sql.give, id, int64(1))
}

func (a *Agents) update(ctx context.Context, op, query, id string, value any) (asOf uint64, changed bool, err error) {
	if err := checkID(id); err != nil {
		return 0, false, err
	}
	asOf, n, err := a.write(ctx, op, query, a.log.tenant, id, value)
	return asOf, n > 0, err
}

// write runs a statement that changes rows; on PostgreSQL its last parameter is the writer.
func (a *Agents) write(ctx context.Context, op, query string, args ...any) (asOf uint64, n int64, err error) {
	if a.log.source.dialect == Postgres {
		return a.log.writePostgres(ctx, op, query, append(args, a.writer)...)
	}
	return a.log.writeSQLite(ctx, op, a.writer, query, args...)
}

// send runs do, which is one statement that writes. Its errors are those of Table.Put.
func (a *Agents) send(ctx context.Context, op string, do func(*sql.Conn) error) error {
	source := a.log.source
	if source.dialect == Postgres {
		return source.sendPostgres(ctx, op, do)
	}
	var last error // of the statement; nil: it was not sent
	err := source.writeSlot(ctx, func() error {
		conn, err := source.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		last = do(conn)
		return last
	})
	switch {
	case err == nil:
		return nil
	case last != nil && !isRefusedSQLite(last):
		return &UnknownOutcomeError{Op: op, Err: err}
	}
	return named(op, err)
}

// isRefusedSQLite says that SQLite answered that a statement failed, and so took back what it had done. An answer that was
// interrupted is none.
func isRefusedSQLite(err error) bool {
	var e interface{ Code() int }
	if !errors.As(err, &e) {
		return errors.Is(err, driver.ErrBadConn)
	}
	primary := e.Code() & 0xff
	return primary != 9 && primary != 10 // SQLITE_INTERRUPT, SQLITE_IOERR
}

// signed runs a statement of SQLite's that answers rows, signs its row of the outbox, and reads the version.
func (a *Agents) signed(ctx context.Context, op string, do func(*sql.Conn) (changed bool, err error)) (asOf uint64, err error) {
	err = a.log.source.immediate(ctx, op, func(conn *sql.Conn) error {
		changed, err := do(conn)
		if err != nil {
			return err
		}
		if changed && a.writer != "" {
			if _, err := conn.ExecContext(ctx, a.log.sql.sign, a.log.tenant, a.writer); err != nil {
				return err
			}
		}
		return conn.QueryRowContext(ctx, a.log.sql.head).Scan(&asOf)
	})
	if err != nil && !isUnknownOutcome(err) {
		err = failed(op, err)
	}
	return asOf, err
}

func isUnknownOutcome(err error) bool {
	var unknown *UnknownOutcomeError
	return errors.As(err, &unknown)
}
