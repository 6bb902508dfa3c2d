package policy_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/telemetry"
)

// Three tenants, one of them without a name, on one authority and one Redis, with policies for the same agents.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		verdicts := map[string]policy.Verdict{"": policy.Allow, "a": policy.RequireApproval, "b": policy.Deny}
		stores := map[string]*policy.Store{}
		for tenant := range verdicts {
			stores[tenant] = f.as(tenant).open(t)
		}
		want := func(what string) {
			t.Helper()
			for tenant, s := range stores {
				d, err := s.Decide(t.Context(), agent(1), "tool:shell")
				if verdict, has := verdicts[tenant]; !has {
					denied(t, what+", tenant "+tenant, readthrough.ErrNotFound, d, err)
				} else if err != nil || d.Verdict() != verdict {
					t.Fatalf("%s, tenant %q: %v, %v; want %v", what, tenant, d.Verdict(), err, verdict)
				}
			}
		}
		all := maps.Clone(verdicts)
		clear(verdicts)
		want("before any Put")
		for tenant, verdict := range all {
			put(t, stores[tenant], agent(1), verdict)
			verdicts[tenant] = verdict
			want("after the Put of " + tenant)
		}
		if _, err := stores["a"].Delete(t.Context(), agent(1)); err != nil {
			t.Fatal(err)
		}
		delete(verdicts, "a")
		want("after a Delete")
		allow := map[policy.AgentID]*policy.Document{}
		for i := range byte(80) {
			allow[agent(i)] = answer(t, policy.Allow)
		}
		if n, err := stores["a"].Import(t.Context(), maps.All(allow)); err != nil || n != len(allow) {
			t.Fatalf("Import: %d, %v", n, err)
		}
		verdicts["a"] = policy.Allow
		want("after an Import")
		if err := stores[""].InvalidateAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("after InvalidateAll")
		many, err := stores["b"].GetMany(t.Context(), []policy.AgentID{agent(1), agent(2)})
		if err != nil || len(many) != 1 || many[agent(1)].Decide("tool:shell").Verdict() != policy.Deny {
			t.Fatalf("GetMany: %d policies, %v", len(many), err)
		}
		r, err := stores["a"].PutAsync(t.Context(), agent(1), answer(t, policy.Deny))
		if err != nil {
			t.Fatal(err)
		}
		d, err := stores["b"].Decide(t.Context(), agent(1), "tool:shell", readthrough.AtLeast(r.Token()))
		denied(t, "another tenant's token", readthrough.ErrBadToken, d, err)
	})
}

func TestTenantIsInItsKeysOfRedis(t *testing.T) {
	f := newFleet(t, "sqlite", "redis").as("a")
	s := f.open(t)
	put(t, s, agent(1), policy.Allow)
	decide(t, s, agent(1))
	eventually(t, "fill", func() bool { return filled(t, f, agent(1)) })
	if keys := keysOf(t, f, agent(1)); len(keys) != 1 || !strings.Contains(keys[0], "{policy@a.") {
		t.Errorf("%q, want a tenant's key", keys)
	}
}

func TestForeignWriteOfATenantIsSeenByItsStoresAlone(t *testing.T) {
	overSQL(t, func(t *testing.T, f *fleet) {
		names := []string{"", "a", "b"}
		authorities, stores := map[string]*meddler{}, map[string]*policy.Store{}
		for _, name := range names {
			authorities[name] = &meddler{}
			stores[name] = f.as(name).open(t, meddle(authorities[name]), func(cfg *policy.Config) {
				cfg.Poll, cfg.Relay = 50*time.Millisecond, time.Second // no relay delivers what a writer is about to record
			})
		}
		// How many loads each tenant's store has made, after one more decision.
		loads := func() map[string]int64 {
			n := map[string]int64{}
			for _, name := range names {
				if _, err := stores[name].Decide(t.Context(), agent(1), "tool:shell"); err != nil {
					t.Fatal(err)
				}
				n[name] = authorities[name].loads.Load()
			}
			return n
		}
		for _, c := range []struct{ name, statement string }{
			{"a policy", "UPDATE layercache_policies SET document = '" + revoked + "' WHERE tenant = '%s' AND agent_id = '" + agent(1).String() + "'"},
			{"all of its policies", "UPDATE layercache_policies SET document = '" + revoked + "' WHERE tenant = '%s'"},
		} {
			for _, changed := range names[:2] {
				var receipts []*readthrough.Receipt
				for _, name := range names {
					for i := range byte(70) { // more than a log names one by one
						if c.name == "a policy" && i != 1 {
							continue
						}
						r, err := stores[name].PutAsync(t.Context(), agent(i), answer(t, policy.Allow))
						if err != nil {
							t.Fatal(err)
						}
						receipts = append(receipts, r)
					}
				}
				for _, r := range receipts { // nothing that was said of them is still under way
					if err := r.Wait(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "delivery of every row", func() bool {
					return f.query(t, "SELECT count(*) FROM layercache_outbox WHERE delivered_ms = 0") == 0
				})
				loads() // and warm
				before := loads()
				f.exec(t, fmt.Sprintf(c.statement, changed))
				eventually(t, "change of "+c.name, func() bool { return decide(t, stores[changed], agent(1)) == policy.Deny })
				eventually(t, "delivery of it", func() bool {
					return f.query(t, "SELECT count(*) FROM layercache_outbox WHERE delivered_ms = 0") == 0
				})
				after := loads()
				for _, name := range names {
					if name == changed {
						continue
					}
					if got := decide(t, stores[name], agent(1)); got != policy.Allow || after[name] != before[name] {
						t.Errorf("%s of tenant %q changed: %q is answered %v after %d loads", c.name, changed, name, got, after[name]-before[name])
					}
				}
			}
			if testing.Short() {
				break
			}
		}
	})
}

// Without Redis the poll of the log flushes when rows that it did not see were trimmed: those of its own tenant.
func TestTrimmingOfATenantFlushesNoOther(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name, "local")
			var m meddler
			s := f.as("a").open(t, meddle(&m))
			for i := range byte(2) {
				put(t, s, agent(i), policy.Allow)
				decide(t, s, agent(i))
			}
			other := f.as("b").open(t, func(cfg *policy.Config) {
				cfg.TTL, cfg.NegativeTTL, cfg.Settle, cfg.Relay = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
			})
			for range 2 {
				put(t, other, agent(1), policy.Allow)
			}
			eventually(t, "trimming of the other's log", func() bool {
				return f.query(t, "SELECT count(*) FROM layercache_outbox WHERE tenant = 'b'") == 0
			})
			loads := m.loads.Load()
			f.exec(t, "UPDATE layercache_policies SET document = '"+revoked+"' WHERE tenant = 'a' AND agent_id = '"+agent(0).String()+"'")
			eventually(t, "a poll", func() bool { return decide(t, s, agent(0)) == policy.Deny })
			decide(t, s, agent(1))
			if n := m.loads.Load() - loads; n != 1 {
				t.Errorf("%d loads, want that of the changed policy alone", n)
			}
		})
	}
}

func TestTableOfAnotherTenantIsRefused(t *testing.T) {
	const hers, his = "hunter-one", "hunter-two"
	f := newFleet(t, "sqlite", "local").as(hers)
	for name, authority := range map[string]policy.Authority{"table": f.connect(t), "wrapped": loggedMeddler{&meddler{Authority: f.connect(t)}}} {
		for _, tenant := range []string{his, ""} {
			s, err := policy.New(policy.Config{Authority: authority, Tenant: tenant})
			if err == nil {
				t.Errorf("%s: accepted", name)
				_ = s.Close(t.Context())
				continue
			}
			if !strings.Contains(err.Error(), "Config.Tenant") || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s: %v; want the field's name and no tenant's", name, err)
			}
		}
	}
}

// namespaces is a Telemetry that keeps which namespaces counted an event.
type namespaces struct {
	telemetry.Telemetry
	mu   sync.Mutex // guards seen
	seen map[telemetry.Event]map[string]int64
}

func (n *namespaces) Count(ns string, ev telemetry.Event, by int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[ev] == nil {
		n.seen[ev] = map[string]int64{}
	}
	n.seen[ev][ns] += by
}

func (n *namespaces) of(ev telemetry.Event) map[string]int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.seen[ev])
}

// What stands before a table does not take its relay away; and relay and cache are one namespace in the metrics.
func TestWrappedTableHasARelayInTheCachesNamespace(t *testing.T) {
	f := newFleet(t, "sqlite", "redis").as("a")
	seen := &namespaces{Telemetry: telemetry.Nop, seen: map[telemetry.Event]map[string]int64{}}
	s := f.open(t, meddle(&meddler{}), func(cfg *policy.Config) { cfg.Telemetry, cfg.Name, cfg.Poll = seen, "rules", time.Hour })
	put(t, s, agent(1), policy.Allow)
	f.exec(t, "UPDATE layercache_policies SET document = '"+revoked+"'")
	eventually(t, "delivery by the relay", func() bool { return decide(t, s, agent(1)) == policy.Deny })
	eventually(t, "count of it", func() bool { return len(seen.of(telemetry.OutboxDelivered)) > 0 })
	for _, ev := range []telemetry.Event{telemetry.OutboxDelivered, telemetry.InvalidationSent} {
		if got := seen.of(ev); len(got) != 1 || got["rules"] == 0 {
			t.Errorf("event %v is counted under %v, want rules alone", ev, got)
		}
	}
}

// unlogged hides that there is a table behind it.
type unlogged struct{ policy.Authority }

func TestAuthorityWithoutALogHasNoRelay(t *testing.T) {
	f := newFleet(t, "sqlite", "redis")
	s := f.open(t, func(cfg *policy.Config) { cfg.Authority = unlogged{cfg.Authority} })
	put(t, s, agent(1), policy.Allow)
	f.exec(t, "UPDATE layercache_policies SET document = '"+revoked+"'")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := f.query(t, "SELECT count(*) FROM layercache_outbox WHERE attempts > 0 OR delivered_ms > 0"); n != 0 {
		t.Errorf("%d rows were claimed", n)
	}
	if _, err := s.Get(t.Context(), agent(1)); !errors.Is(err, readthrough.ErrClosed) {
		t.Error(err)
	}
}
