-- The change log of an authority in PostgreSQL 13 or later: one log for each tenant of each stored table.
-- Every function runs with the rights of its owner and the search path of the migration, so that a program that may
-- write a stored table need not be granted anything else.
--
-- How a table joins the log (0002_policies.sql is the example):
--   1. its records have a tenant, with the CHECK and the default of layercache_policies, first in the primary key;
--   2. it has a row in layercache_versions;
--   3. layercache_next('name') is its trigger BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE, FOR EACH STATEMENT;
--   4. AFTER each of INSERT, UPDATE and DELETE, FOR EACH STATEMENT, a function of its own calls
--      layercache_log('name', tenant, ids) for each tenant of the transition tables, with at most 65 of its ids;
--   5. BEFORE TRUNCATE, it calls layercache_log('name', tenant, NULL) for each tenant that has records, from a trigger
--      whose name comes after layercache_next, as triggers fire in the order of their names;
--   6. all of them are ENABLE ALWAYS, and its function and they belong to the owner of this schema, who alone may call these.
-- Nothing else moves a version or writes the outbox.

-- One version for all tenants of a table: writers queue on one row and no version is given twice, so the versions of
-- one tenant rise, with gaps.
CREATE TABLE layercache_versions (
	tbl     text PRIMARY KEY,
	version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Times are milliseconds of the database's clock since 1970; 0 is "not yet".
CREATE TABLE layercache_outbox (
	tbl             text NOT NULL,
	tenant          text NOT NULL,
	version         bigint NOT NULL,
	whole           boolean NOT NULL DEFAULT false, -- every record of the tenant may be different, and id is empty
	id              text NOT NULL DEFAULT '',
	created_ms      bigint NOT NULL,
	writer          text NOT NULL DEFAULT '',       -- '' for a program that is not this library
	claimed_ms      bigint NOT NULL DEFAULT 0,      -- until then a relay is delivering the row, or waits to try again
	attempts        integer NOT NULL DEFAULT 0, -- claims so far
	failed          integer NOT NULL DEFAULT 0, -- attempts when a claim last ended; a claim that never ended makes them differ by more than 1
	delivered_ms    bigint NOT NULL DEFAULT 0,
	delivered_epoch text NOT NULL DEFAULT '',
	final           boolean NOT NULL DEFAULT false,
	PRIMARY KEY (tbl, tenant, version, whole, id)
);

CREATE INDEX layercache_outbox_due ON layercache_outbox (tbl, tenant, version) WHERE delivered_ms = 0;
CREATE INDEX layercache_outbox_unsettled ON layercache_outbox (tbl, tenant, delivered_ms) WHERE delivered_ms > 0 AND NOT final;

-- The highest version whose row is no longer in the log of a tenant; no row: nothing was removed.
CREATE TABLE layercache_trimmed (
	tbl     text NOT NULL,
	tenant  text NOT NULL,
	version bigint NOT NULL,
	PRIMARY KEY (tbl, tenant)
);

-- What one relay of a tenant does for all of them, and when it is next due; no row: now. One that is long overdue says
-- that no relay looks after the tenant. The chore 'sweep', of all tenants together, stands under the tenant ''.
CREATE TABLE layercache_chores (
	tbl    text NOT NULL,
	tenant text NOT NULL,
	chore  text NOT NULL,
	due_ms bigint NOT NULL,
	PRIMARY KEY (tbl, tenant, chore)
);

-- layercache_version answers the version as this very statement has left it. It is volatile so that it sees what the
-- statement's own triggers did.
CREATE FUNCTION layercache_version(of_table text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	RETURN (SELECT version FROM layercache_versions WHERE tbl = of_table);
END $$;

-- layercache_next takes the version row before the statement touches any record: writers of a table queue on that one
-- row, so they cannot deadlock on records, and they commit in the order of their versions.
CREATE FUNCTION layercache_next() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	UPDATE layercache_versions SET version = version + 1 WHERE tbl = TG_ARGV[0];
	IF NOT FOUND THEN
		RAISE EXCEPTION 'layercache: the version row is missing';
	END IF;
	RETURN NULL;
END $$;

-- layercache_log writes what one statement changed of one tenant to the outbox; ids NULL or more than 64 of them stand
-- for every record of the tenant. Relays are told of a foreign writer's rows only: our own writers deliver what they
-- wrote.
CREATE FUNCTION layercache_log(of_table text, of_tenant text, ids text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	v   bigint := layercache_version(of_table);
	ms  bigint := extract(epoch FROM clock_timestamp()) * 1000;
	who text := coalesce(current_setting('layercache.writer', true), '');
BEGIN
	IF ids IS NULL OR cardinality(ids) > 64 THEN
		INSERT INTO layercache_outbox (tbl, tenant, version, whole, created_ms, writer)
		VALUES (of_table, of_tenant, v, true, ms, '')
		ON CONFLICT DO NOTHING;
		who := '';
	ELSIF cardinality(ids) > 0 THEN
		INSERT INTO layercache_outbox (tbl, tenant, version, id, created_ms, writer)
		SELECT of_table, of_tenant, v, id, ms, who FROM unnest(ids) AS id
		ON CONFLICT DO NOTHING;
	ELSE
		RETURN;
	END IF;
	IF who = '' THEN
		PERFORM pg_notify('layercache', of_table);
	END IF;
END $$;

-- Who may make a table of his own could else write to the log of any tenant, or hold the version row against all writers. To fire
-- triggers that are there takes no right to their functions.
REVOKE EXECUTE ON FUNCTION layercache_next(), layercache_log(text, text, text[]) FROM PUBLIC;
