package registry_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

// counting is a driver that counts the statements that its connections are asked to run.
type counting struct {
	db *sql.DB // whose connections it lends
	n  *atomic.Int64
}

func (c counting) Driver() driver.Driver { return c.db.Driver() }

func (c counting) Connect(ctx context.Context) (driver.Conn, error) {
	lent, err := c.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var conn driver.Conn
	if err := lent.Raw(func(raw any) error { conn = raw.(driver.Conn); return nil }); err != nil {
		return nil, err
	}
	return &countedConn{Conn: conn, lent: lent, n: c.n}, nil
}

type countedConn struct {
	driver.Conn
	lent *sql.Conn
	n    *atomic.Int64
}

func (c *countedConn) Close() error { return c.lent.Close() }

func (c *countedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.n.Add(1)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *countedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.n.Add(1)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *countedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *countedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.n.Add(1)
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

// 10,000 agents that beat every 10 s are 1,000 heartbeats a second.
func TestHeartbeatsOf10000AgentsAreFewStatements(t *testing.T) {
	for name, open := range map[string]func(t testing.TB) (*sql.DB, sqlsource.Dialect){
		"sqlite": func(t testing.TB) (*sql.DB, sqlsource.Dialect) {
			db, err := sqlite.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "agents.db"))
			if err != nil {
				t.Fatal(err)
			}
			return db, sqlsource.SQLite
		},
		"postgres": func(t testing.TB) (*sql.DB, sqlsource.Dialect) {
			db, err := postgres.Open(t.Context(), pgtest.NewDatabase(t))
			if err != nil {
				t.Fatal(err)
			}
			return db, sqlsource.Postgres
		},
	} {
		t.Run(name, func(t *testing.T) {
			plain, dialect := open(t)
			t.Cleanup(func() { _ = plain.Close() })
			migrated(t, sqlsource.Config{DB: plain, Dialect: dialect})
			var n atomic.Int64
			db := sql.OpenDB(counting{plain, &n})
			t.Cleanup(func() { _ = db.Close() })
			source, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: dialect})
			if err != nil {
				t.Fatal(err)
			}
			b, err := registry.NewSQL(registry.SQLConfig{Source: source}) // as it comes
			if err != nil {
				t.Fatal(err)
			}
			terms := registry.Terms{TTL: time.Hour, Grace: time.Hour}
			const agents = 10_000
			insert := "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < 9999) INSERT INTO layercache_agents (agent_id) SELECT 'a' || i FROM n"
			if _, err := plain.ExecContext(t.Context(), insert); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.Beat(t.Context(), "a0", terms); err != nil { // the first contact
				t.Fatal(err)
			}
			before, began := n.Load(), time.Now()
			const seconds = 2
			var wg sync.WaitGroup
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for i := range 100 * seconds {
				<-tick.C
				for j := range 10 {
					wg.Go(func() {
						if _, _, err := b.Beat(t.Context(), fmt.Sprintf("a%d", (10*i+j)%agents), terms); err != nil {
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
			// One for the last batch, which a second that has just begun may pay for.
			got, took := n.Load()-before, time.Since(began)
			t.Logf("%d heartbeats in %s took %d statements", 1000*seconds, took, got)
			if got > int64(5*took.Seconds())+1 || got < 1 {
				t.Error("want at most 5 a second")
			}
		})
	}
}

func TestEachHeartbeatOfABatchGetsItsOwnAnswer(t *testing.T) {
	for _, dialect := range []string{"sqlite", "postgres"} {
		t.Run(dialect, func(t *testing.T) {
			var source *sqlsource.Source
			if dialect == "sqlite" {
				source = inSQLite(t, filepath.Join(t.TempDir(), "agents.db"))
			} else {
				source = inPostgres(t, pgtest.NewDatabase(t))
			}
			b := onSQL(t, registry.SQLConfig{Source: source, BeatDelay: 100 * time.Millisecond})
			terms := registry.Terms{TTL: time.Hour}
			for id, status := range map[string]registry.Status{"off": registry.Offline, "on": registry.Available, "busy": registry.Busy} {
				if _, _, err := b.Put(t.Context(), registry.Agent{ID: id, Status: status}, terms); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for id, want := range map[string]bool{"off": true, "on": false, "busy": false} {
				wg.Go(func() {
					if revived, _, err := b.Beat(t.Context(), id, terms); err != nil || revived != want {
						t.Errorf("%s: %t, %v", id, revived, err)
					}
				})
			}
			wg.Go(func() {
				if _, _, err := b.Beat(t.Context(), "nobody", terms); !errors.Is(err, readthrough.ErrNotFound) {
					t.Errorf("nobody: %v", err)
				}
			})
			wg.Go(func() {
				if _, _, err := b.Beat(t.Context(), "bad\x00id", terms); err == nil {
					t.Error("an id that the database refuses")
				}
			})
			wg.Wait()
			for id, want := range map[string]registry.Status{"off": registry.Available, "on": registry.Available, "busy": registry.Busy} {
				if a, err := b.Get(t.Context(), id); err != nil || a.Status != want {
					t.Errorf("%s is %s, %v", id, a.Status, err)
				}
			}
		})
	}
}

func TestNoHeartbeatIsWrittenAfterItsStoreIsClosed(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			backend := func() *registry.SQL {
				if name == "sqlite" {
					return onSQL(t, registry.SQLConfig{Source: inSQLite(t, strings.TrimPrefix(f.database, "sqlite://")), BeatDelay: 5 * time.Second})
				}
				return onSQL(t, registry.SQLConfig{Source: inPostgres(t, f.database), BeatDelay: 5 * time.Second})
			}
			begin := func() (*registry.Store, *registry.SQL, chan error) {
				b := backend()
				s := open(t, registry.Config{Backend: b})
				register(t, s, registry.Agent{ID: "a", LastHeartbeat: time.Now().Add(-time.Hour)})
				done := make(chan error, 1)
				go func() { done <- s.Heartbeat(context.Background(), "a") }() // ends with its batch
				eventually(t, "a heartbeat that waits", func() bool { return registry.Waiting(b) == 1 })
				return s, b, done
			}
			s, b, done := begin()
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a, err := b.Get(t.Context(), "a"); err != nil || time.Since(a.LastHeartbeat) > time.Minute {
				t.Errorf("closed before a heartbeat was written: %+v, %v", a, err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}

			s, _, done = begin()
			resume := f.stall(t)
			defer resume()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("closed without its last heartbeat: %v", err)
			}
			resume()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHeartbeatsMoveNoVersionAndChangesByForeignProgramsAreSeen(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres", "postgres+redis"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			cfg := f.connect(t, "")
			backend := cfg.Backend.(*registry.SQL)
			cfg.Relay, cfg.Settle, cfg.MaxAge = 100*time.Millisecond, time.Second, time.Hour
			s := open(t, cfg)
			register(t, s, registry.Agent{ID: "a", MaxLoad: 3})
			wantList(t, s, "a")
			head, err := backend.Log().Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := s.Heartbeat(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
			}
			if now, err := backend.Log().Head(t.Context()); err != nil || now != head {
				t.Errorf("heartbeats moved the version from %d to %d, %v", head, now, err)
			}
			foreign := f.foreign(t)
			for _, step := range []struct {
				statement string
				seen      func(all registry.Agents) bool
			}{
				{"UPDATE layercache_agents SET current_load = 2 WHERE agent_id = 'a'", func(all registry.Agents) bool { return all.Len() == 1 && all.At(0).CurrentLoad == 2 }},
				{"UPDATE layercache_agents SET status = 'busy' WHERE agent_id = 'a'", func(all registry.Agents) bool { return all.Len() == 1 && all.At(0).Status == registry.Busy }},
				{"INSERT INTO layercache_agents (agent_id, capabilities) VALUES ('b', '[\"go\"]')", func(all registry.Agents) bool { return all.Len() == 2 && all.At(1).Capabilities.Has("go") }},
				{"DELETE FROM layercache_agents WHERE agent_id = 'a'", func(all registry.Agents) bool { return all.Len() == 1 && all.At(0).ID == "b" }},
				{"UPDATE layercache_agents SET agent_id = 'c' WHERE agent_id = 'b'", func(all registry.Agents) bool { return all.Len() == 1 && all.At(0).ID == "c" }},
				{"DELETE FROM layercache_agents", func(all registry.Agents) bool { return all.Len() == 0 }},
			} {
				foreign(step.statement)
				eventually(t, step.statement, func() bool {
					all, err := s.List(t.Context())
					return err == nil && step.seen(all)
				})
			}
		})
	}
}

// foreign runs statements as a program that does not know this library.
func (f *fleet) foreign(t testing.TB) func(statement string) {
	t.Helper()
	return func(statement string) {
		t.Helper()
		if strings.HasPrefix(f.name, "postgres") {
			pgtest.Exec(t, f.database, statement)
			return
		}
		db, err := sqlite.Open(t.Context(), f.database)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		eventually(t, "SQLite to take a statement", func() bool {
			_, err = db.ExecContext(t.Context(), statement)
			return err == nil || !strings.Contains(err.Error(), "SQLITE_BUSY")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
