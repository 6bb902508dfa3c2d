package protocol_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

// TestRebasedReceiverDecidesAlike gives two receivers the same events, one of them rebased after each, on clocks that begin apart.
func TestRebasedReceiverDecidesAlike(t *testing.T) {
	first := uint64(time.Now().UnixNano())
	for seed := first; seed < first+300; seed++ {
		rnd := rand.New(rand.NewPCG(seed, 0))
		r, moved := protocol.NewReceiver(bound, gapWait), protocol.NewReceiver(bound, gapWait)
		var now, zero protocol.Instant // zero: of moved's clock
		var flying uint64
		for step := range 300 {
			now += protocol.Instant(rnd.IntN(30))
			if rnd.IntN(20) == 0 {
				now += protocol.Instant(bound / 2)
			}
			local := now - zero
			epoch, seq := []string{"A", "A", "A", "B"}[rnd.IntN(4)], uint64(rnd.IntN(6))
			var a, b []protocol.Action
			switch op := rnd.IntN(10); {
			case op < 2 && flying == 0:
				flying = r.Begin(now).Number
				moved.Begin(local)
			case op < 4 && flying != 0:
				a, b = r.Answer(now, flying, epoch, seq, nil), moved.Answer(local, 1, epoch, seq, nil)
				flying = 0
			case op < 5 && flying != 0:
				r.Fail(flying)
				moved.Fail(1)
				flying = 0
			case op < 8:
				m := protocol.Message{Epoch: epoch, Seq: seq, Hashes: []uint64{seq}, Pure: op == 7}
				a, b = r.Message(now, m, nil), moved.Message(local, m, nil)
			case op == 8:
				a, b = r.Tick(now, nil), moved.Tick(local, nil)
			default:
				r.Observe(now, epoch)
				moved.Observe(local, epoch)
			}
			for i := range b {
				if b[i].Kind == protocol.Lease && b[i].Until != protocol.Never {
					b[i].Until += zero
				}
				if i < len(a) && a[i].Kind == protocol.Lease && a[i].Until <= now && b[i].Until <= now {
					b[i].Until = a[i].Until // both have run out
				}
			}
			if show(a) != show(b) {
				t.Fatalf("seed %d, step %d: %q, and rebased %q", seed, step, show(a), show(b))
			}
			moved, zero = moved.Rebase(local, 2*bound), now
			if r.Epoch != moved.Epoch || r.Applied != moved.Applied || r.ValidUntil > now && r.ValidUntil != moved.ValidUntil+zero || r.Seen != moved.Seen {
				t.Fatalf("seed %d, step %d: %+v, and rebased %+v", seed, step, r, moved)
			}
			if r.Seen != "" && now.Sub(r.SeenSince) < 2*bound && r.SeenSince != moved.SeenSince+zero {
				t.Fatalf("seed %d, step %d: seen since %d, and rebased %d", seed, step, r.SeenSince, moved.SeenSince+zero)
			}
			if wake := r.Wake(); max(wake, now) != max(min(moved.Wake(), protocol.Forever-zero)+zero, now) {
				t.Fatalf("seed %d, step %d: wakes at %d, and rebased at %d", seed, step, wake, moved.Wake()+zero)
			}
		}
	}
}

func TestRebaseMakesEqualWhatNoDecisionTellsApart(t *testing.T) {
	a, b := living(t, 7), living(t, 7)
	a.at(5000)
	b.at(9000) // the lease has run out in both, however long ago
	x, y := a.Rebase(a.now, 3*bound), b.Rebase(b.now, 3*bound)
	if x.ValidUntil != protocol.Never || y.ValidUntil != protocol.Never || x.SeenSince != y.SeenSince {
		t.Fatalf("%+v and %+v", x, y)
	}
}
