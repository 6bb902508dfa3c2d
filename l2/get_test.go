package l2_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestMissGivesOneLeaseAndItsFillIsAHit(t *testing.T) {
	each(t, func(b bundle) {
		first, nonce := b.expect("k", l2.Leased)
		if busy, _ := b.expect("k", l2.Busy); busy.Busy <= 0 || busy.Busy > 6*time.Second {
			b.t.Fatalf("busy for %s, want up to 6s", busy.Busy)
		}
		if got := b.fill("k", first.Position.Epoch, nonce, "value", 7); got != l2.Stored {
			b.t.Fatalf("fill: %v", got)
		}
		hit, _ := b.expect("k", l2.Hit)
		if string(hit.Envelope) != "value" || hit.Position != first.Position {
			b.t.Fatalf("hit %q at %v, want value at %v", hit.Envelope, hit.Position, first.Position)
		}
		if hit.TTL <= 0 || hit.TTL > time.Minute {
			b.t.Fatalf("ttl %s, want up to 1m", hit.TTL)
		}
	})
}

func TestHitWritesNothing(t *testing.T) {
	server := redistest.Start(t)
	b := bundle{Store: newStore(t, server.Client()), t: t, client: server.Client(), real: true}
	b.put("k", "value", 1)
	before := redistest.CountCommands(t, b.client)
	b.expect("k", l2.Hit)
	got := redistest.CountCommands(t, b.client).Since(before)
	want := redistest.Commands{"evalsha": 1, "mget": 1, "hmget": 2, "pttl": 1}
	if !maps.Equal(got, want) {
		t.Fatalf("a hit ran %v, want %v", got, want)
	}
}

func TestEachCallIsOneRoundTrip(t *testing.T) {
	server := redistest.Start(t)
	b := bundle{Store: newStore(t, server.Client()), t: t, client: server.Client(), real: true}
	ctx := t.Context()
	id := b.id("k")
	var reply l2.Reply
	nonce := l2.NewNonce()
	story := []struct {
		name string
		run  func() error
	}{
		{"get", func() (err error) {
			reply, err = b.Get(ctx, l2.Lookup{ID: id, Nonce: nonce})
			return err
		}},
		{"fill", func() error {
			_, err := b.Fill(ctx, l2.Fill{ID: id, Epoch: reply.Position.Epoch, Nonce: nonce, TTL: time.Minute})
			return err
		}},
		{"renew", func() error { return l2.Renew(ctx, b.client, []l2.Renewal{{Store: b.Store, Process: "p"}})[0].Err }},
		{"invalidate", func() error {
			_, err := b.Invalidate(ctx, 0, l2.Invalidation{IDs: []l2.ID{id}})
			return err
		}},
		{"acks", func() error {
			_, err := b.Acks(ctx, 0, reply.Position, "q", nil)
			return err
		}},
		{"reset", func() error {
			_, err := b.Reset(ctx, 0, "")
			return err
		}},
		{"leave", func() error { return b.Leave(ctx, 0, l2.Ack{Process: "p"}) }},
		{"discard", func() error { return b.Discard(ctx, l2.Unreadable{ID: id, Epoch: reply.Position.Epoch, Envelope: nil}) }},
	}
	for _, step := range story { // once before, so that the server knows the scripts
		if err := step.run(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
	for _, step := range story {
		before := redistest.CountCommands(t, b.client)
		if err := step.run(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := redistest.CountCommands(t, b.client).Since(before); got.Scripts() != 1 || got["eval"] != 0 {
			t.Errorf("%s ran %v, want one script", step.name, got)
		}
	}
}

func TestManyLookupsAreAnsweredInOrder(t *testing.T) {
	each(t, func(b bundle) {
		b.put("b", "value", 1)
		lookups := []l2.Lookup{
			{ID: b.id("a"), Nonce: l2.NewNonce()}, {ID: b.id("b")}, {ID: b.id("c")},
		}
		replies, err := b.GetMany(b.t.Context(), lookups)
		if err != nil {
			b.t.Fatal(err)
		}
		for i, want := range []l2.Outcome{l2.Leased, l2.Hit, l2.Bare} {
			if replies[i].Err != nil || replies[i].Outcome != want {
				b.t.Errorf("reply %d: %v, %v, want %v", i, replies[i].Outcome, replies[i].Err, want)
			}
		}
		if string(replies[1].Envelope) != "value" {
			b.t.Errorf("got %q", replies[1].Envelope)
		}
	})
}

func TestLookupWithoutNonceTakesNoLease(t *testing.T) {
	each(t, func(b bundle) {
		r, err := b.Get(b.t.Context(), l2.Lookup{ID: b.id("k")})
		if err != nil || r.Outcome != l2.Bare {
			b.t.Fatalf("%v, %v, want bare", r.Outcome, err)
		}
		b.expect("k", l2.Leased)
	})
}

func TestRefreshLeasesAlthoughAValueIsThere(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "old", 1)
		nonce := l2.NewNonce()
		refresh := l2.Lookup{ID: b.id("k"), Nonce: nonce, Refresh: true}
		r, err := b.Get(b.t.Context(), refresh)
		if err != nil || r.Outcome != l2.Leased {
			b.t.Fatalf("%v, %v, want leased", r.Outcome, err)
		}
		second, err := b.Get(b.t.Context(), l2.Lookup{ID: b.id("k"), Nonce: l2.NewNonce(), Refresh: true})
		if err != nil || second.Outcome != l2.Busy {
			b.t.Fatalf("second refresh: %v, %v, want busy", second.Outcome, err)
		}
		b.expect("k", l2.Hit) // the old value serves meanwhile
		if got := b.fill("k", r.Position.Epoch, nonce, "new", 2); got != l2.Stored {
			b.t.Fatalf("fill: %v", got)
		}
		if hit, _ := b.expect("k", l2.Hit); string(hit.Envelope) != "new" {
			b.t.Fatalf("got %q, want new", hit.Envelope)
		}
	})
}

func TestRefreshStoresNothingAfterAnInvalidation(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "old", 1)
		nonce := l2.NewNonce()
		r, err := b.Get(b.t.Context(), l2.Lookup{ID: b.id("k"), Nonce: nonce, Refresh: true})
		if err != nil {
			b.t.Fatal(err)
		}
		b.invalidate(0, "k")
		if got := b.fill("k", r.Position.Epoch, nonce, "old", 1); got != l2.RefusedLease {
			b.t.Fatalf("fill: %v, want refused: lease", got)
		}
		b.expect("k", l2.Leased)
	})
}

func TestValueAboveTheCapIsNotSentAndCanBeReplaced(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", strings.Repeat("x", 4096), 1)
		small := b
		small.Store = newStore(b.t, b.client, func(c *l2.Config) { c.MaxWire = 1024 })
		r, nonce := small.expect("k", l2.Leased)
		if !r.Oversize {
			b.t.Fatal("the reply does not say oversize")
		}
		if got := small.fill("k", r.Position.Epoch, nonce, "short", 1); got != l2.Stored {
			b.t.Fatalf("fill: %v", got)
		}
		small.expect("k", l2.Hit)
	})
}

func TestEmptyValueIsAHit(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "", 1)
		if hit, _ := b.expect("k", l2.Hit); len(hit.Envelope) != 0 {
			b.t.Fatalf("got %q", hit.Envelope)
		}
	})
}

func TestKeyOfAnotherTypeIsAMissAndIsReplaced(t *testing.T) {
	each(t, func(b bundle) {
		b.client.LPush(b.t.Context(), key("d:k"), "x")
		b.put("k", "value", 1)
		b.expect("k", l2.Hit)
	})
}

func TestBinaryValuesComeBackUnchanged(t *testing.T) {
	each(t, func(b bundle) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		b.put("k", string(all), 1)
		if hit, _ := b.expect("k", l2.Hit); string(hit.Envelope) != string(all) {
			b.t.Fatalf("got %x", hit.Envelope)
		}
	})
}
