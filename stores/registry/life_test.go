package registry_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

// lifeTerms: silence is judged after 400 ms, of which 200 are the grace.
const (
	lifeReap  = 200 * time.Millisecond
	lifeGrace = 200 * time.Millisecond
)

func lives(cfg *registry.Config) { cfg.Grace, cfg.MaxAge = lifeGrace, 20*time.Millisecond }

// reapAll reaps until all of them are marked.
func reapAll(t testing.TB, s *registry.Store, want ...string) {
	t.Helper()
	left := slices.Clone(want)
	eventually(t, "the dead to be marked", func() bool {
		marked, err := s.Reap(t.Context(), lifeReap)
		if err != nil {
			t.Fatal(err)
		}
		left = slices.DeleteFunc(left, func(id string) bool { return slices.Contains(marked, id) })
		return len(left) == 0
	})
}

// reapNone reaps once, at once after something happened, and wants nobody marked.
func reapNone(t testing.TB, s *registry.Store, after string) {
	t.Helper()
	if ids := reap(t, s); len(ids) > 0 {
		t.Errorf("reap after %s marked %v", after, ids)
	}
}

func reap(t testing.TB, s *registry.Store) []string {
	t.Helper()
	ids, err := s.Reap(t.Context(), lifeReap)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// soon does again what this machine was too slow for: a silence has passed since it began, and whoever is silent may be marked.
func soon(t testing.TB, after string, do func() (began time.Time, marked []string)) {
	t.Helper()
	eventually(t, "a reap soon after "+after, func() bool {
		began, marked := do()
		if time.Since(began) >= lifeReap+lifeGrace {
			return false
		}
		if len(marked) > 0 {
			t.Errorf("reap after %s marked %v", after, marked)
		}
		return true
	})
}

// silent waits until an agent registered now has been silent for longer than a reap lets pass.
func silent(t testing.TB) {
	t.Helper()
	until := time.Now().Add(lifeReap + lifeGrace + 50*time.Millisecond)
	eventually(t, "silence", func() bool { return time.Now().After(until) })
}

func TestNobodyIsReapedForASilenceOfRedisItself(t *testing.T) {
	agents := []registry.Agent{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	names := []string{"a", "b", "c"}
	begin := func(t *testing.T, f *fleet) *registry.Store {
		t.Helper()
		s := f.open(t, lives)
		register(t, s, agents...)
		if _, err := s.Reap(t.Context(), lifeReap); err != nil { // a reaper at work: the life is known
			t.Fatal(err)
		}
		return s
	}
	t.Run("killed and restarted with what was saved", func(t *testing.T) {
		f := newFleet(t, "redis")
		s := begin(t, f)
		f.redis.Do("SAVE")
		silent(t)
		f.redis.Restart()
		eventually(t, "Redis to answer", func() bool { _, err := s.List(t.Context()); return err == nil })
		wantList(t, s, names...)
		reapNone(t, s, "a restart with an old file")
		if err := s.Heartbeat(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		reapAll(t, s, "b", "c") // who does not come back is dead all the same
	})
	t.Run("killed and restarted empty", func(t *testing.T) {
		f := newFleet(t, "redis")
		s := begin(t, f)
		silent(t)
		soon(t, "a restart without data", func() (began time.Time, marked []string) {
			f.redis.Restart()
			old := time.Now().Add(-time.Hour) // an agent that registers with what it knew of itself
			for i, a := range agents {
				eventually(t, "Redis to take writes", func() bool {
					if i == 0 {
						began = time.Now()
					}
					a.LastHeartbeat = old
					_, err := s.RegisterAsync(t.Context(), a)
					return err == nil
				})
			}
			return began, reap(t, s)
		})
		wantList(t, s, names...)
	})
	t.Run("FLUSHALL", func(t *testing.T) {
		f := newFleet(t, "redis")
		s := begin(t, f)
		silent(t)
		f.redis.Do("FLUSHALL")
		reapNone(t, s, "FLUSHALL")
		eventually(t, "the loss to be seen", func() bool { all, err := s.List(t.Context()); return err == nil && all.Len() == 0 })
		wantCode(t, "heartbeat", s.Heartbeat(t.Context(), "a"), registry.Unknown) // nobody is brought back
		soon(t, "FLUSHALL and registrations", func() (time.Time, []string) {
			began := time.Now()
			f.redis.Do("FLUSHALL")
			for _, a := range agents {
				a.LastHeartbeat = time.Now().Add(-time.Hour)
				register(t, s, a)
			}
			return began, reap(t, s)
		})
		wantList(t, s, names...)
	})
	t.Run("a failover to a replica that lags", func(t *testing.T) {
		f := newFleet(t, "redis")
		s := begin(t, f)
		replica := redistest.Start(t)
		replica.Do("REPLICAOF", "127.0.0.1", f.redis.Addr()[len("127.0.0.1:"):])
		eventually(t, "the replica", func() bool {
			return replica.Client().Exists(t.Context(), "agentic:agent:c").Val() == 1 &&
				replica.Client().Exists(t.Context(), "agentic:lc-life").Val() == 1
		})
		silent(t)
		replica.Do("REPLICAOF", "NO", "ONE")
		promoted := open(t, registry.Config{
			Backend: onRedis(t, registry.RedisConfig{Client: replica.Client()}), Grace: lifeGrace, MaxAge: 20 * time.Millisecond,
		})
		reapNone(t, promoted, "a failover")
		wantList(t, promoted, names...)
		_ = s
	})
}

func TestNobodyIsReapedForAnOutageThatOnlyCutTheNetwork(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		before := f.open(t, lives)
		register(t, before, registry.Agent{ID: "a"}, registry.Agent{ID: "b"})
		_ = reap(t, before)
		beat(t, before, "b") // last, lest a slow Reap begins a life in which nobody has
		silent(t)            // nobody reaches the backend
		after := f.open(t, lives)
		if err := before.Heartbeat(t.Context(), "a"); err != nil { // the first who is back
			t.Fatal(err)
		}
		reapNone(t, after, "an outage in which nobody reached the backend")
		if got := get(t, after, "b").Status; got != registry.Available {
			t.Errorf("b is %s", got)
		}
	})
}

// With a reaper alone, its own silence is no outage: else agents that are all dead would never be marked by one that comes
// rarely.
func TestARareReaperStillMarksTheDead(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t, lives)
		register(t, s, registry.Agent{ID: "a"})
		marked := false
		for range 4 {
			silent(t)
			ids, err := s.Reap(t.Context(), lifeReap)
			if err != nil {
				t.Fatal(err)
			}
			marked = marked || slices.Contains(ids, "a")
		}
		if !marked {
			t.Error("four rare reaps have not marked an agent that is dead")
		}
	})
}

func beat(t testing.TB, s *registry.Store, names ...string) {
	t.Helper()
	for _, id := range names {
		if err := s.Heartbeat(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// settle lets the agents beat until a life is old enough for Reap to mark in it. They beat last, lest a slow Reap begins one in
// which nobody has.
func settle(t testing.TB, beats, reaps *registry.Store, names ...string) {
	t.Helper()
	until := time.Now().Add(lifeReap + lifeGrace + 50*time.Millisecond)
	eventually(t, "a life that is old enough", func() bool {
		beat(t, beats, names...)
		_ = reap(t, reaps)
		return time.Now().After(until)
	})
	beat(t, beats, names...)
}

// The second is over before anybody has beaten in the life that began after the first.
func TestNobodyIsReapedForTwoOutagesInARow(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t, lives)
		register(t, s, registry.Agent{ID: "a"}, registry.Agent{ID: "b"})
		settle(t, s, s, "a", "b")
		for _, outage := range []string{"the first outage", "the second outage"} {
			silent(t)
			reapNone(t, s, outage)
		}
		if err := s.Heartbeat(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		reapAll(t, s, "b") // who does not come back is dead all the same
	})
}

// A run of the server has one name, whatever time zone a session of PostgreSQL has.
func TestProcessesInOtherTimeZonesDoNotTakeEachOtherForAnotherServer(t *testing.T) {
	f := newFleet(t, "postgres")
	in := func(zone string) *registry.Store {
		address, err := url.Parse(f.database)
		if err != nil {
			t.Fatal(err)
		}
		options := address.Query()
		options.Set("timezone", zone)
		address.RawQuery = options.Encode()
		cfg := registry.Config{Backend: onSQL(t, registry.SQLConfig{Source: inPostgres(t, address.String())})}
		lives(&cfg)
		return open(t, cfg)
	}
	here, there := in("UTC"), in("Europe/Berlin")
	register(t, here, registry.Agent{ID: "dead"}, registry.Agent{ID: "live"})
	eventually(t, "the mark of the dead", func() bool {
		if err := here.Heartbeat(t.Context(), "live"); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*registry.Store{here, there} {
			if ids, err := s.Reap(t.Context(), lifeReap); err != nil || slices.Contains(ids, "dead") {
				return err == nil
			}
		}
		return false
	})
}

// stall holds back what writes the agents in a database, until the answer is called.
func (f *fleet) stall(t testing.TB) (resume func()) {
	t.Helper()
	begin := []string{"BEGIN", "LOCK TABLE layercache_agents IN EXCLUSIVE MODE"}
	var db *sql.DB
	var err error
	if strings.HasPrefix(f.name, "postgres") {
		db, err = postgres.Open(t.Context(), f.database)
	} else {
		begin = []string{"BEGIN IMMEDIATE"}
		db, err = sqlite.Open(t.Context(), f.database)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range begin {
		eventually(t, statement, func() bool { _, err = conn.ExecContext(t.Context(), statement); return err == nil })
	}
	return sync.OnceFunc(func() {
		if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		_ = db.Close()
	})
}

// What is under way when the database stops answering is carried out when it goes on, and must not look like a contact that
// there was all the time.
func TestNobodyIsReapedForAStallOfTheDatabaseWhateverWasUnderWay(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres", "postgres+redis"} {
		for what, call := range map[string]func(ctx context.Context, beats, reaps *registry.Store) error{
			"a heartbeat": func(ctx context.Context, beats, _ *registry.Store) error { return beats.Heartbeat(ctx, "x") },
			"a registration": func(ctx context.Context, beats, _ *registry.Store) error {
				_, err := beats.RegisterAsync(ctx, registry.Agent{ID: "x"})
				return err
			},
			"a heartbeat of nobody": func(ctx context.Context, beats, _ *registry.Store) error {
				if err := beats.Heartbeat(ctx, "nobody"); !errors.Is(err, readthrough.ErrNotFound) {
					return fmt.Errorf("beaten: %w", err)
				}
				return nil
			},
			"a reap": func(ctx context.Context, _, reaps *registry.Store) error {
				ids, err := reaps.Reap(ctx, lifeReap)
				if err == nil && slices.ContainsFunc(ids, func(id string) bool { return id != "dead" }) {
					err = fmt.Errorf("marked %v", ids)
				}
				return err
			},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				f := newFleet(t, name)
				beats, reaps := f.open(t, lives), f.open(t, lives)
				register(t, beats, registry.Agent{ID: "a"}, registry.Agent{ID: "b"}, registry.Agent{ID: "x"})
				settle(t, beats, reaps, "a", "b", "x")
				register(t, beats, registry.Agent{ID: "dead", LastHeartbeat: time.Now().Add(-time.Hour)})
				beat(t, beats, "a", "b", "x") // in the life that a slow registration may have begun
				resume := f.stall(t)
				defer resume()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- call(ctx, beats, reaps) }() // ends with the stall
				silent(t)
				resume()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				ids, err := reaps.Reap(t.Context(), lifeReap)
				if err != nil || slices.ContainsFunc(ids, func(id string) bool { return id != "dead" }) {
					t.Errorf("marked %v, %v", ids, err)
				}
			})
		}
	}
}

// A program that registers without a heartbeat of its own leaves the zero of its language there.
func TestAForeignHeartbeatThatNeverWasIsTakenForOneNow(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres", "redis"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			s := f.open(t, lives, func(cfg *registry.Config) { cfg.Foreign = true })
			register(t, s, registry.Agent{ID: "live"})
			settle(t, s, s, "live")
			names := []string{"zero"}
			if name == "redis" {
				write(t, f.redis.Client(), original{ID: "zero", Status: "available"})
			} else {
				f.foreign(t)(fmt.Sprintf("INSERT INTO layercache_agents (agent_id, last_heartbeat_ms) VALUES ('zero', %d), ('zero0', 0)", time.Time{}.UnixMilli()))
				names = append(names, "zero0")
			}
			began := time.Now()
			reapNone(t, s, "a registration without a heartbeat")
			for _, id := range names {
				if age := began.Sub(get(t, s, id).LastHeartbeat); age > time.Minute {
					t.Errorf("the heartbeat of %s is %s ago", id, age)
				}
			}
			reapAll(t, s, names...) // it is silent from then on
		})
	}
}

func TestARegistrationWithAHeartbeatUpTo1970IsOneNow(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t, lives)
		register(t, s, registry.Agent{ID: "live"})
		settle(t, s, s, "live")
		for id, beat := range map[string]time.Time{"1970": time.Unix(0, 0), "1969": time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC)} {
			register(t, s, registry.Agent{ID: id, LastHeartbeat: beat})
			if got := get(t, s, id).LastHeartbeat; time.Since(got) > time.Minute {
				t.Errorf("a heartbeat at %s became %s", beat, got)
			}
		}
	})
}

// What a clock leaves that went back, and a program that counts in another unit.
func TestAHeartbeatStillToComeKeepsNobodyElseAlive(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			s := f.open(t, lives)
			register(t, s, registry.Agent{ID: "dead"}, registry.Agent{ID: "ahead"})
			if err := s.Heartbeat(t.Context(), "dead"); err != nil {
				t.Fatal(err)
			}
			f.foreign(t)("UPDATE layercache_agents SET last_heartbeat_ms = last_heartbeat_ms + 3600000, expires_ms = expires_ms + 3600000 WHERE agent_id = 'ahead'")
			reapAll(t, s, "dead")
			if got := get(t, s, "ahead").Status; got != registry.Available {
				t.Errorf("ahead is %s", got)
			}
		})
	}
}

// A clock that went back has everything ahead, the notes of contact too.
func TestNobodyIsReapedForAClockOfTheDatabaseThatWentBack(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			s := f.open(t, lives)
			register(t, s, registry.Agent{ID: "a"}, registry.Agent{ID: "b"})
			settle(t, s, s, "a", "b")
			silent(t)
			foreign := f.foreign(t)
			foreign("UPDATE layercache_agents SET last_heartbeat_ms = last_heartbeat_ms + 3600000 WHERE agent_id = 'a'")
			foreign("UPDATE layercache_agents_life SET since_ms = since_ms + 3600000, contact_ms = contact_ms + 3600000")
			reapNone(t, s, "a clock that went back")
			reapAll(t, s, "b") // who does not come back is dead all the same
		})
	}
}

func TestNobodyIsReapedForASilenceOfThisProcess(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	m := &registry.Memory{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }}
	s := open(t, registry.Config{Backend: m})
	register(t, s, registry.Agent{ID: "a"}, registry.Agent{ID: "b"})
	mu.Lock()
	now = now.Add(4 * time.Minute) // stopped, and continued
	mu.Unlock()
	if ids, err := s.Reap(t.Context(), time.Minute); len(ids) > 0 || err != nil {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestNobodyIsReapedAfterARestoredOrRestartedDatabase(t *testing.T) {
	url := pgtest.NewDatabase(t)
	source := inPostgres(t, url)
	s := open(t, registry.Config{Backend: onSQL(t, registry.SQLConfig{Source: source}), Grace: lifeGrace})
	register(t, s, registry.Agent{ID: "a"})
	if _, err := s.Reap(t.Context(), lifeReap); err != nil {
		t.Fatal(err)
	}
	silent(t)
	// What a restart leaves: another run of the server than the one that wrote the row. Beats of others hide the gap.
	pgtest.Exec(t, url, "UPDATE layercache_agents_life SET server = 'an earlier run', contact_ms = extract(epoch FROM clock_timestamp()) * 1000")
	reapNone(t, s, "a restart of the database")

	path := filepath.Join(t.TempDir(), "agents.db")
	begin := func() *registry.Store {
		return open(t, registry.Config{Backend: onSQL(t, registry.SQLConfig{Source: inSQLite(t, path)}), Grace: lifeGrace})
	}
	lite := begin()
	register(t, lite, registry.Agent{ID: "a"})
	if err := lite.Heartbeat(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := lite.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	silent(t)
	again := begin() // a process that was down, on the file it left
	reapNone(t, again, "a restart of the only process")
}
