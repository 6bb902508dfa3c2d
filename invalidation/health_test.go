package invalidation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

// as makes a client of an ACL user that may do everything a cache needs, less what the rules take.
func as(t *testing.T, server *redistest.Server, name string, rules ...any) redis.UniversalClient {
	t.Helper()
	server.Do(append([]any{"ACL", "SETUSER", name, "reset", "on", ">secret", "~lc:*", "&lc:*", "+@all", "-@admin"}, rules...)...)
	return server.ClientAs(name, "secret")
}

func TestUserWithoutInfoIsWeak(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, as(t, server, "weak", "-info"))
	leased(t, p)
	if h := p.Health(); h.State != invalidation.Weak || h.Err != nil || h.State.String() != "weak" {
		t.Fatalf("%+v", h)
	}
}

func TestUserWithoutPublishIsDegradedAndStillInForceByRenewals(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, as(t, server, "mute", "-publish"))
	q := join(t, server.Client())
	leased(t, p, q)
	for range 3 {
		voids := q.target.voids(id(t, "x"))
		d := timed(t, p.invalidate("x"))
		if q.Lease(0).Valid(invalidation.Now()) && q.target.voids(id(t, "x")) == voids {
			t.Fatal("in force, and a process answers from before")
		}
		if d > bound+margin+slack {
			t.Fatalf("waited %s", d)
		}
	}
	redistest.Eventually(t, patience, "degraded", func() bool { return p.Health().State == invalidation.Degraded })
	if q.Health().State != invalidation.Up {
		t.Fatal(q.Health())
	}
}

func TestOtherConfigurationIsNotTrusted(t *testing.T) {
	for name, change := range map[string]func(c *l2.Config){
		"longer bound":         func(c *l2.Config) { c.Lease = 10 * bound },
		"more partitions":      func(c *l2.Config) { c.Partitions = 4 },
		"many more partitions": func(c *l2.Config) { c.Partitions = 16 },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
				first := join(t, client)
				leased(t, first)
				p := join(t, client, setting{store: change})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				for part := range p.store.Partitions() {
					if err := p.Renew(ctx, part); !errors.Is(err, l2.ErrConfigMismatch) {
						t.Fatalf("partition %d: %v", part, err)
					}
					if p.Lease(part).Valid(invalidation.Now()) {
						t.Fatalf("a lease of partition %d", part)
					}
				}
				if p.Usable(ctx, id(t, "x")) {
					t.Fatal("usable")
				}
				if h := p.Health(); h.State != invalidation.Mismatch || !errors.Is(h.Err, l2.ErrConfigMismatch) || h.Lease != 0 {
					t.Fatalf("%+v", h)
				}
				if first.Health().State > invalidation.Weak {
					t.Fatalf("the others suffer: %+v", first.Health())
				}
			})
		})
	}
}

// What was said of partition 0 must not make the others renew without pause, nor their readers wait for ever.
func TestPartitionsThatMayNotBeTrustedDoNotAskWithoutPause(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	leased(t, join(t, client))
	p := join(t, client, setting{store: func(c *l2.Config) { c.Partitions = 8 }})
	redistest.Eventually(t, patience, "mismatch", func() bool { return p.Health().State == invalidation.Mismatch })
	before := redistest.CountCommands(t, client)
	end := invalidation.Now().Add(500 * time.Millisecond)
	redistest.Eventually(t, patience, "half a second", func() bool { return invalidation.Now() > end })
	if n := redistest.CountCommands(t, client).Since(before).Scripts(); n > 120 {
		t.Fatalf("%d scripts in half a second", n)
	}
}

// After the state was lost, processes with different numbers of partitions could each find their own. A process that reads
// others than partition 0, which says so, must not go on.
func TestAMisfitIsNoticedByWhoeverReadsAnyPartition(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client, setting{store: func(c *l2.Config) { c.Partitions = 16 }, unread: true})
		read := func() bool { return p.Lease(15).Valid(invalidation.Now()) }
		if err := p.Renew(t.Context(), 15); err != nil || !read() {
			t.Fatal(err)
		}
		end := invalidation.Now().Add(3 * bound)
		redistest.Eventually(t, patience, "partition 0 to be left alone", func() bool { return read() && invalidation.Now() > end })
		client.FlushAll(t.Context())
		other := join(t, client, setting{store: func(c *l2.Config) { c.Partitions = 4 }})
		misfit := func(p *process) bool { return p.Health().State == invalidation.Mismatch }
		redistest.Eventually(t, patience, "one of them to stop", func() bool {
			served := read()
			return misfit(other) || misfit(p) && !served
		})
	})
}

func TestAMisfitEndsTheLeasesOfAllPartitions(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		partitions := func(n int) setting {
			return setting{store: func(c *l2.Config) { c.Partitions, c.Lease = n, time.Hour }, unread: true}
		}
		p := join(t, client, partitions(16))
		for part := range 16 { // none is renewed again within the test
			if err := p.Renew(t.Context(), part); err != nil {
				t.Fatal(err)
			}
		}
		client.FlushAll(t.Context())
		if err := join(t, client, partitions(4)).Renew(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if !p.Lease(15).Valid(invalidation.Now()) {
			t.Fatal("no lease to end")
		}
		if err := p.Renew(t.Context(), 0); !errors.Is(err, l2.ErrConfigMismatch) {
			t.Fatal(err)
		}
		if p.Lease(15).Valid(invalidation.Now()) {
			t.Fatal("partition 15 is served for the rest of its lease")
		}
	})
}

func TestNamespaceThatFitsAgainIsTrustedAgain(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		first := join(t, client)
		leased(t, first)
		p := join(t, client, setting{store: func(c *l2.Config) { c.Partitions = 4 }})
		redistest.Eventually(t, patience, "mismatch", func() bool { return p.Health().State == invalidation.Mismatch })
		if err := first.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		client.FlushAll(t.Context())
		redistest.Eventually(t, patience, "trust", func() bool {
			for part := range 4 {
				if p.Renew(t.Context(), part) != nil {
					return false
				}
			}
			return p.Usable(t.Context(), id(t, "x"))
		})
	})
}

func TestStatesHaveNames(t *testing.T) {
	for state, want := range map[invalidation.State]string{
		invalidation.Up: "up", invalidation.Weak: "weak", invalidation.Unpolled: "unpolled", invalidation.Degraded: "degraded",
		invalidation.Down: "down", invalidation.Mismatch: "mismatch", 99: "unknown",
	} {
		if got := state.String(); got != want {
			t.Errorf("%d: %s, want %s", state, got, want)
		}
	}
}

func TestConfigurationsAreRefusedByName(t *testing.T) {
	_, client := redistest.Mini(t)
	for name, cfg := range map[string]invalidation.LinkConfig{
		"LinkConfig.Client":      {},
		"LinkConfig.GapWait":     {Client: client, GapWait: -1},
		"LinkConfig.CallTimeout": {Client: client, CallTimeout: time.Hour},
	} {
		if _, err := invalidation.NewLink(cfg); err == nil || !containsWord(err, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	local := &invalidation.Local{}
	for name, m := range map[string]invalidation.Membership{
		"Membership.Target": {}, "Membership.Poll": {Target: &recorder{}, Poll: -1},
		"Membership.Bound": {Target: &recorder{}, Bound: -1}, "Membership.Store": {Target: &recorder{}},
	} {
		if _, err := link.Join(m); err == nil || !containsWord(err, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := local.Join(invalidation.Membership{Target: &recorder{}}); err == nil || !containsWord(err, "Membership.Namespace") {
		t.Error(err)
	}
	for range 2 {
		if err := link.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	store, err := l2.New(l2.Config{Client: client, Namespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := link.Join(invalidation.Membership{Store: store, Target: &recorder{}}); !errors.Is(err, invalidation.ErrClosed) {
		t.Fatal(err)
	}
}
