package invalidation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/telemetry"
)

// received waits until an invalidation reaches p as a message, not as a flush.
func received(t *testing.T, from, p *process) {
	t.Helper()
	redistest.Eventually(t, patience, "message", func() bool {
		evicts := p.target.count("evict")
		voids := p.target.voids(id(t, "probe"))
		if err := from.invalidate("probe").Err(); err != nil {
			return false
		}
		redistest.Eventually(t, patience, "void", func() bool { return p.target.voids(id(t, "probe")) > voids })
		return p.target.count("evict") > evicts
	})
}

func TestTheLagOfAnInvalidationIsObservedWhereItIsApplied(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		a, b := join(t, client), join(t, client)
		leased(t, a, b)
		received(t, a, b)
		known := len(b.tel.lagged())
		a.invalidate("k")
		redistest.Eventually(t, patience, "lag", func() bool { return len(b.tel.lagged()) > known })
		for _, lag := range b.tel.lagged() {
			if lag <= 0 || lag > patience {
				t.Errorf("lag %s", lag)
			}
		}
	})
}

func TestMessageEvictsInEveryProcessWithinMilliseconds(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		var ps []*process
		for range 4 {
			ps = append(ps, join(t, client))
		}
		leased(t, ps...)
		for _, p := range ps {
			received(t, ps[0], p)
		}
		best := time.Hour
		for i := range 10 { // the machine may be busy
			raw := fmt.Sprint("k", i)
			began := time.Now()
			ps[0].invalidate(raw)
			for _, p := range ps {
				redistest.Eventually(t, patience, "eviction", func() bool { return p.target.voids(id(t, raw)) > 0 })
			}
			best = min(best, time.Since(began))
		}
		if best > 20*time.Millisecond { // a renewal would take longer
			t.Fatalf("applied in 4 processes after %s at best", best)
		}
	})
}

func TestManyIDsAreOneFlush(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p, q := join(t, client), join(t, client)
		ripe(t, p, q)
		received(t, p, q)
		flushes := q.target.count("flush")
		var ids []l2.ID
		for i := range l2.MaxNamed + 1 {
			ids = append(ids, id(t, string(rune('a'+i))))
		}
		if err := p.Invalidate(t.Context(), ids, 0).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if q.target.count("flush") != flushes+1 || q.tel.of(telemetry.InvalidationReceivedAll) != 1 {
			t.Fatal(q.target.all())
		}
	})
}

func TestKilledSubscriptionIsTakenAgain(t *testing.T) {
	server := redistest.Start(t)
	p, q := join(t, server.Client()), join(t, server.Client())
	leased(t, p, q)
	received(t, p, q)
	for range 3 {
		before := q.tel.of(telemetry.BusReconnect)
		server.Do("CLIENT", "KILL", "TYPE", "pubsub")
		redistest.Eventually(t, patience, "reconnect", func() bool { return q.tel.of(telemetry.BusReconnect) > before })
		received(t, p, q)
	}
	if q.target.count("flush") > 1+3+1 { // at most one for each time something was missed
		t.Fatalf("flushed %d times", q.target.count("flush"))
	}
}

func TestWhatWasMissedIsAskedForWhenTheSubscriptionIsBack(t *testing.T) {
	server := redistest.Start(t)
	const long = 20 * time.Second // so that the next renewal of its own accord is far away
	longer := setting{store: func(c *l2.Config) { c.Lease = long }}
	p, q := join(t, server.Client(), longer), join(t, server.Client(), longer)
	leased(t, p, q)
	received(t, p, q)
	server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	voids := q.target.voids(id(t, "x"))
	p.invalidate("x") // before q is back, as a rule
	redistest.Eventually(t, long/8, "void", func() bool { return q.target.voids(id(t, "x")) > voids })
}

func TestLostMessageIsFoundByTheNextRenewal(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := join(t, server.Client())
	deaf := join(t, splitVia(server.Client(), proxy))
	ripe(t, p, deaf)
	received(t, p, deaf)
	proxy.BlackholeToClient()
	for range 3 {
		voids := deaf.target.voids(id(t, "x"))
		began := time.Now()
		if err := p.invalidate("x").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if deaf.Lease(0).Valid(invalidation.Now()) && deaf.target.voids(id(t, "x")) == voids {
			t.Fatal("in force, and a process still answers from before")
		}
		if d := time.Since(began); d > bound+margin+slack {
			t.Fatalf("in force after %s", d)
		}
		redistest.Eventually(t, patience, "flush", func() bool { return deaf.target.voids(id(t, "x")) > voids })
	}
	if deaf.tel.of(telemetry.BusGap) == 0 {
		t.Fatal("no gap was counted")
	}
}

func TestSilentSubscriptionIsGivenUp(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := join(t, server.Client())
	deaf := join(t, splitVia(server.Client(), proxy))
	leased(t, p, deaf)
	received(t, p, deaf)
	proxy.BlackholeToClient()
	redistest.Eventually(t, patience, "reconnect", func() bool { return deaf.tel.of(telemetry.BusReconnect) > 0 })
	proxy.Restore()
	received(t, p, deaf)
}

func TestUnreadableMessageFlushesAndDoesNotEndTheSubscription(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p, q := join(t, client), join(t, client)
		leased(t, p, q)
		received(t, p, q)
		for _, garbage := range []string{"", "\x02future", "\x01cut"} {
			flushes := q.target.count("flush")
			client.Publish(t.Context(), q.store.Channel(0), garbage)
			redistest.Eventually(t, patience, "flush", func() bool { return q.target.count("flush") > flushes })
		}
		if q.tel.of(telemetry.PayloadRejectedMessage) != 3 {
			t.Fatal("not counted")
		}
		received(t, p, q)
	})
}

func TestOneSubscriptionServesEveryMemberOfALink(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	p := join(t, client)
	leased(t, p)
	target := &recorder{}
	store, err := l2.New(l2.Config{Client: client, Namespace: "other", Lease: bound})
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.link.Join(invalidation.Membership{Store: store, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	subscribed := func(channel string) int64 { return client.PubSubNumSub(t.Context(), channel).Val()[channel] }
	redistest.Eventually(t, patience, "subscription", func() bool { return subscribed(store.Channel(0)) == 1 })
	if _, err := p.link.Join(invalidation.Membership{Store: store, Target: target}); err == nil {
		t.Fatal("a namespace joined twice")
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, "end of the subscription", func() bool { return subscribed(store.Channel(0)) == 0 })
	if subscribed(p.store.Channel(0)) != 1 {
		t.Fatal("the other member lost its channel")
	}
	again, err := p.link.Join(invalidation.Membership{Store: store, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, "subscription", func() bool { return subscribed(store.Channel(0)) == 1 })
	if err := again.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(redistest.CountCommands(t, client)); n == 0 || subscribed(p.store.Channel(0)) != 1 {
		t.Fatal("the other member lost its channel")
	}
}
