package sqlsource_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

// hostile are ids that would reach beyond their tenant if anything were pasted together.
var hostile = []string{
	"a", "A", "*", "%", "_", "?", "[a-z]", "a:b", "@b:a", "b.a", "b/a", "..", "'", "' OR ''='", `"`, `\`, "$1", "{tenant}", "{key}",
	"a\nb", "ü", "\x01", " a", "a ", `["a","b"]`, "NULL", "--", strings.Repeat("x", sqlsource.MaxID),
}

// tenants are names that are close to each other, the empty one among them.
var tenants = []string{"", "a", "A", "a.b", "b", "a-", "_", strings.Repeat("t", 128)}

func TestTenantsSeeTheirOwnRecordsAlone(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		of := map[string]*database{}
		for _, tenant := range tenants {
			of[tenant] = d.as(t, tenant)
			records := map[string][]byte{}
			for i, id := range hostile {
				if i%2 == 0 {
					of[tenant].put(t, id, tenant+"/"+id)
				} else {
					records[id] = []byte(tenant + "/" + id)
				}
			}
			if n, _, err := of[tenant].table.Import(t.Context(), maps.All(records)); err != nil || n != len(records) {
				t.Fatalf("Import = %d, %v", n, err)
			}
		}
		check := func(tenant string, want int) {
			t.Helper()
			found, _, err := of[tenant].table.GetMany(t.Context(), hostile)
			if err != nil || len(found) != want {
				t.Fatalf("tenant %q has %d records, %v; want %d", tenant, len(found), err, want)
			}
			for id, document := range found {
				rec, ok, err := of[tenant].table.Get(t.Context(), id)
				if err != nil || !ok || string(rec.Document) != tenant+"/"+id || string(document) != tenant+"/"+id {
					t.Fatalf("tenant %q, id %q: %q and %q, %v", tenant, id, rec.Document, document, err)
				}
			}
		}
		for _, tenant := range tenants {
			check(tenant, len(hostile))
		}
		for i, gone := range tenants { // what one deletes, the others still have
			before := d.head(t)
			for _, id := range hostile {
				if _, existed, err := of[gone].table.Delete(t.Context(), id, ""); err != nil || !existed {
					t.Fatalf("Delete = %v, %v", existed, err)
				}
			}
			for j, tenant := range tenants {
				if j <= i {
					check(tenant, 0)
				} else {
					check(tenant, len(hostile))
				}
				if logged := of[tenant].logged(t, before); (logged != "") != (tenant == gone) {
					t.Fatalf("the log of tenant %q names %q after the deletions of %q", tenant, logged, gone)
				}
			}
		}
	})
}

func TestChangesPagesAreOfOneTenant(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		a, b := d.as(t, "a"), d.as(t, "b")
		var own []uint64
		for i := range 10 {
			b.put(t, fmt.Sprint("theirs", i), "")
			own = append(own, a.put(t, fmt.Sprint("mine", i), ""))
		}
		last := b.put(t, "theirs", "")
		var after uint64
		for i := range own {
			page := a.changes(t, after, 1)
			if len(page.Changes) != 1 || page.Changes[0].ID != fmt.Sprint("mine", i) || page.Changes[0].AsOf != own[i] || page.Head != last {
				t.Fatalf("page %d is %+v, want mine%d alone and the head %d", i, page, i, last)
			}
			after = page.Changes[0].AsOf
		}
		if page := a.changes(t, after, 1); len(page.Changes) != 0 || page.Head != last {
			t.Fatalf("the page behind the last is %+v", page)
		}
	})
}

func TestBadTenantsAreRefusedAndNotShown(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		for _, tenant := range []string{"hunter2 ", "hunter2'", "hunter2:x", "hunter2*", "hunter2/", "hunter2\x00", "hunter2\n", "hünter2", "hunter2\xff", strings.Repeat("hunter2", 20)} {
			_, tableErr := d.source.Table(sqlsource.Policies, tenant)
			_, logErr := d.source.Log(sqlsource.Policies, tenant)
			for _, err := range []error{tableErr, logErr} {
				if err == nil || !strings.Contains(err.Error(), "tenant") || strings.Contains(err.Error(), "nter2") {
					t.Errorf("%q: %v, want an error that names the tenant's rule and not the tenant", tenant, err)
				}
			}
			// A foreign program is held to the same rule. SQLite takes $1 too.
			if _, err := d.db.Exec("INSERT INTO layercache_policies (tenant, agent_id, document) VALUES ($1, 'x', '')", tenant); err == nil {
				t.Errorf("%q: the database took it", tenant)
			}
		}
		if head := d.head(t); head != 0 {
			t.Fatalf("Head = %d after refused writes", head)
		}
	})
}

// logs are what each tenant's log names above a version, such as "a:x y|b:*".
func (d *database) logs(t testing.TB, after uint64) string {
	t.Helper()
	var logs []string
	for _, tenant := range []string{"", "a", "b"} {
		if ids := d.as(t, tenant).logged(t, after); ids != "" {
			logs = append(logs, tenant+":"+ids)
		}
	}
	return strings.Join(logs, "|")
}

func TestForeignWritesAreLoggedForTheirTenantsAlone(t *testing.T) {
	const insert = "INSERT INTO layercache_policies (tenant, agent_id, document) VALUES "
	rows := func(counts ...any) string { // n rows of each tenant, their rows between each other's
		var b strings.Builder
		for i := range 200 {
			for c := 0; c < len(counts); c += 2 {
				if i < counts[c+1].(int) {
					fmt.Fprintf(&b, ",('%s','k%d','{}')", counts[c], i)
				}
			}
		}
		return b.String()[1:]
	}
	cases := []struct{ name, statement, want, only string }{
		{"insert without a tenant", "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')", ":x", ""},
		{"insert for a tenant", insert + "('a', 'x', '{}')", "a:x", ""},
		{"insert for several", insert + "('a', 'x', '{}'), ('b', 'x', '{}'), ('b', 'y', '{}')", "a:x|b:x y", ""},
		{"update of one tenant", "UPDATE layercache_policies SET document = '{}' WHERE tenant = 'a'", "a:p q", ""},
		{"update of an id of all tenants", "UPDATE layercache_policies SET document = '{}' WHERE agent_id = 'p'", ":p|a:p|b:p", ""},
		{"move to another tenant", "UPDATE layercache_policies SET tenant = 'b', agent_id = 'z' WHERE tenant = 'a' AND agent_id = 'q'", "a:q|b:z", ""},
		{"move under the same id", "UPDATE layercache_policies SET tenant = '' WHERE tenant = 'a' AND agent_id = 'q'", ":q|a:q", ""},
		{"delete of a tenant", "DELETE FROM layercache_policies WHERE tenant = 'b'", "b:p", ""},
		{"delete of all", "DELETE FROM layercache_policies", ":p|a:p q|b:p", ""},
		{"upsert", insert + "('a', 'p', '{}'), ('b', 'n', '{}') ON CONFLICT (tenant, agent_id) DO UPDATE SET document = excluded.document", "a:p|b:n", ""},
		{"65 of one and one of another", insert + rows("a", 65, "b", 1), "a:*|b:k0", ""},
		{"200 of each", insert + rows("", 200, "a", 200, "b", 200), ":*|a:*|b:*", ""},
		{"100 in all, 50 of each", insert + rows("a", 50, "b", 50), "50 of each", ""},
		{"65 moved to another", insert + rows("a", 65) + "; UPDATE layercache_policies SET tenant = 'b' WHERE tenant = 'a' AND agent_id LIKE 'k%'", "a:*|b:*", ""},
		{"replace", "REPLACE INTO layercache_policies (tenant, agent_id, document) VALUES ('b', 'p', '{}')", "b:p", "sqlite"},
		{"update or replace", "UPDATE OR REPLACE layercache_policies SET tenant = 'b' WHERE tenant = 'a' AND agent_id = 'p'", "a:p|b:p", "sqlite"},
		{"truncate", "TRUNCATE layercache_policies", ":*|a:*|b:*", "postgres"},
		{"truncate of what two tenants have", "DELETE FROM layercache_policies WHERE tenant = 'b'; TRUNCATE layercache_policies", ":*|a:*|b:p", "postgres"},
		{"truncate of several tables", "CREATE TABLE other (); TRUNCATE other, layercache_policies", ":*|a:*|b:*", "postgres"},
		{"truncate as a replica", "SET session_replication_role = replica; TRUNCATE layercache_policies", ":*|a:*|b:*", "postgres"},
		{"merge", "MERGE INTO layercache_policies p USING (VALUES ('a', 'p'), ('b', 'm')) AS v (tenant, id) ON p.tenant = v.tenant AND p.agent_id = v.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (tenant, agent_id, document) VALUES (v.tenant, v.id, '{}')", "a:p|b:m", "postgres"},
	}
	each(t, func(t *testing.T, d *database) {
		for _, c := range cases {
			if c.only != "" && c.only != d.dialect.String() {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				d.exec(t, "DELETE FROM layercache_policies")
				d.exec(t, insert+"('', 'p', '1'), ('a', 'p', '2'), ('a', 'q', '3'), ('b', 'p', '4')")
				before := d.head(t)
				d.exec(t, c.statement)
				got := d.logs(t, before)
				if c.want == "50 of each" {
					if len(strings.Fields(d.as(t, "a").logged(t, before))) != 50 || len(strings.Fields(d.as(t, "b").logged(t, before))) != 50 || strings.Contains(got, "*") {
						t.Fatalf("logged %q, want 50 names of each", got)
					}
					return
				}
				if got != c.want {
					t.Fatalf("logged %q, want %q", got, c.want)
				}
			})
		}
	})
}

// A tenant's 65 changes in one instant are one row, though as many of others stand between them; nobody else's are taken.
func TestManyRowsOfTenantsBetweenEachOtherAreOneChangeOfEach(t *testing.T) {
	d := newSQLite(t)
	d.exec(t, `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < 2999)
		INSERT INTO layercache_policies (tenant, agent_id, document) SELECT CASE WHEN i = 1500 THEN '' WHEN i % 2 THEN 'a' ELSE 'b' END, 'k'||i, '{}' FROM n`)
	for _, tenant := range []string{"a", "b"} {
		page := d.as(t, tenant).changes(t, 0, 0)
		if len(page.Changes) != 1 || !page.Changes[0].All {
			t.Fatalf("%d changes of tenant %s, want one of all", len(page.Changes), tenant)
		}
		if tenant == "a" && page.Changes[0].AsOf != page.Head {
			t.Fatalf("the change of all is as of %d, want its last change's, %d", page.Changes[0].AsOf, page.Head)
		}
	}
	if got := d.logged(t, 0); got != "k1500" {
		t.Fatalf("the log of the tenant between them names %q", got)
	}
}

// A snapshot that is older than the lock would not show the records of every tenant that TRUNCATE removes.
func TestTruncateInAnOldSnapshotMissesNoTenant(t *testing.T) {
	d := newPostgres(t)
	d.as(t, "a").put(t, "x", "")
	conn, err := d.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM layercache_policies"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	d.as(t, "b").put(t, "x", "")
	_, err = conn.ExecContext(t.Context(), "TRUNCATE layercache_policies")
	var state interface{ SQLState() string }
	if !errors.As(err, &state) || state.SQLState() != "40001" {
		t.Fatalf("TRUNCATE = %v, want a serialization failure", err)
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
}

func TestPsqlAndSqlite3ProgramsAreLoggedForTheirTenant(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		run := func(statement string) { pgtest.Exec(t, d.url, statement) }
		if d.dialect == sqlsource.SQLite {
			program, err := exec.LookPath("sqlite3")
			requireBinary(t, "sqlite3", err)
			run = func(statement string) {
				if out, err := exec.Command(program, d.path, statement).CombinedOutput(); err != nil {
					t.Fatalf("sqlite3: %v: %s", err, out)
				}
			}
		}
		for _, tenant := range []string{"", "a", "b"} {
			d.as(t, tenant).put(t, "x", "one")
		}
		for _, tenant := range []string{"", "a", "b"} {
			before := d.head(t)
			run("UPDATE layercache_policies SET document = 'two' WHERE agent_id = 'x' AND tenant = '" + tenant + "'")
			if got := d.logs(t, before); got != tenant+":x" {
				t.Fatalf("logged %q, want x of tenant %q alone", got, tenant)
			}
		}
		before := d.head(t)
		run("DELETE FROM layercache_policies WHERE agent_id = 'x'")
		if got := d.logs(t, before); got != ":x|a:x|b:x" {
			t.Fatalf("logged %q, want x of each tenant", got)
		}
	})
}

func TestConcurrentWritersOfSeveralTenantsCommitInVersionOrder(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		const writers, writes = 18, 6
		names := []string{"", "a", "b"}
		stop := make(chan struct{})
		var polling, writing sync.WaitGroup
		seen := make([]map[uint64]string, len(names))
		for i, name := range names { // a reader of each that only asks above the head it has seen, and must not miss a version
			table := d.as(t, name).table
			seen[i] = map[uint64]string{}
			polling.Go(func() {
				var after uint64
				for last := false; ; {
					page, err := table.Changes(context.WithoutCancel(t.Context()), after, 0)
					if err != nil {
						t.Errorf("Changes: %v", err)
						return
					}
					for _, c := range page.Changes {
						seen[i][c.AsOf] = c.ID
					}
					after = page.Head
					if last {
						return
					}
					select {
					case <-stop:
						last = true
					default:
					}
				}
			})
		}
		var mu sync.Mutex // guards wrote
		wrote := make([]map[uint64]string, len(names))
		for i := range wrote {
			wrote[i] = map[uint64]string{}
		}
		for w := range writers {
			i := w % len(names)
			table := d.as(t, names[i]).table
			writing.Go(func() {
				for n := range writes {
					id := fmt.Sprintf("id-%d", (w*7+n)%5) // the same ids in each tenant
					asOf, err := table.Put(t.Context(), id, fmt.Appendf(nil, "%d-%d", w, n), "w")
					if err != nil {
						t.Errorf("Put: %v", err)
						return
					}
					mu.Lock()
					wrote[i][asOf] = id
					mu.Unlock()
				}
			})
		}
		writing.Wait()
		close(stop)
		polling.Wait()
		all := map[uint64]string{}
		for i, name := range names {
			if !maps.Equal(seen[i], wrote[i]) {
				t.Errorf("tenant %q: the reader saw %d changes, %d were written; or ids differ", name, len(seen[i]), len(wrote[i]))
			}
			maps.Copy(all, wrote[i])
		}
		if len(all) != writers*writes {
			t.Errorf("%d distinct versions for %d writes", len(all), writers*writes)
		}
	})
}
