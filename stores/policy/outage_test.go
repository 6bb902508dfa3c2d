package policy_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
	"github.com/layercache/layercache/telemetry"
)

func TestPutSaysWhenTheContextEndsBeforeItIsInForce(t *testing.T) {
	for _, bus := range []string{"redis", "local"} {
		t.Run(bus, func(t *testing.T) {
			var m meddler
			f := newFleet(t, "sqlite", bus)
			a, b := f.open(t, meddle(&m)), f.open(t)
			put(t, a, agent(1), policy.Allow)
			decide(t, b, agent(1))
			ctx, cancel := context.WithCancel(t.Context())
			var committed uint64
			m.after(func(asOf uint64) error {
				committed = asOf
				cancel()
				return nil
			})
			version, err := a.Put(ctx, agent(1), answer(t, policy.RequireApproval))
			late, ok := errors.AsType[*readthrough.NotInForceError](err)
			// The writer leaves at once; whether Redis has executed the invalidation by then is a race, and the error says which.
			if !ok || !late.Committed || late.Pending != late.Until.IsZero() || late.Pending && bus == "local" || !errors.Is(err, context.Canceled) {
				t.Fatalf("%+v, %v", late, err)
			}
			if version == 0 || uint64(version) != committed {
				t.Fatalf("version %d beside the error, committed was %d", version, committed)
			}
			if got := decide(t, a, agent(1)); got != policy.RequireApproval {
				t.Fatalf("the writer reads %v", got)
			}
			if got := decide(t, b, agent(1), readthrough.AtLeast(late.Token)); got != policy.RequireApproval {
				t.Fatalf("with the token of the error %v", got)
			}
			eventually(t, "invalidation that the context does not stop", func() bool { return decide(t, b, agent(1)) == policy.RequireApproval })
		})
	}
}

func TestUnknownOutcomeOfACommitInvalidates(t *testing.T) {
	var m meddler
	f := newFleet(t, "sqlite", "redis")
	a, b := f.open(t, meddle(&m)), f.open(t)
	put(t, a, agent(1), policy.Allow)
	for _, s := range []*policy.Store{a, b} {
		decide(t, s, agent(1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cause := errors.New("the connection was lost")
	m.after(func(uint64) error {
		cancel()
		return &sqlsource.UnknownOutcomeError{Op: "put", Err: cause}
	})
	version, err := a.Put(ctx, agent(1), answer(t, policy.RequireApproval))
	if _, ok := errors.AsType[*sqlsource.UnknownOutcomeError](err); !ok || !errors.Is(err, cause) || version != 0 {
		t.Fatalf("%d, %v", version, err)
	}
	if got := decide(t, a, agent(1)); got != policy.RequireApproval {
		t.Fatalf("the writer still reads %v", got)
	}
	eventually(t, "invalidation elsewhere", func() bool { return decide(t, b, agent(1)) == policy.RequireApproval })
}

func TestUnknownOutcomeOfAnImportsFirstBatchInvalidatesAll(t *testing.T) {
	for _, bus := range []string{"local", "redis"} {
		t.Run(bus, func(t *testing.T) {
			var m meddler
			f := newFleet(t, "memory", bus) // no log and no outbox: nothing but the import itself tells of it
			a, b := f.open(t, meddle(&m)), f.open(t)
			ids := []policy.AgentID{agent(1), agent(2)}
			for _, id := range ids {
				put(t, a, id, policy.Allow)
				for _, s := range []*policy.Store{a, b} {
					decide(t, s, id)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cause := errors.New("the connection was lost")
			m.after(func(uint64) error {
				cancel()
				return &sqlsource.UnknownOutcomeError{Op: "import", Err: cause}
			})
			doc := answer(t, policy.RequireApproval)
			n, err := a.Import(ctx, maps.All(map[policy.AgentID]*policy.Document{ids[0]: doc, ids[1]: doc}))
			if _, ok := errors.AsType[*sqlsource.UnknownOutcomeError](err); !ok || !errors.Is(err, cause) || n != 0 {
				t.Fatalf("%d, %v", n, err)
			}
			for _, id := range ids {
				if got := decide(t, a, id); got != policy.RequireApproval {
					t.Fatalf("the writer still reads %v", got)
				}
			}
			if bus == "local" {
				return // the other store has another authority's bus
			}
			eventually(t, "invalidation elsewhere", func() bool {
				return decide(t, b, ids[0]) == policy.RequireApproval && decide(t, b, ids[1]) == policy.RequireApproval
			})
		})
	}
}

func TestFailedImportInvalidatesNothing(t *testing.T) {
	var m meddler
	seen := newEvents()
	s := newFleet(t, "memory", "redis").open(t, meddle(&m), func(cfg *policy.Config) { cfg.Telemetry = seen })
	put(t, s, agent(1), policy.Allow)
	cause := errors.New("disk full")
	m.fail(cause)
	n, err := s.Import(t.Context(), maps.All(map[policy.AgentID]*policy.Document{agent(1): answer(t, policy.Deny)}))
	if n != 0 || !errors.Is(err, cause) {
		t.Fatalf("%d, %v", n, err)
	}
	if sent := seen.of(telemetry.InvalidationSentAll); sent != 0 {
		t.Fatalf("%d invalidations of everything", sent)
	}
}

func TestFailedCommitInvalidatesNothingAndIsNoPut(t *testing.T) {
	var m meddler
	s := newFleet(t, "memory", "redis").open(t, meddle(&m))
	put(t, s, agent(1), policy.Allow)
	cause := errors.New("disk full")
	m.fail(cause)
	_, err := s.Put(t.Context(), agent(1), answer(t, policy.Deny))
	if late, ok := errors.AsType[*readthrough.NotInForceError](err); ok || !errors.Is(err, cause) {
		t.Fatalf("%v, %v", err, late)
	}
	if h := s.Health(); h.Pending != 0 {
		t.Fatalf("%+v", h)
	}
}

func TestRedisDownAtStartLeavesTheAuthority(t *testing.T) {
	for _, name := range []string{"memory", "sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name, "local")
			server := redistest.Start(t)
			f.redis = server.Addr()
			server.Kill()
			var m meddler
			s := f.open(t, meddle(&m))
			d, err := s.Decide(t.Context(), agent(1), "tool:shell")
			denied(t, "no policy", readthrough.ErrNotFound, d, err)
			r, err := s.PutAsync(t.Context(), agent(1), answer(t, policy.Allow))
			if err != nil || r.Executed() || r.Err() == nil {
				t.Fatalf("a write without Redis: %+v, %v", r, err)
			}
			if got := decide(t, s, agent(1)); got != policy.Allow {
				t.Fatalf("%v", got)
			}
			committed, cancel := context.WithCancel(t.Context())
			defer cancel()
			m.after(func(uint64) error {
				cancel()
				return nil
			})
			version, err := s.Put(committed, agent(2), answer(t, policy.Deny))
			if late, ok := errors.AsType[*readthrough.NotInForceError](err); !ok || !late.Committed || !late.Pending || version == 0 {
				t.Fatalf("Put: %d, %v", version, err)
			}
			if h := s.Health(); h.State != invalidation.Down || h.Err == nil || h.Pending != 2 {
				t.Errorf("%+v", h)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := s.Ready(ctx); !errors.Is(err, readthrough.ErrUnavailable) {
				t.Errorf("Ready: %v", err)
			}

			server.Restart()
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "recovery", func() bool {
				decide(t, s, agent(1))
				h := s.Health()
				return h.State == invalidation.Up && h.Err == nil && h.Pending == 0 && s.Ready(t.Context()) == nil
			})
		})
	}
}

func TestRedisLostBetweenCommitAndInvalidationIsToldLater(t *testing.T) {
	for _, name := range []string{"memory", "sqlite"} {
		t.Run(name, func(t *testing.T) {
			var m meddler
			f := newFleet(t, name, "redis")
			proxy := redistest.NewProxy(t, f.redis)
			a := f.open(t, meddle(&m), func(cfg *policy.Config) { cfg.Redis = proxy.Client() })
			b := f.open(t)
			put(t, a, agent(1), policy.Allow)
			decide(t, b, agent(1))
			m.after(func(uint64) error {
				proxy.Blackhole()
				return nil
			})
			r, err := a.PutAsync(t.Context(), agent(1), answer(t, policy.RequireApproval))
			if err != nil || r.Executed() {
				t.Fatalf("%v, executed %t", err, r.Executed())
			}
			if got := decide(t, a, agent(1)); got != policy.RequireApproval {
				t.Fatalf("the writer reads %v", got)
			}
			if h := a.Health(); h.Pending != 1 {
				t.Fatalf("%+v", h)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*bound)
			defer cancel()
			late, ok := errors.AsType[*readthrough.NotInForceError](r.Wait(ctx))
			if !ok || !late.Pending || !late.Until.IsZero() {
				t.Fatalf("Wait: %+v", late)
			}
			proxy.Restore()
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := decide(t, b, agent(1)); got != policy.RequireApproval {
				t.Fatalf("the other store reads %v", got)
			}
			eventually(t, "end of what is pending", func() bool { return a.Health().Pending == 0 })
		})
	}
}

func TestRelaysLeaveNothingPendingWhileRedisIsOut(t *testing.T) {
	f := newFleet(t, "sqlite", "local")
	server := redistest.Start(t)
	f.redis = server.Addr()
	s := f.open(t, func(cfg *policy.Config) { cfg.Relay = 10 * time.Millisecond })
	put(t, s, agent(1), policy.Allow)
	server.Kill()
	f.exec(t, "UPDATE layercache_policies SET document = '"+revoked+"'")
	if _, err := s.PutAsync(t.Context(), agent(2), answer(t, policy.Allow)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "third attempt of a relay", func() bool {
		return f.query(t, "SELECT max(attempts) FROM layercache_outbox") >= 3
	})
	if h := s.Health(); h.Pending != 1 {
		t.Fatalf("%d invalidations are pending, want the writer's own", h.Pending)
	}
	server.Restart()
	eventually(t, "delivery of every row", func() bool {
		return f.query(t, "SELECT count(*) FROM layercache_outbox WHERE delivered_ms = 0") == 0
	})
}

// Two processes that share a database and no Redis have no life of Redis in common: the outbox must settle all the same.
func TestOutboxSettlesWithoutRedis(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name, "local")
			seen := newEvents()
			quick := func(cfg *policy.Config) {
				cfg.Relay, cfg.Settle, cfg.Telemetry = 20*time.Millisecond, 100*time.Millisecond, seen
			}
			a, b := f.open(t, quick), f.open(t, quick)
			put(t, a, agent(1), policy.Allow)
			put(t, b, agent(2), policy.Allow)
			f.exec(t, "UPDATE layercache_policies SET document = '"+revoked+"'")
			eventually(t, "final rows", func() bool {
				return f.query(t, "SELECT count(*) FROM layercache_outbox WHERE NOT final") == 0
			})
			if n := seen.of(telemetry.OutboxResent); n != 0 {
				t.Errorf("%d rows were delivered a second time", n)
			}
		})
	}
}

func TestTiersAnswerWhileTheDatabaseIsDown(t *testing.T) {
	for _, bus := range []string{"miniredis", "redis"} {
		t.Run(bus, func(t *testing.T) {
			// PostgreSQL behind a proxy that can go away.
			database := pgtest.NewDatabase(t)
			u, err := url.Parse(database)
			if err != nil {
				t.Fatal(err)
			}
			proxy := redistest.NewProxy(t, u.Host)
			u.Host = proxy.Addr()
			f := newFleet(t, "memory", bus)
			f.authority = atPostgres(t, u.String())
			still := func(cfg *policy.Config) { cfg.Relay = patience } // else a row may be delivered again, and void what is cached
			a, cold := f.open(t, still, func(cfg *policy.Config) { cfg.Poll = 50 * time.Millisecond }), f.open(t, still)
			put(t, a, agent(1), policy.Allow)
			put(t, a, agent(3), policy.Allow)
			d, err := a.Decide(t.Context(), agent(2), "tool:shell")
			denied(t, "no policy", readthrough.ErrNotFound, d, err)
			decide(t, a, agent(1))
			eventually(t, "fill", func() bool { return filled(t, f, agent(1)) && filled(t, f, agent(2)) })

			proxy.Refuse()
			proxy.CutAll()
			if got := decide(t, a, agent(1)); got != policy.Allow { // L1
				t.Fatalf("%v", got)
			}
			if got := decide(t, cold, agent(1)); got != policy.Allow { // L2
				t.Fatalf("%v", got)
			}
			d, err = cold.Decide(t.Context(), agent(2), "tool:shell")
			denied(t, "an absence from L2", readthrough.ErrNotFound, d, err)
			for _, s := range []*policy.Store{a, cold} {
				d, err := s.Decide(t.Context(), agent(3), "tool:shell")
				denied(t, "a policy that no tier has", readthrough.ErrUnavailable, d, err)
				if inner := strings.Replace(err.Error(), readthrough.ErrUnavailable.Error(), "", 1); len(inner) < 40 {
					t.Errorf("the error does not hold the cause: %v", err)
				}
				d, err = s.Decide(t.Context(), agent(9), "tool:shell")
				denied(t, "an agent that was never asked for", readthrough.ErrUnavailable, d, err)
				many, err := s.GetMany(t.Context(), []policy.AgentID{agent(1), agent(3)})
				if !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) || many[agent(1)] == nil || len(many) != 1 {
					t.Errorf("GetMany: %v, %v", many, err)
				}
				if err := s.Ready(t.Context()); !errors.Is(err, readthrough.ErrUnavailable) {
					t.Errorf("Ready: %v", err)
				}
			}
			if _, err := a.Put(t.Context(), agent(1), answer(t, policy.Deny)); err == nil || errors.Is(err, readthrough.ErrNotFound) {
				t.Errorf("Put: %v", err)
			}
			eventually(t, "poll that failed", func() bool { return a.Health().Err != nil })

			proxy.Restore()
			eventually(t, "recovery", func() bool {
				_, err := cold.Decide(t.Context(), agent(3), "tool:shell")
				return err == nil
			})
		})
	}
}

// filled says whether L2 holds something for an agent.
func filled(t testing.TB, f *fleet, id policy.AgentID) bool {
	t.Helper()
	keys, err := f.client(t).Keys(t.Context(), "*:d:"+id.String()).Result()
	return err == nil && len(keys) == 1 // who asks asks again
}

func keysOf(t testing.TB, f *fleet, id policy.AgentID) []string {
	t.Helper()
	keys, err := f.client(t).Keys(t.Context(), "*:d:"+id.String()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestCorruptValueInRedisIsACountedMiss(t *testing.T) {
	for _, bus := range []string{"miniredis", "redis"} {
		t.Run(bus, func(t *testing.T) {
			f := newFleet(t, "sqlite", bus)
			s := f.open(t)
			put(t, s, agent(1), policy.Allow)
			decide(t, s, agent(1))
			eventually(t, "fill", func() bool { return filled(t, f, agent(1)) })
			client, key := f.client(t), keysOf(t, f, agent(1))[0]
			good, err := client.Get(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			flipped := []byte(good)
			flipped[len(flipped)-3] ^= 0x20 // a letter of the document
			for name, bad := range map[string]string{
				"flipped": string(flipped), "cut": good[:len(good)-1], "another form": good[:32] + `{"version":1}`, "empty": good[:32],
			} {
				if err := client.Set(t.Context(), key, bad, time.Minute).Err(); err != nil {
					t.Fatal(err)
				}
				seen, m := newEvents(), &meddler{}
				cold := f.open(t, meddle(m), func(cfg *policy.Config) { cfg.Telemetry = seen })
				d, err := cold.Decide(t.Context(), agent(1), "tool:shell")
				if err != nil || d.Verdict() != policy.Allow || d.Rule() != 0 || m.loads.Load() != 1 {
					t.Errorf("%s: %+v, %v, %d loads", name, d, err, m.loads.Load())
				}
				if err := cold.Close(t.Context()); err != nil { // and its fill is done
					t.Fatal(err)
				}
				rejected := seen.of(telemetry.PayloadRejectedCorrupt) + seen.of(telemetry.PayloadRejectedVersion)
				if rejected != 1 {
					t.Errorf("%s: counted %d times", name, rejected)
				}
			}
		})
	}
}

func TestHundredMissesAreOneLoad(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		for _, bus := range []string{"local", "redis"} {
			t.Run(name+"/"+bus, func(t *testing.T) {
				f := newFleet(t, name, bus)
				// A load is joined for half of B, and a machine may be slow.
				patient := func(cfg *policy.Config) { cfg.Bound, cfg.Relay = patience, patience }
				if _, err := f.open(t, patient).PutAsync(t.Context(), agent(1), answer(t, policy.Allow)); err != nil {
					t.Fatal(err)
				}
				var one, two meddler // of two processes
				stores := []*policy.Store{f.open(t, meddle(&one), patient), f.open(t, meddle(&two), patient)}
				for _, s := range stores {
					if err := s.Ready(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				processes := 1
				if bus == "redis" {
					processes = 2
				}
				failed := make(chan error, 100)
				for i := range 100 {
					go func() { // ends with its check
						d, err := stores[i%processes].Decide(t.Context(), agent(1), "tool:shell")
						if err == nil && !d.Allowed() {
							err = errors.New("denied")
						}
						failed <- err
					}()
				}
				for range 100 {
					if err := <-failed; err != nil {
						t.Error(err)
					}
				}
				if loads := one.loads.Load() + two.loads.Load(); loads != 1 {
					t.Errorf("%d loads for 100 checks in %d processes", loads, processes)
				}
			})
		}
	}
}
