package explore

import (
	"fmt"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

// tick is the unit of abstract time. Any length does whose margin is less than it.
const tick = 100 * time.Millisecond

// receivers are the protocol.Receivers met so far, each once, rebased to now. What an event does to one is computed once by the shipped
// code and remembered: a state of the world then holds a number instead of a Receiver.
type receivers struct {
	bound   time.Duration
	horizon time.Duration
	flaw    Flaw

	all   []known
	index map[string]uint16
	memo  map[input]output
}

// known is a receiver and what the checks look at.
type known struct {
	rec     protocol.Receiver
	epoch   uint8
	applied uint8
	due     bool // Tick would close a gap now
}

// inputKind is an event of a receiver.
type inputKind uint8

const (
	inBegin inputKind = iota + 1
	inAnswer
	inFail
	inMessage
	inPure
	inGap
	inRevoke
	inObserve
	inTime
	inForget // the epoch seen, and since when: nobody will ask
)

// input is an event of one receiver.
type input struct {
	rec               uint16
	kind              inputKind
	epoch, seq, names uint8
}

// output is the receiver after it, and what it asks for.
type output struct {
	rec     uint16
	actions []action
}

// action is a protocol.Action in the world's small numbers.
type action struct {
	kind  protocol.Kind
	keys  mask  // of Evict
	left  uint8 // of Lease: ticks until it ends
	epoch uint8 // of Reset
}

// mask is a set of keys.
type mask uint8

func (m mask) has(key int) bool { return m&(1<<key) != 0 }

// everyKey also stands for a message that names none.
const everyKey = mask(1<<maxKeys - 1)

func newReceivers(bound int, flaw Flaw) *receivers {
	b := time.Duration(bound) * tick
	r := &receivers{
		bound: b, horizon: b + protocol.Margin(b), flaw: flaw,
		index: map[string]uint16{}, memo: map[input]output{},
	}
	r.intern(protocol.NewReceiver(b, 0)) // 0 is the receiver of a process that has just begun
	return r
}

// ticks is how many ticks pass before d has passed.
func ticks(d time.Duration) uint8 { return uint8((d + tick - 1) / tick) }

func (r *receivers) intern(rec protocol.Receiver) uint16 {
	rec = rec.Rebase(0, time.Duration(ticks(r.horizon))*tick)
	key := fmt.Sprint(rec)
	i, ok := r.index[key]
	if !ok {
		i = uint16(len(r.all))
		if int(i) != len(r.all) {
			panic("explore: more receivers than a state can name")
		}
		r.index[key] = i
		r.all = append(r.all, known{rec: rec, epoch: number(rec.Epoch), applied: uint8(rec.Applied), due: rec.Wake() <= 0})
	}
	return i
}

func name(epoch uint8) string {
	if epoch == 0 {
		return ""
	}
	return string(rune('A' + epoch - 1))
}

func number(epoch string) uint8 {
	if epoch == "" {
		return 0
	}
	return epoch[0] - 'A' + 1
}

func (r *receivers) apply(in input) output {
	out, ok := r.memo[in]
	if !ok {
		out = r.compute(in)
		r.memo[in] = out
	}
	return out
}

// compute lets the shipped code decide, with the flaw's change around it.
func (r *receivers) compute(in input) output {
	rec := r.all[in.rec].rec.Clone()
	now := protocol.Instant(0)
	var acts []protocol.Action
	epoch, seq := name(in.epoch), uint64(in.seq)
	switch in.kind {
	case inBegin:
		rec.Begin(now)
	case inAnswer:
		acts = r.answer(&rec, epoch, seq)
	case inFail:
		rec.Fail(1)
	case inMessage:
		acts = r.message(&rec, protocol.Message{Epoch: epoch, Seq: seq, All: mask(in.names) == everyKey, Hashes: []uint64{uint64(in.names)}})
	case inPure:
		acts = r.message(&rec, protocol.Message{Epoch: epoch, Seq: seq, Pure: true})
	case inGap:
		acts = rec.Tick(now, nil)
		if r.flaw == GapWithoutFlush {
			acts = without(acts, protocol.Flush)
		}
	case inRevoke:
		acts = rec.Revoke(nil)
	case inObserve:
		rec.Observe(now, epoch)
	case inForget:
		rec.Seen, rec.SeenSince = "", protocol.Never
	case inTime:
		now = protocol.Instant(tick)
	}
	if r.flaw == LeaseBeforeFlush {
		acts = leaseFirst(acts)
	}
	out := output{rec: r.intern(rec.Rebase(now, r.horizon+tick))}
	for _, a := range acts {
		b := action{kind: a.Kind, epoch: number(a.Epoch)}
		switch a.Kind {
		case protocol.Evict:
			b.keys = mask(a.Hashes[0])
		case protocol.Lease:
			if a.Until > now {
				b.left = ticks(a.Until.Sub(now))
				if r.flaw == TickerClock {
					b.left++ // the hit's clock has not ticked yet
				}
			}
		case protocol.Renew:
			continue // a renewal may be sent at any time
		}
		out.actions = append(out.actions, b)
	}
	return out
}

// answer answers renewal 1, which is the one under way if any is.
func (r *receivers) answer(rec *protocol.Receiver, epoch string, seq uint64) []protocol.Action {
	if r.flaw == GrantWithoutMessages && epoch == rec.Epoch {
		seq = min(seq, rec.Applied)
	}
	acts := rec.Answer(0, 1, epoch, seq, nil)
	for i, a := range acts {
		if r.flaw == T0AtAnswer && a.Kind == protocol.Lease && a.Until != protocol.Never {
			rec.ValidUntil = protocol.Instant(r.bound)
			acts[i].Until = rec.ValidUntil
		}
	}
	if r.flaw == EpochWithoutFlush && len(acts) > 0 && acts[0].Reason == protocol.ReasonEpoch {
		acts = without(acts, protocol.Flush)
	}
	return acts
}

func (r *receivers) message(rec *protocol.Receiver, m protocol.Message) []protocol.Action {
	switch {
	case r.flaw == NoGapCheck && m.Epoch == rec.Epoch && !m.Pure && m.Seq > rec.Applied:
		rec.Applied = m.Seq - 1
	case r.flaw == MessageSetsEpoch && m.Epoch > rec.Epoch:
		rec.Epoch, rec.Applied = m.Epoch, m.Seq
	}
	return rec.Message(0, m, nil)
}

func without(acts []protocol.Action, kind protocol.Kind) (rest []protocol.Action) {
	for _, a := range acts {
		if a.Kind != kind {
			rest = append(rest, a)
		}
	}
	return rest
}

func leaseFirst(acts []protocol.Action) (sorted []protocol.Action) {
	for _, a := range acts {
		if a.Kind == protocol.Lease {
			sorted = append(sorted, a)
		}
	}
	return append(sorted, without(acts, protocol.Lease)...)
}
