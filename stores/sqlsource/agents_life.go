package sqlsource

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"
)

const (
	// In the order of their ids, so that two of these cannot deadlock.
	beatPostgres = `UPDATE layercache_agents a SET last_heartbeat_ms = {now}, expires_ms = {now} + $3::bigint
FROM (SELECT tenant, agent_id FROM layercache_agents WHERE tenant = $1 AND agent_id IN {ids:$2} AND expires_ms > {now}
	ORDER BY agent_id FOR NO KEY UPDATE) b
WHERE a.tenant = b.tenant AND a.agent_id = b.agent_id
RETURNING a.agent_id, a.status = 'offline'`

	beatSQLite = `UPDATE layercache_agents SET last_heartbeat_ms = {now}, expires_ms = {now} + $3
WHERE tenant = $1 AND agent_id IN {ids:$2} AND expires_ms > {now}
RETURNING agent_id, status = 'offline'`

	reviveSQLite = `UPDATE layercache_agents SET status = 'available'
WHERE tenant = $1 AND agent_id IN {ids:$2} AND status = 'offline' AND expires_ms > {now}`

	revivePostgres = `WITH done AS (
	UPDATE layercache_agents a SET status = 'available' FROM (SELECT set_config('layercache.writer', $3::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.agent_id IN {ids:$2} AND a.status = 'offline' AND a.expires_ms > {now}
		AND w.writer IS NOT NULL RETURNING 1
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) AS n FROM done) counted`

	silentSQL = `SELECT EXISTS (SELECT 1 FROM layercache_agents
	WHERE tenant = $1 AND status <> 'offline' AND last_heartbeat_ms < {now} - $2 AND expires_ms > {now})`

	reapSQLite = `UPDATE layercache_agents SET status = 'offline'
WHERE tenant = $1 AND status <> 'offline' AND last_heartbeat_ms < {now} - $2 AND expires_ms > {now}
RETURNING agent_id`

	reapPostgres = `WITH done AS (
	UPDATE layercache_agents a SET status = 'offline' FROM (SELECT set_config('layercache.writer', $3::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.status <> 'offline' AND a.last_heartbeat_ms < {now} - $2::bigint AND a.expires_ms > {now}
		AND w.writer IS NOT NULL RETURNING a.agent_id
)
SELECT layercache_version({tbl}), ids FROM (SELECT coalesce(json_agg(agent_id), '[]')::text AS ids FROM done) counted`

	expiredSQL = `SELECT EXISTS (SELECT 1 FROM layercache_agents WHERE tenant = $1 AND expires_ms <= {now} - 60000)`

	sweepSQLite = `DELETE FROM layercache_agents WHERE tenant = $1 AND expires_ms <= {now} - 60000`

	sweepPostgres = `WITH removed AS (
	DELETE FROM layercache_agents a USING (SELECT set_config('layercache.writer', $2::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.expires_ms <= {now} - 60000 AND w.writer IS NOT NULL RETURNING 1
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) AS n FROM removed) counted`

	lifeSQL = `SELECT {now}, {server}, l.since_ms, l.reaped_ms, l.server,
	(SELECT max(a.last_heartbeat_ms) FROM layercache_agents a WHERE a.tenant = $1)
FROM (SELECT 1 AS one) o LEFT JOIN layercache_agents_life l ON l.tenant = $1`

	bornSQL = `INSERT INTO layercache_agents_life (tenant, since_ms, reaped_ms, server) VALUES ($1, {now}, {now}, {server})
ON CONFLICT (tenant) DO UPDATE SET since_ms = excluded.since_ms, reaped_ms = excluded.reaped_ms, server = excluded.server`

	reapedSQL = `UPDATE layercache_agents_life SET reaped_ms = {now} WHERE tenant = $1`
)

// Beat is a heartbeat of many agents in one statement, which moves no version. An id that is missing from the answer has no
// agent; the value of the others says whether they are offline, and are to be revived.
func (a *Agents) Beat(ctx context.Context, ids []string, ttl time.Duration) (offline map[string]bool, err error) {
	list, err := idList(ids)
	if err != nil {
		return nil, err
	}
	err = a.log.source.writeSlot(ctx, func() error {
		offline = make(map[string]bool, len(ids))
		rows, err := a.log.source.db.QueryContext(ctx, a.sql.beat, a.log.tenant, list, ttl.Milliseconds())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var off bool
			if err := rows.Scan(&id, &off); err != nil {
				return err
			}
			offline[id] = off
		}
		return rows.Err()
	})
	if err != nil {
		return nil, named("beat", err)
	}
	return offline, nil
}

// Revive makes those of the agents available that are offline. Its errors are those of Table.Put.
func (a *Agents) Revive(ctx context.Context, ids []string) (asOf uint64, err error) {
	list, err := idList(ids)
	if err != nil {
		return 0, err
	}
	asOf, _, err = a.write(ctx, "revive", a.sql.revive, a.log.tenant, list)
	return asOf, err
}

// Contact notes that the database is reached after a silence, before anything is written to it. A silence of everybody for
// longer than grace begins a new life, unless nobody has beaten in this one; so does another run of the server, and a clock
// that went back; 0 says that no silence is one. It answers how long this life has lasted.
func (a *Agents) Contact(ctx context.Context, grace time.Duration) (age time.Duration, err error) {
	var now int64
	var since, reaped, beat sql.NullInt64
	var server string
	var of sql.NullString
	err = a.log.source.retry(ctx, func() error {
		return a.log.source.db.QueryRowContext(ctx, a.sql.life, a.log.tenant).Scan(&now, &server, &since, &reaped, &of, &beat)
	})
	if err != nil {
		return 0, named("contact", err)
	}
	gap := now - max(reaped.Int64, beat.Int64)
	limit := grace.Milliseconds()
	silent := limit != 0 && (gap < -limit || gap > limit && beat.Int64 > since.Int64)
	if since.Valid && of.String == server && !silent {
		return time.Duration(now-since.Int64) * time.Millisecond, nil
	}
	if _, err := a.log.source.exec(ctx, a.sql.born, a.log.tenant); err != nil {
		return 0, named("contact", err)
	}
	return 0, nil
}

// Reap marks the agents offline that were silent for longer than silence, and answers their ids. It also removes the rows
// of agents that are long gone. Its errors are those of Table.Put.
func (a *Agents) Reap(ctx context.Context, silence time.Duration) (ids []string, asOf uint64, err error) {
	source := a.log.source
	var silent, expired bool
	for _, q := range []struct {
		query string
		args  []any
		yes   *bool
	}{{a.sql.silent, []any{a.log.tenant, silence.Milliseconds()}, &silent}, {a.sql.expired, []any{a.log.tenant}, &expired}} {
		// Asked before: a statement that changes nothing would still take a version.
		err := source.retry(ctx, func() error { return source.db.QueryRowContext(ctx, q.query, q.args...).Scan(q.yes) })
		if err != nil {
			return nil, 0, named("reap", err)
		}
	}
	if expired {
		if _, _, err := a.write(ctx, "sweep", a.sql.sweep, a.log.tenant); err != nil {
			return nil, 0, err
		}
	}
	if !silent {
		return nil, 0, nil
	}
	if source.dialect == SQLite {
		return a.reapSQLite(ctx, silence)
	}
	var list string
	err = source.sendPostgres(ctx, "reap", func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, a.sql.reap, a.log.tenant, silence.Milliseconds(), a.writer).Scan(&asOf, &list)
	})
	if err != nil {
		return nil, 0, err
	}
	err = json.Unmarshal([]byte(list), &ids)
	return ids, asOf, err
}

func (a *Agents) reapSQLite(ctx context.Context, silence time.Duration) (ids []string, asOf uint64, err error) {
	asOf, err = a.signed(ctx, "reap", func(conn *sql.Conn) (bool, error) {
		ids = nil
		rows, err := conn.QueryContext(ctx, a.sql.reap, a.log.tenant, silence.Milliseconds())
		if err != nil {
			return false, err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return false, err
			}
			ids = append(ids, id)
		}
		return len(ids) > 0, rows.Err()
	})
	return ids, asOf, err
}

// Reaped notes that somebody has looked for the dead.
func (a *Agents) Reaped(ctx context.Context) error {
	if _, err := a.log.source.exec(ctx, a.sql.reaped, a.log.tenant); err != nil {
		return named("reaped", err)
	}
	return nil
}

func isUnknownOutcome(err error) bool {
	var unknown *UnknownOutcomeError
	return errors.As(err, &unknown)
}
