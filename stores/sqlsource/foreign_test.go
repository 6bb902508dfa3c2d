package sqlsource_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

// logged is the ids that the log names above a version, sorted, with "*" for the whole table.
func (d *database) logged(t testing.TB, after uint64) string {
	t.Helper()
	var ids []string
	for _, c := range d.changes(t, after, 0).Changes {
		if c.All {
			ids = append(ids, "*")
		} else {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " ")
}

func TestForeignWritesAreLogged(t *testing.T) {
	series := func(n int) string { // n values: ('k1', '{}'), …
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ",('k%d','{}')", i)
		}
		return b.String()[1:]
	}
	cases := []struct{ name, statement, want, only string }{
		{"insert", "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')", "x", ""},
		{"insert of several", "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}'), ('y', '{}')", "x y", ""},
		{"update", "UPDATE layercache_policies SET document = '{}' WHERE agent_id = 'a'", "a", ""},
		{"update of several", "UPDATE layercache_policies SET document = '{}' WHERE agent_id IN ('b', 'a')", "a b", ""},
		{"update of the key", "UPDATE layercache_policies SET agent_id = 'z' WHERE agent_id = 'a'", "a z", ""},
		{"update of nothing", "UPDATE layercache_policies SET document = '{}' WHERE agent_id = 'none'", "", ""},
		{"delete", "DELETE FROM layercache_policies WHERE agent_id = 'b'", "b", ""},
		{"delete of all", "DELETE FROM layercache_policies", "a b c", ""},
		{"upsert of an old record", "INSERT INTO layercache_policies (agent_id, document) VALUES ('a', '{}') ON CONFLICT (tenant, agent_id) DO UPDATE SET document = excluded.document", "a", ""},
		{"upsert of old and new", "INSERT INTO layercache_policies (agent_id, document) VALUES ('a', '{}'), ('n', '{}') ON CONFLICT (tenant, agent_id) DO UPDATE SET document = excluded.document", "a n", ""},
		{"insert that conflicts and does nothing", "INSERT INTO layercache_policies (agent_id, document) VALUES ('a', '{}'), ('n', '{}') ON CONFLICT DO NOTHING", "n", ""},
		{"64 records", "INSERT INTO layercache_policies (agent_id, document) VALUES " + series(64), "", "names"},
		{"65 records", "INSERT INTO layercache_policies (agent_id, document) VALUES " + series(65), "*", ""},
		{"200 records", "INSERT INTO layercache_policies (agent_id, document) VALUES " + series(200), "*", ""},
		{"replace", "REPLACE INTO layercache_policies (agent_id, document) VALUES ('a', '{}')", "a", "sqlite"},
		{"update or replace", "UPDATE OR REPLACE layercache_policies SET agent_id = 'b' WHERE agent_id = 'a'", "a b", "sqlite"},
		{"truncate", "TRUNCATE layercache_policies", "*", "postgres"},
		{"copy", "COPY layercache_policies (agent_id, document) FROM PROGRAM 'echo q,{}' WITH (FORMAT csv)", "q", "postgres"},
		{"merge", "MERGE INTO layercache_policies p USING (VALUES ('a'), ('m')) AS v (id) ON p.agent_id = v.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (agent_id, document) VALUES (v.id, '{}')", "a m", "postgres"},
		{"two writes in one statement", "WITH x AS (DELETE FROM layercache_policies WHERE agent_id = 'a' RETURNING 1) UPDATE layercache_policies SET document = '{}' WHERE agent_id = 'b'", "a b", "postgres"},
		{"as a replica", "SET session_replication_role = replica; DELETE FROM layercache_policies WHERE agent_id = 'c'", "c", "postgres"},
	}
	each(t, func(t *testing.T, d *database) {
		for _, c := range cases {
			if c.only == "sqlite" && d.dialect != sqlsource.SQLite || c.only == "postgres" && d.dialect != sqlsource.Postgres {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				d.exec(t, "DELETE FROM layercache_policies")
				d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('a', '1'), ('b', '2'), ('c', '3')")
				before := d.head(t)
				d.exec(t, c.statement)
				got := d.logged(t, before)
				if c.only == "names" {
					if n := len(strings.Fields(got)); n != 64 || strings.Contains(got, "*") {
						t.Fatalf("%d names logged (%q), want 64", n, got)
					}
					return
				}
				if got != c.want {
					t.Fatalf("logged %q, want %q", got, c.want)
				}
				page := d.changes(t, before, 0)
				for _, change := range page.Changes {
					if change.AsOf <= before || change.AsOf > page.Head {
						t.Fatalf("change as of %d, want above %d and at most the head %d", change.AsOf, before, page.Head)
					}
				}
			})
		}
	})
}

// Another unique key would let REPLACE delete a second record without a trigger.
func TestSQLiteRecordsHaveNoKeyButTheirID(t *testing.T) {
	d := newSQLite(t)
	d.put(t, "a", "one")
	if _, err := d.db.Exec("REPLACE INTO layercache_policies (rowid, agent_id, document) VALUES (1, 'b', '{}')"); err == nil {
		t.Fatal("a record can be replaced by its rowid")
	}
}

func TestPsqlAndSqlite3ProgramsAreLogged(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		before := d.put(t, "a", "one")
		const statement = "UPDATE layercache_policies SET document = '{\"by\":\"hand\"}' WHERE agent_id = 'a'"
		if d.dialect == sqlsource.Postgres {
			pgtest.Exec(t, d.url, statement)
		} else {
			program, err := exec.LookPath("sqlite3")
			requireBinary(t, "sqlite3", err)
			if out, err := exec.Command(program, d.path, statement).CombinedOutput(); err != nil {
				t.Fatalf("sqlite3: %v: %s", err, out)
			}
		}
		if got := d.logged(t, before); got != "a" {
			t.Fatalf("logged %q, want a", got)
		}
		rec, _, err := d.table.Get(t.Context(), "a")
		if err != nil || string(rec.Document) != `{"by":"hand"}` || rec.AsOf <= before {
			t.Fatalf("Get = %q as of %d, %v; want the new document above %d", rec.Document, rec.AsOf, err, before)
		}
	})
}

func TestManyRowsByTheSqlite3ProgramAreAChangeOfAll(t *testing.T) {
	d := newSQLite(t)
	program, err := exec.LookPath("sqlite3")
	requireBinary(t, "sqlite3", err)
	statement := `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000)
		INSERT INTO layercache_policies (agent_id, document) SELECT 'k'||i, '{}' FROM n`
	if out, err := exec.Command(program, d.path, statement).CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v: %s", err, out)
	}
	page := d.changes(t, 0, 0)
	if len(page.Changes) != 1 || !page.Changes[0].All || page.Changes[0].AsOf != page.Head {
		t.Fatalf("%d changes, want one of the whole table at the head", len(page.Changes))
	}
}

// A change that a later one of the same millisecond swallowed is still seen by whoever polled before it.
func TestChangeOfAllStandsForTheChangesItReplaced(t *testing.T) {
	d := newSQLite(t)
	db := d.openDB(t, d.url)
	for i := range 8 {
		before := d.head(t)
		if _, err := db.Exec("UPDATE layercache_policies SET document = 'x' WHERE agent_id = 'a'"); err != nil {
			t.Fatal(err)
		}
		values := strings.Repeat(fmt.Sprintf(",('r%d-'||hex(randomblob(8)),'{}')", i), 70)[1:]
		for _, q := range []string{
			"INSERT INTO layercache_policies (agent_id, document) VALUES ('one" + fmt.Sprint(i) + "', '{}')",
			"INSERT INTO layercache_policies (agent_id, document) VALUES " + values,
		} {
			if _, err := db.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
		if got := d.logged(t, before); !strings.Contains(got, "*") {
			t.Fatalf("round %d: logged %q, want the whole table", i, got)
		}
	}
}

func TestForeignRollbackLeavesNoTrace(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		before := d.put(t, "a", "one")
		db := d.openDB(t, d.url)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{"DELETE FROM layercache_policies", "INSERT INTO layercache_policies (agent_id, document) VALUES ('b', '')"} {
			if _, err := tx.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if page := d.changes(t, before, 0); page.Head != before || len(page.Changes) != 0 {
			t.Fatalf("after a rollback: %+v, want nothing above %d", page, before)
		}
		if next := d.put(t, "a", "two"); next != before+1 && d.dialect == sqlsource.SQLite {
			t.Fatalf("next version %d, want %d", next, before+1)
		}
	})
}

func TestPartialRollbackKeepsLogAndRecordsTogether(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.openDB(t, d.url)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{
			"INSERT INTO layercache_policies (agent_id, document) VALUES ('kept', '')", "SAVEPOINT s",
			"INSERT INTO layercache_policies (agent_id, document) VALUES ('undone', '')", "ROLLBACK TO SAVEPOINT s",
			"INSERT INTO layercache_policies (agent_id, document) VALUES ('last', '')",
		} {
			if _, err := tx.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := d.logged(t, 0); got != "kept last" {
			t.Fatalf("logged %q, want kept and last", got)
		}
	})
}

func TestForeignWriterNeedsNoRightsButOnTheTable(t *testing.T) {
	d := newPostgres(t)
	pgtest.Exec(t, d.url, `CREATE ROLE guest; GRANT USAGE ON SCHEMA public TO guest; GRANT ALL ON layercache_policies TO guest`)
	t.Cleanup(func() {
		if _, err := d.db.Exec("DROP OWNED BY guest; DROP ROLE guest"); err != nil {
			t.Error(err)
		}
	})
	pgtest.Exec(t, d.url, `SET ROLE guest; SET search_path = '';
		CREATE TEMP TABLE layercache_versions (tbl text, version bigint);
		INSERT INTO public.layercache_policies (agent_id, document) VALUES ('x', '{}')`)
	if got := d.logged(t, 0); got != "x" {
		t.Fatalf("logged %q, want x", got)
	}
}

// Who may make a table of his own could else write to every tenant's log, or hold up all writers.
func TestNobodyElseMayCallTheFunctionsOfTheLog(t *testing.T) {
	d := newPostgres(t)
	pgtest.Exec(t, d.url, `CREATE ROLE stranger; GRANT USAGE, CREATE ON SCHEMA public TO stranger`)
	t.Cleanup(func() {
		if _, err := d.db.Exec("DROP OWNED BY stranger; DROP ROLE stranger"); err != nil {
			t.Error(err)
		}
	})
	conn, err := d.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "SET ROLE stranger; CREATE TABLE own (id text)"); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{
		"SELECT layercache_log('policies', 'acme', ARRAY['x'])",
		"CREATE TRIGGER t BEFORE INSERT ON own FOR EACH STATEMENT EXECUTE FUNCTION layercache_next('policies')",
		"CREATE TRIGGER t AFTER INSERT ON own REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_policies_log()",
		"CREATE TRIGGER t AFTER INSERT ON own REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION layercache_agents_log()",
	} {
		if _, err := conn.ExecContext(t.Context(), call); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v, want that it is not permitted", call, err)
		}
	}
	if _, err := conn.ExecContext(t.Context(), "RESET ROLE"); err != nil {
		t.Fatal(err)
	}
}
