-- Policies. 0001_log.sql says why the table is WITHOUT ROWID.

CREATE TABLE layercache_policies (
	tenant     TEXT NOT NULL DEFAULT '' CHECK (typeof(tenant) = 'text' AND tenant NOT GLOB '*[^A-Za-z0-9._-]*'
		AND length(CAST(tenant AS BLOB)) = length(tenant) AND length(tenant) <= 128),
	agent_id   TEXT NOT NULL CHECK (typeof(agent_id) = 'text' AND length(CAST(agent_id AS BLOB)) BETWEEN 1 AND 1024),
	document   TEXT NOT NULL,
	updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	PRIMARY KEY (tenant, agent_id)
) WITHOUT ROWID;

INSERT INTO layercache_versions (tbl) VALUES ('policies');

CREATE TRIGGER layercache_policies_insert AFTER INSERT ON layercache_policies
BEGIN
	INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('policies', NEW.tenant, NEW.agent_id);
END;

CREATE TRIGGER layercache_policies_update AFTER UPDATE ON layercache_policies
BEGIN
	INSERT INTO layercache_changed (tbl, tenant, id)
		SELECT 'policies', OLD.tenant, OLD.agent_id WHERE (OLD.tenant, OLD.agent_id) <> (NEW.tenant, NEW.agent_id);
	INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('policies', NEW.tenant, NEW.agent_id);
END;

CREATE TRIGGER layercache_policies_delete AFTER DELETE ON layercache_policies
BEGIN
	INSERT INTO layercache_changed (tbl, tenant, id) VALUES ('policies', OLD.tenant, OLD.agent_id);
END;
