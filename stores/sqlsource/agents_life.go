package sqlsource

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"
)

const (
	// One reading of the clock: what is checked is what is written, however long the statement takes. It waits for no row, so
	// that a transaction that holds one agent stops no other's heartbeat: who is there and not beaten is held.
	beatPostgres = `WITH c AS MATERIALIZED (SELECT {now} AS ms), there AS (
	SELECT a.agent_id FROM layercache_agents a CROSS JOIN c
	WHERE a.tenant = $1 AND a.agent_id IN {ids:$2} AND a.expires_ms > c.ms AND {beat in touch}
), beaten AS (
	UPDATE layercache_agents a SET last_heartbeat_ms = b.ms, expires_ms = b.ms + $3::bigint
	FROM (SELECT a.tenant, a.agent_id, c.ms FROM layercache_agents a CROSS JOIN c
		WHERE a.tenant = $1 AND a.agent_id IN {ids:$2} AND a.expires_ms > c.ms AND {beat in touch}
		FOR NO KEY UPDATE OF a SKIP LOCKED) b
	WHERE a.tenant = b.tenant AND a.agent_id = b.agent_id
	RETURNING a.agent_id, a.status = 'offline' AS offline
)
SELECT c.ms, t.agent_id, b.offline FROM c LEFT JOIN there t ON true LEFT JOIN beaten b ON b.agent_id = t.agent_id`

	// All of a statement has one reading of the clock in SQLite, made when it holds the lock.
	beatSQLite = `UPDATE layercache_agents SET last_heartbeat_ms = {now}, expires_ms = {now} + $3
WHERE tenant = $1 AND agent_id IN {ids:$2} AND expires_ms > {now} AND {beat in touch}
RETURNING {now}, agent_id, status = 'offline'`

	clockSQL = `SELECT {now}`

	reviveSQLite = `UPDATE layercache_agents SET status = 'available'
WHERE tenant = $1 AND agent_id IN {ids:$2} AND status = 'offline' AND expires_ms > {now}`

	revivePostgres = `WITH done AS (
	UPDATE layercache_agents a SET status = 'available' FROM (SELECT set_config('layercache.writer', $3::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.agent_id IN {ids:$2} AND a.status = 'offline' AND a.expires_ms > {now}
		AND w.writer IS NOT NULL RETURNING 1
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) AS n FROM done) counted`

	// What there is to do; a statement that changes nothing would still take a version. $2 is until when who was not heard of
	// since is silent.
	choresSQL = `SELECT
	EXISTS (SELECT 1 FROM layercache_agents WHERE tenant = $1 AND {untimed} AND expires_ms > {now}),
	EXISTS (SELECT 1 FROM layercache_agents WHERE tenant = $1 AND expires_ms <= {now} - 60000),
	EXISTS (SELECT 1 FROM layercache_agents
		WHERE tenant = $1 AND status <> 'offline' AND last_heartbeat_ms < $2 AND last_heartbeat_ms > 0 AND expires_ms > {now})`

	stampPostgres = `UPDATE layercache_agents SET last_heartbeat_ms = $2 WHERE tenant = $1 AND {untimed} AND expires_ms > {now}`

	// A time that is no number is greater than any: without one, its agent would neither be silent nor ever be gone. The end
	// it gets is that of a row without one.
	stampSQLite = `UPDATE layercache_agents SET
	last_heartbeat_ms = CASE WHEN typeof(last_heartbeat_ms) = 'integer' AND last_heartbeat_ms > 0 THEN last_heartbeat_ms ELSE $2 END,
	expires_ms = CASE typeof(expires_ms) WHEN 'integer' THEN expires_ms ELSE $2 + 300000 END
WHERE tenant = $1 AND {untimed} AND expires_ms > {now}`

	reapSQLite = `UPDATE layercache_agents SET status = 'offline'
WHERE tenant = $1 AND status <> 'offline' AND last_heartbeat_ms < $2 AND last_heartbeat_ms > 0 AND expires_ms > {now}
RETURNING agent_id`

	reapPostgres = `WITH done AS (
	UPDATE layercache_agents a SET status = 'offline' FROM (SELECT set_config('layercache.writer', $3::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.status <> 'offline' AND a.last_heartbeat_ms < $2::bigint AND a.last_heartbeat_ms > 0
		AND a.expires_ms > {now} AND w.writer IS NOT NULL RETURNING a.agent_id
)
SELECT layercache_version({tbl}), ids FROM (SELECT coalesce(json_agg(agent_id), '[]')::text AS ids FROM done) counted`

	sweepSQLite = `DELETE FROM layercache_agents WHERE tenant = $1 AND expires_ms <= {now} - 60000`

	sweepPostgres = `WITH removed AS (
	DELETE FROM layercache_agents a USING (SELECT set_config('layercache.writer', $2::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.expires_ms <= {now} - 60000 AND w.writer IS NOT NULL RETURNING 1
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) AS n FROM removed) counted`

	// The rule of registry's life.go. A heartbeat is a contact, and is noted in its agent's row alone. One that is still to
	// come says nothing: it stays ahead, and each Contact would take the clock for one that went back.
	contactSQL = `WITH c AS {once} (SELECT {now} AS ms, {server} AS server,
	coalesce((SELECT max(last_heartbeat_ms) FROM layercache_agents WHERE tenant = $1 AND last_heartbeat_ms <= {now}), 0) AS beat)
INSERT INTO layercache_agents_life AS l (tenant, since_ms, contact_ms, server) SELECT $1, c.ms, c.ms, c.server FROM c WHERE true
ON CONFLICT (tenant) DO UPDATE SET
	since_ms = CASE
		WHEN l.server <> excluded.server OR {grace} > 0 AND ({gap} < -{grace} OR {gap} > {grace} AND (SELECT beat FROM c) > l.since_ms) THEN excluded.since_ms
		WHEN {grace} > 0 AND {gap} > {grace} THEN l.since_ms + {gap} - {grace}
		ELSE l.since_ms END,
	contact_ms = excluded.contact_ms, server = excluded.server
RETURNING contact_ms, since_ms`
)

// ErrSilence says that a sign of life was not written, because nobody was in contact with the database for longer than
// the grace, or its clock went back: that is noted first, by Contact, else nobody could tell it afterwards.
var ErrSilence = errors.New("sqlsource: nobody was in contact with the agents for longer than the grace")

// Contact is a moment at which the database is known to have been in contact with somebody.
type Contact struct {
	// At is when, by the database's clock.
	At int64
	// Grace is for how long after it a sign of life may be written without another Contact. 0: for ever.
	Grace time.Duration
}

// Beat is a heartbeat of many agents in one statement, which moves no version and waits for no row of PostgreSQL's. offline has
// those that were beaten, and says whether they are to be revived; held are those whose row another transaction holds, and
// that were not. An id that is in neither has no agent. at is when they were beaten, 0 if none was. Its errors are those of
// Table.Put, and ErrSilence.
func (a *Agents) Beat(ctx context.Context, ids []string, ttl time.Duration, last Contact) (offline map[string]bool, held []string, at int64, err error) {
	list, err := idList(ids)
	if err != nil {
		return nil, nil, 0, err
	}
	var now int64
	err = a.send(ctx, "beat", func(conn *sql.Conn) error {
		offline, held = make(map[string]bool, len(ids)), nil
		rows, err := conn.QueryContext(ctx, a.sql.beat, a.log.tenant, list, ttl.Milliseconds(), last.At, last.Grace.Milliseconds())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id sql.NullString
			var off sql.NullBool
			if err := rows.Scan(&now, &id, &off); err != nil {
				return err
			}
			switch {
			case off.Valid:
				offline[id.String] = off.Bool
			case id.Valid:
				held = append(held, id.String)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, nil, 0, err
	}
	if len(offline) > 0 {
		return offline, held, now, nil
	}
	if a.log.source.dialect == SQLite && last.Grace > 0 { // whose answer does not say why it is empty
		err := a.log.source.retry(ctx, func() error { return a.log.source.db.QueryRowContext(ctx, a.sql.clock).Scan(&now) })
		if err != nil {
			return nil, nil, 0, named("beat", err)
		}
	}
	if !last.reaches(now) {
		return nil, nil, 0, ErrSilence
	}
	return offline, held, 0, nil
}

// reaches says whether a sign of life may be written at a moment. {beat in touch} is the same in SQL.
func (c Contact) reaches(now int64) bool {
	grace := c.Grace.Milliseconds()
	return grace == 0 || now-c.At >= -grace && now-c.At <= grace
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

// Contact notes that the database is reached: before the first sign of life, after a silence, and before Reap. A silence of
// everybody for longer than grace begins a new life, or, if nobody has beaten in this one, does not count as a part of it; another
// run of the server, or a clock that went back, begins one too. It answers the time, and since when this life lasts.
// Its errors are those of Table.Put.
func (a *Agents) Contact(ctx context.Context, grace time.Duration) (now, since int64, err error) {
	err = a.send(ctx, "contact", func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, a.sql.contact, a.log.tenant, grace.Milliseconds()).Scan(&now, &since)
	})
	return now, since, err
}

// Reap marks the agents offline that were not heard of since a moment, and answers their ids. A heartbeat that there never was is
// taken for one now, and so is a time that is no number, as SQLite lets other programs write; now is what Contact answered last:
// who is silent at that time may be marked, and nobody for what happens to the database afterwards. It also removes the rows of
// agents that are long gone. Its errors are those of Table.Put.
func (a *Agents) Reap(ctx context.Context, now, heard int64) (ids []string, asOf uint64, err error) {
	source := a.log.source
	var untimed, expired, silent bool
	err = source.retry(ctx, func() error {
		return source.db.QueryRowContext(ctx, a.sql.chores, a.log.tenant, heard).Scan(&untimed, &expired, &silent)
	})
	if err != nil {
		return nil, 0, named("reap", err)
	}
	if untimed {
		err := a.send(ctx, "stamp", func(conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, a.sql.stamp, a.log.tenant, now)
			return err
		})
		if err != nil {
			return nil, 0, err
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
		return a.reapSQLite(ctx, heard)
	}
	var list string
	err = source.sendPostgres(ctx, "reap", func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, a.sql.reap, a.log.tenant, heard, a.writer).Scan(&asOf, &list)
	})
	if err != nil {
		return nil, 0, err
	}
	if err := json.Unmarshal([]byte(list), &ids); err != nil {
		return nil, 0, &UnknownOutcomeError{Op: "reap", Err: err}
	}
	return ids, asOf, nil
}

func (a *Agents) reapSQLite(ctx context.Context, heard int64) (ids []string, asOf uint64, err error) {
	asOf, err = a.signed(ctx, "reap", func(conn *sql.Conn) (bool, error) {
		ids = nil
		rows, err := conn.QueryContext(ctx, a.sql.reap, a.log.tenant, heard)
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
