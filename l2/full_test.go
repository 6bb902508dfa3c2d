package l2_test

import (
	"testing"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

// full starts a story on a server that then runs out of memory, without eviction.
func full(t *testing.T) (b bundle, fill func(), drain func()) {
	t.Helper()
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	client := server.Client()
	b = bundle{Store: newStore(t, client), t: t, client: client, real: true}
	fill = func() {
		server.Do("CONFIG", "SET", "maxmemory", "1")
		if err := client.Set(t.Context(), "x", "y", 0).Err(); err == nil {
			t.Fatal("the server is not full")
		}
	}
	return b, fill, func() { server.Do("CONFIG", "SET", "maxmemory", "0") }
}

func TestFullRedisInvalidates(t *testing.T) {
	b, fill, drain := full(t)
	b.put("k", "old", 1)
	lease, nonce := b.expect("loading", l2.Leased)
	next := b.subscribe()
	fill()
	done := b.invalidate(7, "k", "loading", "never seen")
	if m := next(); m.Seq != 1 || done.Position.Seq != 1 {
		t.Fatalf("message %+v after %+v", m, done)
	}
	drain()
	if got := b.fill("loading", lease.Position.Epoch, nonce, "old", 9); got != l2.RefusedLease {
		t.Fatalf("fill of a load from before: %v", got)
	}
	for _, raw := range []string{"k", "loading", "never seen"} {
		if r, _ := b.expect(raw, l2.Leased); r.Fence != 7 {
			t.Fatalf("%s: fence %d, want 7", raw, r.Fence)
		}
	}
}

func TestFullRedisStillHitsButGivesNoLeaseAndKeepsNoFill(t *testing.T) {
	b, fill, drain := full(t)
	b.put("k", "value", 1)
	b.invalidate(5, "fenced")
	lease, nonce := b.expect("other", l2.Leased)
	fill()
	b.expect("k", l2.Hit)
	if r, _ := b.expect("fenced", l2.Bare); r.Fence != 5 {
		t.Fatalf("fence %d, want 5", r.Fence)
	}
	if got := b.fill("other", lease.Position.Epoch, nonce, "value", 1); got != l2.RefusedFull {
		t.Fatalf("fill: %v", got)
	}
	drain()
	b.expect("other", l2.Leased) // the refused fill gave its lease back
}

func TestFullRedisRenewsAcksAndBeginsNewEpochs(t *testing.T) {
	b, fill, _ := full(t)
	first := b.renew("p", "", 0, 0).Position
	fill()
	if got := b.renew("p", first.Epoch, 0, 1).Position; got != first {
		t.Fatalf("%v, want %v", got, first)
	}
	if got := b.renew("newcomer", "", 0, 0).Position; got != first {
		t.Fatalf("%v, want %v", got, first)
	}
	pos := b.invalidate(1, "k").Position
	if got := b.acks(pos, "me").Laggards; len(got) != 2 {
		t.Fatalf("laggards %v, want two", got)
	}
	for _, lost := range []string{"e", "s", "b", "a"} {
		old := b.renew("p", "", 0, 2).Position.Epoch
		b.del(lost)
		if r, _ := b.lookup("k"); r.Position.Epoch == old {
			t.Fatalf("without %s: still the old epoch", lost)
		}
	}
	if _, err := b.Reset(t.Context(), 0, ""); err != nil {
		t.Fatal(err)
	}
}

func TestEvictionOfEverythingIsNeverAWrongAnswer(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-random")
	b := bundle{Store: newStore(t, server.Client()), t: t, client: server.Client(), real: true}
	b.put("k", "old", 1)
	old := b.renew("p", "", 0, 0).Position
	server.Do("CONFIG", "SET", "maxmemory", "1")
	redistest.Eventually(t, replicationTime, "empty server", func() bool {
		_ = b.client.Set(t.Context(), "x", "y", 0).Err() // every write evicts
		return b.client.DBSize(t.Context()).Val() == 0
	})
	server.Do("CONFIG", "SET", "maxmemory", "0")
	r, _ := b.expect("k", l2.Leased)
	if r.Position.Epoch == old.Epoch {
		t.Fatal("still the old epoch")
	}
}
