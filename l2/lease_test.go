package l2_test

import (
	"context"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestFillNeedsTheNonceOfItsOwnAcquisition(t *testing.T) {
	each(t, func(b bundle) {
		r, _ := b.expect("k", l2.Leased)
		if got := b.fill("k", r.Position.Epoch, l2.NewNonce(), "value", 1); got != l2.RefusedLease {
			b.t.Fatalf("fill with another nonce: %v", got)
		}
		b.expect("k", l2.Busy) // the right holder still has it
	})
}

func TestLeaseIsSpentByItsFill(t *testing.T) {
	each(t, func(b bundle) {
		r, nonce := b.expect("k", l2.Leased)
		b.fill("k", r.Position.Epoch, nonce, "value", 1)
		if got := b.fill("k", r.Position.Epoch, nonce, "again", 1); got != l2.RefusedLease {
			b.t.Fatalf("second fill: %v", got)
		}
	})
}

func TestValueReadBeforeAnInvalidationIsNeverStored(t *testing.T) {
	each(t, func(b bundle) {
		for _, asOf := range []uint64{0, 5} {
			r, nonce := b.expect("k", l2.Leased)
			b.invalidate(asOf, "k")
			// The value claims the newest version: only the lease can tell that it was read too early.
			if got := b.fill("k", r.Position.Epoch, nonce, "old", 99); got != l2.RefusedLease {
				b.t.Fatalf("as-of %d: fill: %v, want refused: lease", asOf, got)
			}
		}
	})
}

func TestFillBelowTheFenceIsRefusedAndFreesTheLease(t *testing.T) {
	each(t, func(b bundle) {
		b.invalidate(10, "k")
		r, nonce := b.expect("k", l2.Leased)
		if r.Fence != 10 {
			b.t.Fatalf("lease answered fence %d, want 10", r.Fence)
		}
		if busy, _ := b.expect("k", l2.Busy); busy.Fence != 10 {
			b.t.Fatalf("busy answered fence %d, want 10", busy.Fence)
		}
		if got := b.fill("k", r.Position.Epoch, nonce, "old", 9); got != l2.RefusedFence {
			b.t.Fatalf("fill below: %v", got)
		}
		r, nonce = b.expect("k", l2.Leased)
		if got := b.fill("k", r.Position.Epoch, nonce, "new", 10); got != l2.Stored {
			b.t.Fatalf("fill at the fence: %v", got)
		}
	})
}

func TestFenceOnlyRises(t *testing.T) {
	each(t, func(b bundle) {
		for _, step := range []struct{ asOf, want uint64 }{{10, 10}, {7, 10}, {0, 10}, {11, 11}} {
			b.invalidate(step.asOf, "k")
			r, err := b.Get(b.t.Context(), l2.Lookup{ID: b.id("k")})
			if err != nil || r.Fence != step.want {
				b.t.Fatalf("after %d: fence %d, %v, want %d", step.asOf, r.Fence, err, step.want)
			}
		}
	})
}

func TestTakingOrDroppingALeaseNeitherShortensNorRemovesAFence(t *testing.T) {
	each(t, func(b bundle) {
		const life = 20 * time.Second // twice the load timeout and ten seconds
		fenced := func(when string) {
			b.t.Helper()
			if got := b.pttl("l:k"); got < life-5*time.Second || got > life {
				b.t.Fatalf("%s: the fence lives %s, want about %s", when, got, life)
			}
			r, err := b.Get(b.t.Context(), l2.Lookup{ID: b.id("k")})
			if err != nil || r.Outcome != l2.Hit && r.Fence != 10 {
				b.t.Fatalf("%s: fence %d, %v, want 10", when, r.Fence, err)
			}
		}
		b.invalidate(10, "k")
		fenced("after the invalidation")
		r, nonce := b.expect("k", l2.Leased)
		fenced("after the lease")
		if busy, _ := b.expect("k", l2.Busy); busy.Busy > 6*time.Second {
			b.t.Fatalf("the lease lasts %s, want 6s: not as long as the fence", busy.Busy)
		}
		b.fill("k", r.Position.Epoch, nonce, "old", 9)
		fenced("after a refused fill")
		r, nonce = b.expect("k", l2.Leased)
		b.fill("k", r.Position.Epoch, nonce, "new", 10)
		fenced("after the fill")
		b.invalidate(0, "k")
		fenced("after an invalidation without a version")
	})
}

func TestLeaseLeftWithoutAFenceLeavesNoKey(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "value", 1)
		if n := b.client.Exists(b.t.Context(), key("l:k")).Val(); n != 0 {
			b.t.Fatal("a spent lease stays behind")
		}
		b.expect("other", l2.Leased)
		b.invalidate(0, "other")
		if n := b.client.Exists(b.t.Context(), key("l:other")).Val(); n != 0 {
			b.t.Fatal("a voided lease stays behind")
		}
	})
}

func TestLeaseRunsOutUnderAFence(t *testing.T) {
	m, client := redistest.Mini(t)
	b := bundle{Store: newStore(t, client), t: t, client: client}
	b.invalidate(10, "k")
	first, lost := b.expect("k", l2.Leased)
	m.FastForward(5 * time.Second)
	b.expect("k", l2.Busy)
	m.FastForward(1100 * time.Millisecond)
	if got := b.fill("k", first.Position.Epoch, lost, "late", 10); got != l2.RefusedLease {
		t.Fatalf("fill after the lease's end: %v", got)
	}
	r, nonce := b.expect("k", l2.Leased)
	if r.Fence != 10 {
		t.Fatalf("fence %d, want 10", r.Fence)
	}
	if got := b.fill("k", r.Position.Epoch, nonce, "value", 10); got != l2.Stored {
		t.Fatalf("fill: %v", got)
	}
}

func TestFenceOutlivesAnyLoad(t *testing.T) {
	m, client := redistest.Mini(t)
	b := bundle{Store: newStore(t, client), t: t, client: client}
	b.invalidate(10, "k")
	m.FastForward(6 * time.Second) // a load that began just before, and its lease
	if r, _ := b.expect("k", l2.Leased); r.Fence != 10 {
		t.Fatalf("fence %d, want 10", r.Fence)
	}
}

func TestRealLeaseRunsOutOnTheServersTimers(t *testing.T) {
	client := redistest.Start(t).Client()
	b := bundle{Store: newStore(t, client, func(c *l2.Config) { c.LoadTimeout = time.Millisecond }), t: t, client: client}
	b.invalidate(10, "k") // the fence lasts 10s, a lease 1.001s
	b.expect("k", l2.Leased)
	b.expect("k", l2.Busy)
	redistest.Eventually(t, 5*time.Second, "second lease", func() bool {
		r, _ := b.lookup("k")
		return r.Outcome == l2.Leased && r.Fence == 10
	})
}

func TestVersionsAbove53BitsKeepTheirDigits(t *testing.T) {
	each(t, func(b bundle) {
		for _, fence := range []uint64{1<<53 + 1, 1<<63 + 1, 1<<64 - 1} {
			b.invalidate(fence, "k")
			r, nonce := b.expect("k", l2.Leased)
			if r.Fence != fence {
				b.t.Fatalf("fence %d, want %d", r.Fence, fence)
			}
			if got := b.fill("k", r.Position.Epoch, nonce, "old", fence-1); got != l2.RefusedFence {
				b.t.Fatalf("fill one below %d: %v", fence, got)
			}
			r, nonce = b.expect("k", l2.Leased)
			if got := b.fill("k", r.Position.Epoch, nonce, "new", fence); got != l2.Stored {
				b.t.Fatalf("fill at %d: %v", fence, got)
			}
		}
		b.client.Set(b.t.Context(), key("s"), "9007199254740992", 0)
		if got := b.invalidate(0, "k").Position.Seq; got != 9007199254740993 {
			b.t.Fatalf("seq %d, want 9007199254740993", got)
		}
	})
}

func TestFillRefusesWhatCannotBeRight(t *testing.T) {
	_, client := redistest.Mini(t)
	s := newStore(t, client, func(c *l2.Config) { c.MaxWire = 100 })
	good := l2.Fill{ID: newID(t, "k"), Epoch: "0123456789abcdef0123456789abcdef", Nonce: "n", TTL: time.Second}
	for name, change := range map[string]func(*l2.Fill){
		"no id":         func(f *l2.Fill) { f.ID = l2.ID{} },
		"no epoch":      func(f *l2.Fill) { f.Epoch = "" },
		"no nonce":      func(f *l2.Fill) { f.Nonce = "" },
		"no ttl":        func(f *l2.Fill) { f.TTL = 0 },
		"ttl below 1ms": func(f *l2.Fill) { f.TTL = 999 * time.Microsecond },
		"oversize":      func(f *l2.Fill) { f.Envelope = make([]byte, 101) },
	} {
		f := good
		change(&f)
		if r, err := s.Fill(context.Background(), f); err == nil {
			t.Errorf("%s: %v, want an error", name, r)
		}
	}
}

func TestLeaseOfAnotherEpochKeepsNobodyWaiting(t *testing.T) {
	each(t, func(b bundle) {
		b.expect("k", l2.Leased)
		if _, err := b.Reset(b.t.Context(), 0, ""); err != nil {
			b.t.Fatal(err)
		}
		b.expect("k", l2.Leased)
	})
}
