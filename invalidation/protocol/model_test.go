package protocol_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

// world is a server that executes invalidations and renewals, a bus that loses, repeats and reorders messages, and the
// process whose receiver is tried.
type world struct {
	rnd *rand.Rand
	rec protocol.Receiver
	now protocol.Instant

	epochs   int
	epoch    string
	seq      uint64
	executed []executed         // every invalidation, in the order of execution
	bus      []protocol.Message // on their way
	calls    []*call            // renewals
	sent     map[protocol.Instant]*call

	leases, gaps, adopted int
}

type executed struct {
	epoch   string
	seq     uint64
	hash    uint64 // 0: all
	applied bool   // evicted or flushed since
}

type call struct {
	protocol.Renewal
	done  bool // executed by the server
	epoch string
	seq   uint64
	count int // invalidations executed by then
}

const hashes = 5

func newWorld(seed uint64) *world {
	w := &world{
		rnd: rand.New(rand.NewPCG(seed, 0)), rec: protocol.NewReceiver(bound, gapWait),
		sent: map[protocol.Instant]*call{},
	}
	w.newEpoch()
	return w
}

func (w *world) newEpoch() {
	w.epochs++
	w.epoch, w.seq = fmt.Sprint("E", w.epochs), 0
	// Whatever made it begin, everything from before is void.
	w.executed = append(w.executed, executed{epoch: w.epoch})
	if w.rnd.IntN(2) == 0 {
		w.bus = append(w.bus, protocol.Message{Epoch: w.epoch, Pure: true})
	}
}

// step lets one thing happen, and answers the receiver's actions.
func (w *world) step() ([]protocol.Action, error) {
	w.now += protocol.Instant(1 + w.rnd.IntN(6))
	switch n := w.rnd.IntN(100); {
	case n < 25: // the server executes an invalidation
		w.seq++
		m := protocol.Message{Epoch: w.epoch, Seq: w.seq, AckRequest: w.rnd.IntN(3) == 0}
		if hash := uint64(w.rnd.IntN(20)); hash == 0 {
			m.All = true
			w.executed = append(w.executed, executed{epoch: w.epoch, seq: w.seq})
		} else {
			m.Hashes = []uint64{hash%hashes + 1}
			w.executed = append(w.executed, executed{epoch: w.epoch, seq: w.seq, hash: m.Hashes[0]})
		}
		for range [...]int{0, 1, 1, 1, 1, 1, 2}[w.rnd.IntN(7)] {
			w.bus = append(w.bus, m)
		}
	case n < 26:
		w.newEpoch()
	case n < 28: // an ack request
		w.bus = append(w.bus, protocol.Message{Epoch: w.epoch, Seq: w.seq, Pure: true, AckRequest: true})
	case n < 60: // a message arrives, mostly the oldest
		if len(w.bus) == 0 {
			return nil, nil
		}
		i := 0
		if w.rnd.IntN(4) == 0 {
			i = w.rnd.IntN(len(w.bus))
		}
		m := w.bus[i]
		w.bus = append(w.bus[:i:i], w.bus[i+1:]...)
		return w.rec.Message(w.now, m, nil), nil
	case n < 61: // the connection breaks
		w.bus = nil
	case n < 62:
		return w.rec.Unknown(nil), nil
	case n < 72: // a renewal is sent
		c := &call{Renewal: w.rec.Begin(w.now)}
		w.calls = append(w.calls, c)
		w.sent[w.now] = c
		return nil, w.acknowledged(c.Renewal)
	case n < 84: // the server executes one
		if c := w.pick(false); c != nil {
			c.done, c.epoch, c.seq, c.count = true, w.epoch, w.seq, len(w.executed)
		}
	case n < 96: // its answer arrives
		if c := w.pick(true); c != nil {
			return w.rec.Answer(w.now, c.Number, c.epoch, c.seq, nil), nil
		}
	case n < 97: // no answer comes; it may still arrive when nobody expects it
		if len(w.calls) > 0 {
			w.rec.Fail(w.calls[w.rnd.IntN(len(w.calls))].Number)
		}
	case n < 98:
		return w.rec.Revoke(nil), nil
	default:
		w.now += protocol.Instant(w.rnd.IntN(50))
	}
	if w.now >= w.rec.Wake() {
		return w.rec.Tick(w.now, nil), nil
	}
	return nil, nil
}

// pick takes a renewal that the server has executed, or has not.
func (w *world) pick(done bool) *call {
	for range len(w.calls) {
		i := max(0, len(w.calls)-1-w.rnd.IntN(4))
		if c := w.calls[i]; c.done == done {
			if done {
				w.calls = append(w.calls[:i:i], w.calls[i+1:]...)
			}
			return c
		}
	}
	return nil
}

// acknowledged checks what a renewal registers: everything up to it must be applied.
func (w *world) acknowledged(n protocol.Renewal) error {
	for _, x := range w.executed {
		if x.epoch == n.Epoch && x.seq <= n.Applied && !x.applied {
			return fmt.Errorf("acknowledges %s/%d, but %d is not applied", n.Epoch, n.Applied, x.seq)
		}
	}
	return nil
}

// carryOut does what the receiver asks for, in its order, and checks every lease at the moment it is published.
func (w *world) carryOut(actions []protocol.Action) error {
	for _, a := range actions {
		switch a.Kind {
		case protocol.Evict, protocol.Flush:
			if a.Reason == protocol.ReasonGap {
				w.gaps++
			}
			if a.Reason == protocol.ReasonEpoch {
				w.adopted++
			}
			for i := range w.executed {
				x := &w.executed[i]
				x.applied = x.applied || a.Kind == protocol.Flush || x.hash == a.Hashes[0] && x.hash != 0
			}
		case protocol.Lease:
			if a.Until == protocol.Never {
				continue
			}
			w.leases++
			c := w.sent[a.Until-protocol.Instant(bound)]
			if c == nil || !c.done {
				return fmt.Errorf("lease until %d belongs to no renewal that was executed", a.Until)
			}
			for _, x := range w.executed[:c.count] {
				if !x.applied {
					return fmt.Errorf("lease of the renewal sent at %d, but %s/%d, executed before it, is not applied", c.Sent, x.epoch, x.seq)
				}
			}
		}
	}
	return nil
}

// TestLeaseIsPublishedOnlyWhenEverythingExecutedBeforeItIsApplied is I3.
func TestLeaseIsPublishedOnlyWhenEverythingExecutedBeforeItIsApplied(t *testing.T) {
	first := uint64(time.Now().UnixNano())
	var leases, gaps, adopted int
	for seed := first; seed < first+1500; seed++ {
		w := newWorld(seed)
		for step := range 400 {
			actions, err := w.step()
			if err == nil {
				err = w.carryOut(actions)
			}
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
		leases, gaps, adopted = leases+w.leases, gaps+w.gaps, adopted+w.adopted
	}
	if leases < 10000 || gaps < 1000 || adopted < 1000 {
		t.Fatalf("seed %d: %d leases, %d gaps, %d epochs: too little happened to prove anything", first, leases, gaps, adopted)
	}
}
