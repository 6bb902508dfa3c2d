package sqlsource_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

func TestTwoProcessesMayMigrateAtOnce(t *testing.T) {
	for _, dialect := range []sqlsource.Dialect{sqlsource.SQLite, sqlsource.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := &database{dialect: dialect}
			if dialect == sqlsource.SQLite {
				d.path = t.TempDir() + "/fresh ?#%.db"
				d.url = "sqlite://" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23", " ", "%20").Replace(d.path)
			} else {
				d.url = pgtest.NewDatabase(t)
			}
			var err error
			errs := make(chan error, 8)
			for range 8 {
				go func() {
					driver, err := sqlsource.Lookup(d.url)
					var db *sql.DB
					if err == nil {
						db, err = driver.Open(t.Context(), d.url)
					}
					if err == nil {
						var s *sqlsource.Source
						if s, err = sqlsource.New(sqlsource.Config{DB: db, Dialect: dialect}); err == nil {
							err = s.Migrate(t.Context())
						}
						db.Close()
					}
					errs <- err
				}()
			}
			for range 8 {
				if e := <-errs; e != nil {
					err = e
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _, table := d.open(t)
			if head, err := table.Head(t.Context()); err != nil || head != 0 {
				t.Fatalf("Head = %d, %v", head, err)
			}
		})
	}
}
