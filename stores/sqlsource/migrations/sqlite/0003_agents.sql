-- Agents of the registry. A heartbeat moves last_heartbeat_ms and expires_ms and nothing else: it takes no version and is not
-- in the log. An agent whose expires_ms has passed is gone, though its row may be there yet. 0001_log.sql says why the
-- table is WITHOUT ROWID.

CREATE TABLE layercache_agents (
	tenant            TEXT NOT NULL DEFAULT '' CHECK (typeof(tenant) = 'text' AND tenant NOT GLOB '*[^A-Za-z0-9._-]*'
		AND length(CAST(tenant AS BLOB)) = length(tenant) AND length(tenant) <= 128),
	agent_id          TEXT NOT NULL CHECK (typeof(agent_id) = 'text' AND length(CAST(agent_id AS BLOB)) BETWEEN 1 AND 1024),
	name              TEXT NOT NULL DEFAULT '',
	capabilities      TEXT NOT NULL DEFAULT '[]', -- a JSON list of strings
	status            TEXT NOT NULL DEFAULT 'available',
	current_load      INTEGER NOT NULL DEFAULT 0,
	max_load          INTEGER NOT NULL DEFAULT 0,
	extra             TEXT NOT NULL DEFAULT '{}', -- a JSON object: members that this version does not know
	last_heartbeat_ms INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)),
	expires_ms        INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) + 300000),
	PRIMARY KEY (tenant, agent_id)
) WITHOUT ROWID;

-- Since when there has been contact with the agents of a tenant, so that nobody is taken for dead for a silence of the
-- database's own; contact_ms is when somebody last looked for the dead, or came back after a
-- silence.
CREATE TABLE layercache_agents_life (
	tenant     TEXT NOT NULL PRIMARY KEY,
	since_ms   INTEGER NOT NULL,
	contact_ms INTEGER NOT NULL,
	server     TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO layercache_versions (tbl) VALUES ('agents');

CREATE TRIGGER layercache_agents_insert AFTER INSERT ON layercache_agents
BEGIN
	INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('agents', NEW.tenant, NEW.agent_id);
END;

-- Those rows that differ in more than the heartbeat, or that it ends or brings back.
CREATE TRIGGER layercache_agents_update
AFTER UPDATE OF tenant, agent_id, name, capabilities, status, current_load, max_load, extra, expires_ms ON layercache_agents
WHEN (OLD.tenant, OLD.agent_id, OLD.name, OLD.capabilities, OLD.status, OLD.current_load, OLD.max_load, OLD.extra)
	IS NOT (NEW.tenant, NEW.agent_id, NEW.name, NEW.capabilities, NEW.status, NEW.current_load, NEW.max_load, NEW.extra)
	OR (OLD.expires_ms > CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER))
		<> (NEW.expires_ms > CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER))
BEGIN
	INSERT INTO layercache_changed (tbl, tenant, id)
		SELECT 'agents', OLD.tenant, OLD.agent_id WHERE (OLD.tenant, OLD.agent_id) <> (NEW.tenant, NEW.agent_id);
	INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('agents', NEW.tenant, NEW.agent_id);
END;

CREATE TRIGGER layercache_agents_delete AFTER DELETE ON layercache_agents
BEGIN
	INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('agents', OLD.tenant, OLD.agent_id);
END;
