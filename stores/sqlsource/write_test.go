package sqlsource_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/layercache/layercache/stores/sqlsource"
)

func TestWritersInMixedOrderDoNotDeadlock(t *testing.T) {
	d := newPostgres(t)
	for i := range 8 {
		d.put(t, fmt.Sprintf("r%d", i), "0")
	}
	db := d.openDB(t, d.url)
	db.SetMaxOpenConns(16)
	var writers sync.WaitGroup
	for w := range 16 {
		writers.Go(func() {
			for i := range 12 {
				var err error
				switch (w + i) % 4 {
				case 0: // two statements in an order of their own
					var tx *sql.Tx
					if tx, err = db.BeginTx(t.Context(), nil); err == nil {
						_, err1 := tx.Exec("UPDATE layercache_policies SET document = 'x' WHERE agent_id = $1", fmt.Sprintf("r%d", (w+i)%8))
						_, err2 := tx.Exec("UPDATE layercache_policies SET document = 'y' WHERE agent_id = $1", fmt.Sprintf("r%d", (w*3)%8))
						err = errors.Join(err1, err2, tx.Commit())
					}
				case 1:
					_, err = db.Exec("UPDATE layercache_policies SET document = 'z' WHERE agent_id >= 'r3'")
				case 2: // the rows in the other order
					_, err = db.Exec(`UPDATE layercache_policies p SET document = 'v' FROM
						(SELECT agent_id FROM layercache_policies ORDER BY agent_id DESC) o WHERE o.agent_id = p.agent_id`)
				default:
					_, err = d.table.Put(t.Context(), fmt.Sprintf("r%d", i%8), []byte("w"), "w")
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	writers.Wait()
}

func TestSerializationFailuresAreRetried(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			d := newPostgres(t)
			source, err := sqlsource.New(sqlsource.Config{
				DB:      d.openDB(t, d.url+"&default_transaction_isolation="+url.PathEscape(level)),
				Dialect: sqlsource.Postgres,
			})
			if err != nil {
				t.Fatal(err)
			}
			table, err := source.Table(sqlsource.Policies, "")
			if err != nil {
				t.Fatal(err)
			}
			var versions sync.Map
			var writers sync.WaitGroup
			for w := range 32 {
				writers.Go(func() {
					for i := range 3 {
						asOf, err := table.Put(t.Context(), fmt.Sprintf("r%d", (w+i)%3), []byte("x"), "w")
						if err != nil {
							t.Errorf("Put: %v", err)
							return
						}
						if _, twice := versions.LoadOrStore(asOf, w); twice {
							t.Errorf("version %d answered twice", asOf)
						}
					}
				})
			}
			writers.Wait()
		})
	}
}

func TestFailedPutLeavesNoTrace(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		before := d.put(t, "a", "one")
		if d.dialect == sqlsource.SQLite {
			d.exec(t, "CREATE TRIGGER refuse BEFORE INSERT ON layercache_policies WHEN NEW.document = 'bad' BEGIN SELECT RAISE(ABORT, 'refused'); END")
		} else {
			d.exec(t, "ALTER TABLE layercache_policies ADD CHECK (document <> 'bad')")
		}
		_, err := d.table.Put(t.Context(), "secret-id", []byte("bad"), "w")
		var unknown *sqlsource.UnknownOutcomeError
		if err == nil || errors.As(err, &unknown) {
			t.Fatalf("Put = %v, want a plain failure", err)
		}
		if strings.Contains(err.Error(), "secret-id") {
			t.Fatalf("the error names the id: %v", err)
		}
		if page := d.changes(t, before, 0); page.Head != before || len(page.Changes) != 0 {
			t.Fatalf("after a failed Put: %+v", page)
		}
	})
}

// Else it would look like an absent record.
func TestAMissingVersionRowIsNotErrNoRows(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.exec(t, "DELETE FROM layercache_versions")
		agents, err := d.source.Agents("", "w")
		if err != nil {
			t.Fatal(err)
		}
		_, putErr := d.table.Put(t.Context(), "x", []byte("{}"), "w")
		_, _, deleteErr := d.table.Delete(t.Context(), "x", "w")
		_, _, removeErr := agents.Delete(t.Context(), "x")
		_, _, reapErr := agents.Reap(t.Context(), 2, 1)
		for what, err := range map[string]error{"put": putErr, "delete": deleteErr, "delete agent": removeErr, "reap": reapErr} {
			if errors.Is(err, sql.ErrNoRows) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}
