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

// holds leaves a transaction open that has changed an agent in PostgreSQL, until the answer is called.
func holds(t testing.TB, url, statement string) (release func()) {
	t.Helper()
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			t.Error(err)
		}
		_ = db.Close()
	})
	t.Cleanup(release)
	return release
}

// beats sends a batch of heartbeats and answers where the outcome of each comes.
func beats(b *registry.SQL, terms registry.Terms, ids ...string) map[string]chan error {
	out := map[string]chan error{}
	for _, id := range ids {
		done := make(chan error, 1)
		out[id] = done
		go func() { // ends with its answer
			_, _, err := b.Beat(context.Background(), id, terms)
			done <- err
		}()
	}
	return out
}

// A change of an agent of any tenant holds the version that a revival waits for.
func TestARevivalThatWaitsHoldsUpNoOtherHeartbeat(t *testing.T) {
	url := pgtest.NewDatabase(t)
	b := onSQL(t, registry.SQLConfig{Source: inPostgres(t, url), BeatDelay: 5 * time.Second, BeatBatch: 2})
	registry.BeatWithin(b, patience)
	terms := registry.Terms{TTL: time.Hour}
	for id, status := range map[string]registry.Status{"off": registry.Offline, "on": registry.Available, "other": registry.Available} {
		if _, _, err := b.Put(t.Context(), registry.Agent{ID: id, Status: status}, terms); err != nil {
			t.Fatal(err)
		}
	}
	release := holds(t, url, "UPDATE layercache_agents SET status = 'busy' WHERE agent_id = 'other'")
	answers := beats(b, terms, "off", "on")
	if err := <-answers["on"]; err != nil {
		t.Errorf("on: %v", err)
	}
	select {
	case err := <-answers["off"]:
		t.Errorf("off is answered before it is revived: %v", err)
	default:
	}
	release()
	if err := <-answers["off"]; err != nil {
		t.Errorf("off: %v", err)
	}
	if a, err := b.Get(t.Context(), "off"); err != nil || a.Status != registry.Available {
		t.Errorf("off is %s, %v", a.Status, err)
	}
}

func TestATransactionOnOneAgentHoldsUpNoOtherHeartbeat(t *testing.T) {
	url := pgtest.NewDatabase(t)
	b := onSQL(t, registry.SQLConfig{Source: inPostgres(t, url), BeatDelay: 100 * time.Millisecond, BeatBatch: 3})
	registry.BeatWithin(b, patience)
	terms := registry.Terms{TTL: time.Hour}
	old := time.Now().Add(-time.Hour)
	for _, id := range []string{"held", "free"} {
		if _, _, err := b.Put(t.Context(), registry.Agent{ID: id, Status: registry.Offline, LastHeartbeat: old}, terms); err != nil {
			t.Fatal(err)
		}
	}
	beaten := func(id string) bool {
		a, err := b.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(a.LastHeartbeat) < time.Minute
	}
	// Without a change that has a version, for which a revival would wait.
	release := holds(t, url, "UPDATE layercache_agents SET last_heartbeat_ms = 1 WHERE agent_id = 'held'")
	answers := beats(b, terms, "held", "free", "nobody")
	if err := <-answers["free"]; err != nil || !beaten("free") {
		t.Errorf("free: %v", err)
	}
	if err := <-answers["nobody"]; !errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if err := <-beats(b, terms, "free")["free"]; err != nil { // a later batch
		t.Errorf("free: %v", err)
	}
	select {
	case err := <-answers["held"]:
		t.Errorf("held is answered before its time: %v", err)
	default:
	}
	release()
	if err := <-answers["held"]; err != nil || !beaten("held") {
		t.Errorf("held: %v", err)
	}
	if a, err := b.Get(t.Context(), "held"); err != nil || a.Status != registry.Available {
		t.Errorf("held is %s, %v", a.Status, err)
	}
}

func TestAHeartbeatThatIsHeldBackForTooLongFailsAndIsNotUnknown(t *testing.T) {
	url := pgtest.NewDatabase(t)
	b := onSQL(t, registry.SQLConfig{Source: inPostgres(t, url)})
	s := open(t, registry.Config{Backend: b})
	register(t, s, registry.Agent{ID: "held"})
	registry.BeatWithin(b, 300*time.Millisecond)
	release := holds(t, url, "UPDATE layercache_agents SET last_heartbeat_ms = 1 WHERE agent_id = 'held'")
	wantCode(t, "heartbeat", s.Heartbeat(t.Context(), "held"), registry.Failed)
	release()
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
				{"UPDATE layercache_agents SET expires_ms = 1 WHERE agent_id = 'b'", func(all registry.Agents) bool { return all.Len() == 1 && all.At(0).ID == "a" }},
				{"UPDATE layercache_agents SET expires_ms = 9000000000000 WHERE agent_id = 'b'", func(all registry.Agents) bool { return all.Len() == 2 }},
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

// SQLite keeps what a program writes, whatever the type of the column.
func TestARowWithANumberThatIsNoneBreaksNothing(t *testing.T) {
	for column, value := range map[string]string{
		"current_load": "'many'", "max_load": "2.5", "last_heartbeat_ms": "datetime('now')", "expires_ms": "'many'",
	} {
		t.Run(column, func(t *testing.T) {
			f := newFleet(t, "sqlite")
			s := f.open(t, lives)
			register(t, s, registry.Agent{ID: "good", LastHeartbeat: time.Now().Add(-time.Hour)}, registry.Agent{ID: "bad"})
			f.foreign(t)("UPDATE layercache_agents SET " + column + " = " + value + " WHERE agent_id = 'bad'")
			eventually(t, "the list without it", func() bool {
				all, err := s.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return all.Len() == 1
			})
			found, err := s.Find(t.Context(), registry.Query{})
			if got := ids(found); err != nil || len(got) != 1 || got[0] != "good" {
				t.Errorf("found %v, %v", got, err)
			}
			_ = get(t, s, "good")
			backend := f.connect(t, "").Backend
			listing, err := backend.List(t.Context(), registry.Terms{})
			if err != nil || len(listing.Faulty) != 1 || listing.Faulty[0] != "bad" || listing.Lasts < time.Minute {
				t.Errorf("%+v, %v", listing, err)
			}
			_, fromMemory := s.Get(t.Context(), "bad")
			_, fromSQL := backend.Get(t.Context(), "bad")
			wantCode(t, "get", fromMemory, registry.Failed)
			for _, err := range []error{fromMemory, fromSQL} {
				if err == nil || strings.Contains(err.Error(), "many") || strings.Contains(err.Error(), "2.5") {
					t.Errorf("get: %v", err)
				}
			}
			if column == "current_load" {
				for what, kind := range map[string]registry.UpdateKind{"take": registry.Take, "give": registry.Give} {
					if changed, _, err := backend.Update(t.Context(), "bad", registry.Update{Kind: kind}); changed || err == nil {
						t.Errorf("%s of a text: %t, %v", what, changed, err)
					}
				}
			}
			reapAll(t, s, "good")
		})
	}
}

func TestATimeThatIsNoNumberEnds(t *testing.T) {
	for _, column := range []string{"last_heartbeat_ms", "expires_ms"} {
		t.Run(column, func(t *testing.T) {
			f := newFleet(t, "sqlite")
			s := f.open(t, lives)
			register(t, s, registry.Agent{ID: "a"}, registry.Agent{ID: "b"})
			f.foreign(t)("UPDATE layercache_agents SET " + column + " = datetime('now')")
			if err := s.Heartbeat(t.Context(), "b"); err != nil { // which gives it its times
				t.Fatal(err)
			}
			eventually(t, "the agent that beat", func() bool {
				_, err := s.Get(t.Context(), "b")
				return err == nil
			})
			reapAll(t, s, "a")
			if left := time.Until(expiry(t, f, "a")); left < time.Minute || left > 5*time.Minute {
				t.Errorf("a ends in %s", left)
			}
		})
	}
}

// expiry is when an agent in SQLite is gone.
func expiry(t testing.TB, f *fleet, id string) time.Time {
	t.Helper()
	db, err := sqlite.Open(t.Context(), f.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var ms int64
	if err := db.QueryRowContext(t.Context(), "SELECT expires_ms FROM layercache_agents WHERE agent_id = ?", id).Scan(&ms); err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(ms)
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
