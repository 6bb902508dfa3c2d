package sqlsource

import (
	"context"
	"database/sql"
	"time"
)

const (
	putAgentPostgres = `INSERT INTO layercache_agents
	(tenant, agent_id, name, capabilities, status, current_load, max_load, extra, last_heartbeat_ms, expires_ms)
SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::bigint, $7::bigint, $8::text,
	least(coalesce($9::bigint, {now}), {now}), {now} + $10::bigint
FROM (SELECT set_config('layercache.writer', $11::text, true) AS writer) w WHERE w.writer IS NOT NULL
ON CONFLICT (tenant, agent_id) DO UPDATE SET name = excluded.name, capabilities = excluded.capabilities, status = excluded.status,
	current_load = excluded.current_load, max_load = excluded.max_load, extra = excluded.extra,
	last_heartbeat_ms = excluded.last_heartbeat_ms, expires_ms = excluded.expires_ms
RETURNING layercache_version({tbl}), last_heartbeat_ms`

	putAgentSQLite = `INSERT INTO layercache_agents
	(tenant, agent_id, name, capabilities, status, current_load, max_load, extra, last_heartbeat_ms, expires_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, min(coalesce($9, {now}), {now}), {now} + $10)
ON CONFLICT (tenant, agent_id) DO UPDATE SET name = excluded.name, capabilities = excluded.capabilities, status = excluded.status,
	current_load = excluded.current_load, max_load = excluded.max_load, extra = excluded.extra,
	last_heartbeat_ms = excluded.last_heartbeat_ms, expires_ms = excluded.expires_ms
RETURNING last_heartbeat_ms`

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

// Put stores an agent in place of what is there: its Heartbeat, or the database's time if heard is false or Heartbeat is
// still to come; Expires is ttl from the database's time. It answers the heartbeat as stored. Its errors are those of Table.Put.
func (a *Agents) Put(ctx context.Context, row Agent, heard bool, ttl time.Duration) (heartbeat int64, asOf uint64, err error) {
	if err := checkID(row.ID); err != nil {
		return 0, 0, err
	}
	for _, text := range []string{row.Name, row.Capabilities, row.Status, row.Extra} {
		if !isText(text) {
			return 0, 0, ErrBadDocument
		}
	}
	args := []any{
		a.log.tenant, row.ID, row.Name, row.Capabilities, row.Status, row.CurrentLoad, row.MaxLoad, row.Extra,
		sql.NullInt64{Int64: row.Heartbeat, Valid: heard},
		ttl.Milliseconds(),
	}
	if a.log.source.dialect == Postgres {
		asOf, heartbeat, err = a.log.writePostgres(ctx, "put agent", a.sql.put, append(args, a.writer)...)
		return heartbeat, asOf, err
	}
	asOf, err = a.signed(ctx, "put agent", func(conn *sql.Conn) (bool, error) {
		return true, conn.QueryRowContext(ctx, a.sql.put, args...).Scan(&heartbeat)
	})
	return heartbeat, asOf, err
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

// Take adds one to the load of an agent that is available and has room.
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
		err = named(op, err)
	}
	return asOf, err
}
