-- Policies, and the triggers every stored table has: the version before the statement, the log after it.

CREATE TABLE layercache_policies (
	tenant     text NOT NULL DEFAULT '' CHECK (tenant COLLATE "C" ~ '^[A-Za-z0-9._-]{0,128}$'),
	agent_id   text NOT NULL CHECK (octet_length(agent_id) BETWEEN 1 AND 1024),
	document   text NOT NULL,
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (tenant, agent_id)
);

INSERT INTO layercache_versions (tbl) VALUES ('policies');

-- The 65th id of a tenant already means all of them: the rest are not collected.
CREATE FUNCTION layercache_policies_log() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		PERFORM layercache_log('policies', tenant, array_agg(agent_id)) FROM (
			SELECT tenant, agent_id, row_number() OVER (PARTITION BY tenant) AS n FROM new_rows
		) changed WHERE n <= 65 GROUP BY tenant;
	ELSIF TG_OP = 'DELETE' THEN
		PERFORM layercache_log('policies', tenant, array_agg(agent_id)) FROM (
			SELECT tenant, agent_id, row_number() OVER (PARTITION BY tenant) AS n FROM old_rows
		) changed WHERE n <= 65 GROUP BY tenant;
	ELSIF TG_OP = 'UPDATE' THEN
		PERFORM layercache_log('policies', tenant, array_agg(agent_id)) FROM (
			SELECT tenant, agent_id, row_number() OVER (PARTITION BY tenant) AS n FROM (
				SELECT tenant, agent_id FROM new_rows UNION SELECT tenant, agent_id FROM old_rows) both_rows
		) changed WHERE n <= 65 GROUP BY tenant;
	ELSE -- TRUNCATE, which has no transition table: before it, while the records tell whose they are
		PERFORM layercache_log('policies', tenant, NULL) FROM (SELECT DISTINCT tenant FROM layercache_policies) had_rows;
	END IF;
	RETURN NULL;
END $$;

REVOKE EXECUTE ON FUNCTION layercache_policies_log() FROM PUBLIC;

CREATE TRIGGER layercache_next BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON layercache_policies
	FOR EACH STATEMENT EXECUTE FUNCTION layercache_next('policies');
CREATE TRIGGER layercache_truncate BEFORE TRUNCATE ON layercache_policies
	FOR EACH STATEMENT EXECUTE FUNCTION layercache_policies_log();
CREATE TRIGGER layercache_log_insert AFTER INSERT ON layercache_policies
	REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_policies_log();
CREATE TRIGGER layercache_log_update AFTER UPDATE ON layercache_policies
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_policies_log();
CREATE TRIGGER layercache_log_delete AFTER DELETE ON layercache_policies
	REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_policies_log();

-- Also when a session plays the role of a replica, as some tools do to skip triggers.
ALTER TABLE layercache_policies ENABLE ALWAYS TRIGGER layercache_next;
ALTER TABLE layercache_policies ENABLE ALWAYS TRIGGER layercache_truncate;
ALTER TABLE layercache_policies ENABLE ALWAYS TRIGGER layercache_log_insert;
ALTER TABLE layercache_policies ENABLE ALWAYS TRIGGER layercache_log_update;
ALTER TABLE layercache_policies ENABLE ALWAYS TRIGGER layercache_log_delete;
