-- Agents of the registry. A heartbeat moves last_heartbeat_ms and expires_ms and nothing else: it takes no version, queues
-- on no other writer and is not in the log. An agent whose expires_ms has passed is gone, though its row may be there yet.

CREATE TABLE layercache_agents (
	tenant            text NOT NULL DEFAULT '' CHECK (tenant COLLATE "C" ~ '^[A-Za-z0-9._-]{0,128}$'),
	agent_id          text NOT NULL CHECK (octet_length(agent_id) BETWEEN 1 AND 1024),
	name              text NOT NULL DEFAULT '',
	capabilities      text NOT NULL DEFAULT '[]', -- a JSON list of strings
	status            text NOT NULL DEFAULT 'available',
	current_load      bigint NOT NULL DEFAULT 0,
	max_load          bigint NOT NULL DEFAULT 0,
	extra             text NOT NULL DEFAULT '{}', -- a JSON object: members that this version does not know
	last_heartbeat_ms bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
	expires_ms        bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 300000,
	PRIMARY KEY (tenant, agent_id)
) WITH (fillfactor = 50); -- a heartbeat rewrites its row: beside it, and without touching the index

-- Since when there has been contact with the agents of a tenant, so that nobody is taken for dead for a silence of the
-- database's own; contact_ms is when somebody last looked for the dead, or came back after a
-- silence. server says which run of the server wrote the row.
CREATE TABLE layercache_agents_life (
	tenant     text PRIMARY KEY,
	since_ms   bigint NOT NULL,
	contact_ms bigint NOT NULL,
	server     text NOT NULL
);

INSERT INTO layercache_versions (tbl) VALUES ('agents');

-- Of an update, those rows that differ in more than the heartbeat, or that it ends or brings back. What changes expires_ms alone
-- may end or bring back an agent, and takes a version for that alone; only then, as a heartbeat shall queue on nobody. It has the
-- records by then, so that it and another writer may wait for each other: the database ends one of them then.
CREATE FUNCTION layercache_agents_log() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
BEGIN
	IF TG_OP = 'INSERT' THEN
		PERFORM layercache_log('agents', tenant, array_agg(agent_id)) FROM (
			SELECT tenant, agent_id, row_number() OVER (PARTITION BY tenant) AS n FROM new_rows
		) changed WHERE n <= 65 GROUP BY tenant;
	ELSIF TG_OP = 'DELETE' THEN
		PERFORM layercache_log('agents', tenant, array_agg(agent_id)) FROM (
			SELECT tenant, agent_id, row_number() OVER (PARTITION BY tenant) AS n FROM old_rows
		) changed WHERE n <= 65 GROUP BY tenant;
	ELSIF TG_OP = 'UPDATE' THEN
		UPDATE layercache_versions SET version = version + 1 WHERE tbl = 'agents' AND xmin <> pg_current_xact_id()::xid AND EXISTS (
			SELECT 1 FROM old_rows o JOIN new_rows n USING (tenant, agent_id) WHERE (o.expires_ms > ms) <> (n.expires_ms > ms));
		PERFORM layercache_log('agents', tenant, array_agg(agent_id)) FROM (
			SELECT tenant, agent_id, row_number() OVER (PARTITION BY tenant) AS n FROM (
				SELECT o.tenant, o.agent_id FROM old_rows o LEFT JOIN new_rows n USING (tenant, agent_id)
				WHERE (o.name, o.capabilities, o.status, o.current_load, o.max_load, o.extra, o.expires_ms > ms)
					IS DISTINCT FROM (n.name, n.capabilities, n.status, n.current_load, n.max_load, n.extra, n.expires_ms > ms)
				UNION
				SELECT n.tenant, n.agent_id FROM new_rows n LEFT JOIN old_rows o USING (tenant, agent_id) WHERE o.agent_id IS NULL
			) differ
		) changed WHERE n <= 65 GROUP BY tenant;
	ELSE
		PERFORM layercache_log('agents', tenant, NULL) FROM (SELECT DISTINCT tenant FROM layercache_agents) had_rows;
	END IF;
	RETURN NULL;
END $$;

REVOKE EXECUTE ON FUNCTION layercache_agents_log() FROM PUBLIC;

CREATE TRIGGER layercache_next BEFORE INSERT OR DELETE OR TRUNCATE
	OR UPDATE OF tenant, agent_id, name, capabilities, status, current_load, max_load, extra ON layercache_agents
	FOR EACH STATEMENT EXECUTE FUNCTION layercache_next('agents');
CREATE TRIGGER layercache_truncate BEFORE TRUNCATE ON layercache_agents
	FOR EACH STATEMENT EXECUTE FUNCTION layercache_agents_log();
CREATE TRIGGER layercache_log_insert AFTER INSERT ON layercache_agents
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_agents_log();
CREATE TRIGGER layercache_log_update AFTER UPDATE ON layercache_agents
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_agents_log();
CREATE TRIGGER layercache_log_delete AFTER DELETE ON layercache_agents
	REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_agents_log();

-- Also when a session plays the role of a replica, as some tools do to skip triggers.
ALTER TABLE layercache_agents ENABLE ALWAYS TRIGGER layercache_next;
ALTER TABLE layercache_agents ENABLE ALWAYS TRIGGER layercache_truncate;
ALTER TABLE layercache_agents ENABLE ALWAYS TRIGGER layercache_log_insert;
ALTER TABLE layercache_agents ENABLE ALWAYS TRIGGER layercache_log_update;
ALTER TABLE layercache_agents ENABLE ALWAYS TRIGGER layercache_log_delete;
