package sqlsource_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is one fresh migrated database of the suite.
type database struct {
	dialect sqlsource.Dialect
	url     string
	path    string // of the file, SQLite only
	db      *sql.DB
	source  *sqlsource.Source
	table   *sqlsource.Table
	driver  sqlsource.Driver
}

// each runs a test over every database.
func each(t *testing.T, test func(t *testing.T, d *database)) {
	t.Run("sqlite", func(t *testing.T) { test(t, newSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, newPostgres(t)) })
}

func newSQLite(t testing.TB) *database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authority.db")
	return newDatabase(t, &database{dialect: sqlsource.SQLite, url: "sqlite://" + path, path: path})
}

func newPostgres(t testing.TB) *database {
	t.Helper()
	return newDatabase(t, &database{dialect: sqlsource.Postgres, url: pgtest.NewDatabase(t)})
}

func newDatabase(t testing.TB, d *database) *database {
	t.Helper()
	var err error
	if d.driver, err = sqlsource.Lookup(d.url); err != nil {
		t.Fatal(err)
	}
	d.db, d.source, d.table = d.open(t)
	if err := d.source.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// open makes another pool and Source on the same database.
func (d *database) open(t testing.TB) (*sql.DB, *sqlsource.Source, *sqlsource.Table) {
	t.Helper()
	db := d.openDB(t, d.url)
	source, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: d.dialect})
	if err != nil {
		t.Fatal(err)
	}
	table, err := source.Table(sqlsource.Policies, "")
	if err != nil {
		t.Fatal(err)
	}
	return db, source, table
}

func (d *database) openDB(t testing.TB, url string) *sql.DB {
	t.Helper()
	open := postgres.Open
	if d.dialect == sqlsource.SQLite {
		open = sqlite.Open
	}
	db, err := open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// unmigrated is the table of a fresh database without a schema.
func (d *database) unmigrated(t testing.TB) *sqlsource.Table {
	t.Helper()
	other := &database{dialect: d.dialect}
	if d.dialect == sqlsource.SQLite {
		other.url = "sqlite://" + filepath.Join(t.TempDir(), "empty.db")
	} else {
		other.url = pgtest.NewDatabase(t)
	}
	_, _, table := other.open(t)
	return table
}

// as is the database as a tenant has it.
func (d *database) as(t testing.TB, tenant string) *database {
	t.Helper()
	other := *d
	var err error
	if other.table, err = d.source.Table(sqlsource.Policies, tenant); err != nil {
		t.Fatal(err)
	}
	return &other
}

func (d *database) put(t testing.TB, id, document string) uint64 {
	t.Helper()
	asOf, err := d.table.Put(t.Context(), id, []byte(document), "writer")
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return asOf
}

func (d *database) head(t testing.TB) uint64 {
	t.Helper()
	head, err := d.table.Head(t.Context())
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	return head
}

func (d *database) changes(t testing.TB, after uint64, limit int) invalidation.Page {
	t.Helper()
	page, err := d.table.Changes(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("Changes: %v", err)
	}
	return page
}

// exec is a foreign program's statement, through a pool of its own.
func (d *database) exec(t testing.TB, query string) {
	t.Helper()
	db := d.openDB(t, d.url)
	defer db.Close()
	if d.dialect == sqlsource.SQLite { // one connection that waits for its lock, as other programs do
		db.SetMaxOpenConns(1)
		query = "PRAGMA busy_timeout = 10000; " + query
	}
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// eventually is the module's one way to wait in tests.
var eventually = redistest.Eventually

func requireBinary(t testing.TB, name string, err error) {
	t.Helper()
	if err != nil {
		if os.Getenv("LAYERCACHE_REQUIRE_REAL") == "1" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("NOT TESTED: %s is not installed", name)
	}
}
