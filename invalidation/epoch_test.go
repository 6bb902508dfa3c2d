package invalidation_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/telemetry"
)

func TestLossOfAnyKeyTheEpochRestsOnIsANewEpoch(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, c redis.UniversalClient) error{
		"e":        func(t *testing.T, c redis.UniversalClient) error { return c.Del(t.Context(), key("e")).Err() },
		"s":        func(t *testing.T, c redis.UniversalClient) error { return c.Del(t.Context(), key("s")).Err() },
		"b":        func(t *testing.T, c redis.UniversalClient) error { return c.Del(t.Context(), key("b")).Err() },
		"a":        func(t *testing.T, c redis.UniversalClient) error { return c.Del(t.Context(), key("a")).Err() },
		"flushall": func(t *testing.T, c redis.UniversalClient) error { return c.FlushAll(t.Context()).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
				p, q := join(t, client), join(t, client)
				leased(t, p, q)
				old, flushes := p.Position(0).Epoch, p.target.count("flush")
				if err := lose(t, client); err != nil {
					t.Fatal(err)
				}
				for _, x := range []*process{p, q} {
					redistest.Eventually(t, patience, "new epoch", func() bool { e := x.Position(0).Epoch; return e != old && e != "" })
				}
				if p.target.count("flush") == flushes {
					t.Fatal("no flush")
				}
				if p.Position(0).Epoch != q.Position(0).Epoch {
					t.Fatal("two epochs")
				}
				ripe(t, p)
				quick(t, p, bound/2)
			})
		})
	}
}

func TestLossOfAValueOrAFillLeaseIsNoNewEpoch(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client)
		leased(t, p)
		p.Invalidate(t.Context(), nil, 0)
		old, flushes := p.Position(0).Epoch, p.target.count("flush")
		client.Set(t.Context(), key("d:x"), string(old)+"value", 0)
		client.HSet(t.Context(), key("l:x"), "f", "1")
		client.Del(t.Context(), key("d:x"), key("l:x"))
		before := p.Lease(0).Until()
		redistest.Eventually(t, patience, "renewals", func() bool { return p.Lease(0).Until().Sub(before) > bound })
		if p.Position(0).Epoch != old || p.target.count("flush") != flushes {
			t.Fatalf("a flush for a lost value: %v", p.target.all())
		}
	})
}

func TestScriptsThatTheServerForgotAreSentAgain(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p, q := join(t, client), join(t, client)
		ripe(t, p)
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		quick(t, p, bound/2)
		if q.target.voids(id(t, "quick")) == 0 || p.tel.of(telemetry.RenewFailed) != 0 {
			t.Fatal(q.target.all(), p.tel.reported())
		}
	})
}

func TestEpochOfAnotherAnswerIsAHintToRenew(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		const long = 20 * time.Second // so that the next renewal of its own accord is far away
		p := join(t, client, setting{store: func(c *l2.Config) { c.Lease = long }})
		leased(t, p)
		before := p.Lease(0).Until()
		p.Observe(0, p.Position(0).Epoch)
		flushes := p.target.count("flush")
		p.Observe(0, "0123456789abcdef0123456789abcdef")
		redistest.Eventually(t, long/8, "renewal", func() bool { return p.Lease(0).Until() != before })
		if p.target.count("flush") != flushes {
			t.Fatal("a hint flushed")
		}
	})
}

func TestRedisAbsentAtTheStartIsUsedWhenItComes(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	server.Kill()
	p := join(t, client)
	redistest.Eventually(t, patience, "outage", func() bool { return p.Health().State == invalidation.Down })
	if p.Usable(t.Context(), id(t, "x")) || p.Lease(0).Valid(invalidation.Now()) || p.Renew(t.Context(), 0) == nil {
		t.Fatal("trusted a Redis that is not there")
	}
	server.Restart()
	leased(t, p)
	if h := p.Health(); h.State != invalidation.Up || h.Err != nil || !p.Usable(t.Context(), id(t, "x")) {
		t.Fatalf("%+v", h)
	}
	q := join(t, client)
	ripe(t, p, q)
	redistest.Eventually(t, patience, "subscription", func() bool {
		evicts := p.target.count("evict")
		q.invalidate("x")
		redistest.Eventually(t, patience, "void", func() bool { return p.target.voids(id(t, "x")) > 0 })
		return p.target.count("evict") > evicts
	})
}

func TestMiniredisAbsentAtTheStartIsUsedWhenItComes(t *testing.T) {
	mini, client := redistest.Mini(t)
	mini.Close()
	p := join(t, client)
	redistest.Eventually(t, patience, "outage", func() bool { return p.Health().State == invalidation.Down })
	if err := mini.Restart(); err != nil {
		t.Fatal(err)
	}
	leased(t, p)
}

// A restart gives the server another replication id, so that what it lost since its last snapshot is noticed at once.
func TestServerThatComesBackWithAnOldSnapshotIsANewEpoch(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, server.Client())
	leased(t, p)
	p.invalidate("x")
	server.Do("SAVE")
	for range 5 {
		p.invalidate("x")
	}
	old, flushes := p.Position(0).Epoch, p.target.count("flush")
	server.Restart()
	redistest.Eventually(t, patience, "new epoch", func() bool { return p.Position(0).Epoch != old })
	if p.target.count("flush") == flushes {
		t.Fatal("no flush")
	}
	leased(t, p)
}

// Who may not see the replication id has the counter alone: when it is behind what was applied, the epoch is replaced.
func TestCounterThatWentBackIsReplacedByANewEpoch(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p, q := join(t, client), join(t, client)
		ripe(t, p, q)
		old := p.Position(0)
		redistest.Eventually(t, patience, "position", func() bool { return q.Position(0).Seq >= old.Seq && q.Position(0).Seq > 0 })
		client.Set(t.Context(), key("s"), "0", 0)
		for _, x := range []*process{p, q} {
			redistest.Eventually(t, patience, "new epoch", func() bool { return x.Position(0).Epoch != old.Epoch })
		}
		leased(t, p, q)
		redistest.Eventually(t, patience, "reset", func() bool { // whoever asked for it may learn the epoch before its answer
			return p.tel.of(telemetry.EpochChangeReset)+q.tel.of(telemetry.EpochChangeReset) > 0 ||
				slices.ContainsFunc(append(p.tel.reported(), q.tel.reported()...), func(s string) bool { return strings.HasPrefix(s, "reset: ") })
		})
		redistest.Eventually(t, patience, "one epoch", func() bool { return p.Position(0).Epoch == q.Position(0).Epoch })
	})
}
