-- The change log of an authority in SQLite 3.24 or later: one log for each tenant of each stored table.
--
-- How a table joins the log (0002_policies.sql is the example):
--   1. its records have a tenant, with the CHECK and the default of layercache_policies, first in the primary key, and
--      it is WITHOUT ROWID and without another unique key, so that REPLACE can only replace the record it names: SQLite
--      fires no trigger for a second one that it deletes;
--   2. it has a row in layercache_versions;
--   3. its triggers AFTER INSERT, UPDATE and DELETE say what changed by inserting into the view layercache_changed.
-- The trigger on that view is the only place that moves a version and writes the outbox.

-- One version for all tenants of a table: no version is given twice, and the versions of one tenant rise, with gaps.
CREATE TABLE layercache_versions (
	tbl     TEXT NOT NULL PRIMARY KEY,
	version INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Times are milliseconds of the database's clock since 1970; 0 is "not yet".
CREATE TABLE layercache_outbox (
	tbl             TEXT NOT NULL,
	tenant          TEXT NOT NULL,
	version         INTEGER NOT NULL,
	whole           INTEGER NOT NULL DEFAULT 0, -- 1: every record of the tenant may be different, and id is empty
	id              TEXT NOT NULL DEFAULT '',
	created_ms      INTEGER NOT NULL,
	writer          TEXT NOT NULL DEFAULT '',   -- '' for a program that is not this library
	claimed_ms      INTEGER NOT NULL DEFAULT 0, -- until then a relay is delivering the row, or waits to try again
	attempts        INTEGER NOT NULL DEFAULT 0, -- claims so far
	failed          INTEGER NOT NULL DEFAULT 0, -- attempts when a claim last ended; a claim that never ended makes them differ by more than 1
	delivered_ms    INTEGER NOT NULL DEFAULT 0,
	delivered_epoch TEXT NOT NULL DEFAULT '',
	final           INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (tbl, tenant, version, whole, id)
) WITHOUT ROWID;

CREATE INDEX layercache_outbox_due ON layercache_outbox (tbl, tenant, version) WHERE delivered_ms = 0;
CREATE INDEX layercache_outbox_unsettled ON layercache_outbox (tbl, tenant, delivered_ms) WHERE delivered_ms > 0 AND NOT final;

-- The highest version whose row is no longer in the log of a tenant; no row: nothing was removed.
CREATE TABLE layercache_trimmed (
	tbl     TEXT NOT NULL,
	tenant  TEXT NOT NULL,
	version INTEGER NOT NULL,
	PRIMARY KEY (tbl, tenant)
) WITHOUT ROWID;

-- What one relay of a tenant does for all of them, and when it is next due; no row: now. One that is long overdue says
-- that no relay looks after the tenant. The chore 'sweep', of all tenants together, stands under the tenant ''.
CREATE TABLE layercache_chores (
	tbl    TEXT NOT NULL,
	tenant TEXT NOT NULL,
	chore  TEXT NOT NULL,
	due_ms INTEGER NOT NULL,
	PRIMARY KEY (tbl, tenant, chore)
) WITHOUT ROWID;

CREATE VIEW layercache_changed (tbl, tenant, id) AS SELECT tbl, tenant, id FROM layercache_outbox;

-- One row and one version per changed record. SQLite has no triggers per statement, but 'now' stands still within a
-- statement: the 65th change of a tenant in one instant replaces the 64 before it by one row for all its records, and
-- each further change of that instant only moves that row's version. Changes of other transactions in the same
-- millisecond may be swallowed too; the row that stands for them has a higher version and says more, so nobody misses
-- them.
CREATE TRIGGER layercache_changed_insert INSTEAD OF INSERT ON layercache_changed
BEGIN
	UPDATE layercache_versions SET version = version + 1 WHERE tbl = NEW.tbl;
	SELECT RAISE(ABORT, 'layercache: the version row is missing')
		WHERE NOT EXISTS (SELECT 1 FROM layercache_versions WHERE tbl = NEW.tbl);

	INSERT INTO layercache_outbox (tbl, tenant, version, id, created_ms)
		SELECT tbl, NEW.tenant, version, NEW.id, CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)
		FROM layercache_versions WHERE tbl = NEW.tbl;

	-- The row of all records that the 65th change made goes on to stand for this one: it is the one before it, or there
	-- are 64 before it.
	INSERT INTO layercache_outbox (tbl, tenant, version, whole, created_ms)
		SELECT n.tbl, n.tenant, n.version, 1, n.created_ms
		FROM layercache_versions v
		JOIN layercache_outbox n ON n.tbl = v.tbl AND n.tenant = NEW.tenant AND n.version = v.version
		WHERE v.tbl = NEW.tbl AND (
			(SELECT o.whole AND o.created_ms = n.created_ms FROM layercache_outbox o
				WHERE o.tbl = NEW.tbl AND o.tenant = NEW.tenant ORDER BY o.version DESC LIMIT 1 OFFSET 1)
			OR (SELECT o.created_ms = n.created_ms FROM layercache_outbox o
				WHERE o.tbl = NEW.tbl AND o.tenant = NEW.tenant ORDER BY o.version DESC LIMIT 1 OFFSET 64));
	DELETE FROM layercache_outbox
		WHERE tbl = NEW.tbl AND tenant = NEW.tenant
		AND version >= coalesce((SELECT o.version FROM layercache_outbox o
			WHERE o.tbl = NEW.tbl AND o.tenant = NEW.tenant ORDER BY o.version DESC LIMIT 1 OFFSET 65), 0)
		AND (version, whole) <> (SELECT version, 1 FROM layercache_versions WHERE tbl = NEW.tbl)
		AND created_ms = (SELECT o.created_ms FROM layercache_versions v
			JOIN layercache_outbox o ON o.tbl = v.tbl AND o.tenant = NEW.tenant AND o.version = v.version AND o.whole
			WHERE v.tbl = NEW.tbl);
END;
