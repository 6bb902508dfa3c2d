package protocol

import (
	"slices"
	"time"
)

// Kind says what an Action asks for.
type Kind uint8

const (
	// Evict voids the stripes of Hashes.
	Evict Kind = iota + 1
	// Flush voids everything of the partition that was loaded before now. Reason says why.
	Flush
	// Lease publishes Until as the end of the serving lease. It is always the last effect of an event on what L1 may answer.
	Lease
	// Renew asks for a renewal soon: to register an ack, or because another epoch was seen.
	Renew
	// Reset asks the server to replace Epoch, because its counter went back.
	Reset
)

// Reason says why a Flush was asked for.
type Reason uint8

const (
	// ReasonStart is the first epoch a process learns.
	ReasonStart Reason = iota + 1
	// ReasonEpoch is another epoch in a renewal's answer: Redis lost, rolled back or failed over its state, or all was invalidated.
	ReasonEpoch
	// ReasonGap is a message that did not arrive in time.
	ReasonGap
	// ReasonAll is a message that names no ids.
	ReasonAll
	// ReasonUnknown is a message this version cannot read.
	ReasonUnknown
)

// Action is one effect of an event. Only the fields of its Kind are set.
type Action struct {
	Kind   Kind
	Hashes []uint64
	Until  Instant
	Reason Reason
	Epoch  string
}

// Message is an invalidation as it arrived from the bus.
type Message struct {
	Epoch string
	Seq   uint64
	// All: every id of the partition. Otherwise Hashes names the ids.
	All    bool
	Hashes []uint64
	// AckRequest: a waiter wants to know that Seq is applied.
	AckRequest bool
	// Pure: the message invalidates nothing; Seq is the counter as it stood.
	Pure bool
}

// Renewal is what a process tells the server when it asks for a serving lease. Number identifies it in the answer.
type Renewal struct {
	Number  uint64
	Sent    Instant
	Epoch   string
	Applied uint64
}

// grant is the lease of an answered renewal: published when the messages up to seq are applied, or given up for at by.
type grant struct {
	sent, by Instant
	seq      uint64
}

// maxAhead bounds the messages remembered behind a gap; one more is answered with a flush.
const maxAhead = 1024

// Receiver is what one process knows of one partition.
//
// Its invariant (I3): ValidUntil = t0 + Bound for a renewal sent at t0, and every invalidation the server had executed
// when it answered that renewal has been handed out as Evict or Flush before the Lease action that published it.
type Receiver struct {
	// Bound is B, the length of the serving lease.
	Bound time.Duration
	// GapWait is how long a missing message is waited for before a flush.
	GapWait time.Duration

	// Epoch and Applied: every invalidation of Epoch up to Applied is applied. Epoch is set by renewals' answers only.
	Epoch   string
	Applied uint64
	// ValidUntil is the end of the serving lease as last published.
	ValidUntil Instant

	// Seen is the epoch of the newest answer of any kind, known since SeenSince: what Wait measures B from.
	Seen      string
	SeenSince Instant

	ahead    []uint64 // evicted already, but behind a gap; sorted
	highest  uint64   // highest sequence heard of in this epoch
	gapUntil Instant  // when what is missing right after Applied is given up; Forever: nothing is missing
	// waitsAfter is Applied as it was when gapUntil was set: the missing message is the one after it.
	waitsAfter uint64
	ackFor     uint64 // an ack was asked for up to here and could not be given yet; 0: none

	grants []grant // answered renewals whose lease waits for messages, in the order of the answers

	number      uint64    // of the last renewal begun
	outstanding []Renewal // begun, not answered
}

// NewReceiver answers a receiver that holds no lease.
func NewReceiver(bound, gapWait time.Duration) Receiver {
	return Receiver{Bound: bound, GapWait: gapWait, ValidUntil: Never, SeenSince: Never, gapUntil: Forever}
}

// Clone answers a copy that shares nothing with r.
func (r *Receiver) Clone() Receiver {
	c := *r
	c.ahead = slices.Clone(r.ahead)
	c.grants = slices.Clone(r.grants)
	c.outstanding = slices.Clone(r.outstanding)
	return c
}

// Wake is when Tick must be called at the latest; Forever: no need.
func (r *Receiver) Wake() Instant {
	if len(r.grants) > 0 {
		return min(r.gapUntil, r.grants[0].by)
	}
	return r.gapUntil
}

// Begin starts a renewal. now is read before the request is sent.
func (r *Receiver) Begin(now Instant) Renewal {
	r.number++
	n := Renewal{Number: r.number, Sent: now, Epoch: r.Epoch, Applied: r.Applied}
	r.outstanding = append(r.outstanding, n)
	return n
}

// Fail forgets a renewal that got no answer.
func (r *Receiver) Fail(number uint64) {
	r.outstanding = slices.DeleteFunc(r.outstanding, func(n Renewal) bool { return n.Number <= number })
}

// Answer applies the server's answer to a renewal. Answers to renewals begun before one already answered are ignored.
func (r *Receiver) Answer(now Instant, number uint64, epoch string, seq uint64, out []Action) []Action {
	i := slices.IndexFunc(r.outstanding, func(n Renewal) bool { return n.Number == number })
	if i < 0 {
		return out
	}
	sent := r.outstanding[i]
	r.Fail(number)
	r.Observe(now, epoch)
	if epoch != r.Epoch {
		return r.adopt(sent, epoch, seq, out)
	}
	if seq < sent.Applied {
		// The counter went back behind what this process had applied when it asked: Redis lost writes and kept the epoch.
		// Compared with Applied as it is now, an answer that was merely slow would look the same.
		return append(out, Action{Kind: Reset, Epoch: epoch})
	}
	if seq > r.Applied {
		r.grants = append(r.grants, grant{sent: sent.Sent, by: now.Add(r.GapWait), seq: seq})
		r.hear(now, seq)
		return out
	}
	return r.lease(sent.Sent, out)
}

// adopt begins the life of another epoch: what was loaded before now is void, and only then the lease is published.
func (r *Receiver) adopt(sent Renewal, epoch string, seq uint64, out []Action) []Action {
	reason := ReasonEpoch
	if r.Epoch == "" {
		reason = ReasonStart
	}
	r.Epoch, r.Applied, r.highest = epoch, seq, seq
	r.ahead, r.gapUntil, r.ackFor = nil, Forever, 0
	r.grants, r.outstanding = nil, nil
	out = append(out, Action{Kind: Flush, Reason: reason})
	out = r.lease(sent.Sent, out)
	// The renewal registered what this process had applied of the old epoch. Register the new one.
	return append(out, Action{Kind: Renew})
}

// Message applies a message from the bus.
func (r *Receiver) Message(now Instant, m Message, out []Action) []Action {
	if m.Epoch != r.Epoch {
		// A hint only: who set the epoch from a message would keep what it holds of the old one.
		return append(out, Action{Kind: Renew})
	}
	if m.AckRequest && m.Seq > r.ackFor {
		r.ackFor = m.Seq
	}
	switch {
	case m.Pure:
		if m.Seq > r.Applied {
			r.hear(now, m.Seq)
		}
	case m.Seq <= r.Applied:
		// A duplicate: applied already.
	case m.All:
		// Sequence numbers are executed in order: the flush covers every message up to this one.
		out = append(out, Action{Kind: Flush, Reason: ReasonAll})
		r.Applied = m.Seq
	default:
		out = append(out, Action{Kind: Evict, Hashes: m.Hashes})
		if m.Seq == r.Applied+1 {
			r.Applied = m.Seq
			break
		}
		r.hear(now, m.Seq)
		if i, found := slices.BinarySearch(r.ahead, m.Seq); !found {
			r.ahead = slices.Insert(r.ahead, i, m.Seq)
		}
		if len(r.ahead) > maxAhead {
			return r.overflow(now, out)
		}
	}
	return r.settle(now, out)
}

// Unknown applies a message that this version cannot read: it may have named anything.
func (r *Receiver) Unknown(out []Action) []Action {
	return append(out, Action{Kind: Flush, Reason: ReasonUnknown}, Action{Kind: Renew})
}

// Observe notes the epoch of an answer to any script, and asks for a renewal when it is not the one this process lives in.
func (r *Receiver) Observe(now Instant, epoch string) (renew bool) {
	if epoch != r.Seen {
		r.Seen, r.SeenSince = epoch, now
	}
	return epoch != r.Epoch
}

// Tick closes a gap that has lasted too long, or that has kept a lease waiting too long: the messages are given up and
// everything is flushed.
func (r *Receiver) Tick(now Instant, out []Action) []Action {
	if now < r.Wake() {
		return out
	}
	return r.overflow(now, out)
}

// Revoke ends the lease at once. Renewals under way no longer grant one.
func (r *Receiver) Revoke(out []Action) []Action {
	r.grants, r.outstanding = nil, nil
	r.ValidUntil = Never
	return append(out, Action{Kind: Lease, Until: Never})
}

// hear notes that the server has reached seq, and arms the gap if that is not applied yet.
func (r *Receiver) hear(now Instant, seq uint64) {
	r.highest = max(r.highest, seq)
	if r.gapUntil == Forever {
		r.gapUntil, r.waitsAfter = now.Add(r.GapWait), r.Applied
	}
}

// overflow gives up what is missing: a flush now covers every invalidation heard of so far.
func (r *Receiver) overflow(now Instant, out []Action) []Action {
	out = append(out, Action{Kind: Flush, Reason: ReasonGap})
	r.Applied = max(r.Applied, r.highest)
	return r.settle(now, out)
}

// settle moves Applied over what arrived out of order, closes the gap if there is none left, gives the ack that was asked
// for, and last of all publishes a lease that was waiting.
func (r *Receiver) settle(now Instant, out []Action) []Action {
	n := 0
	for n < len(r.ahead) && r.ahead[n] <= r.Applied+1 {
		r.Applied = max(r.Applied, r.ahead[n])
		n++
	}
	r.ahead = slices.Delete(r.ahead, 0, n)
	if r.Applied >= r.highest {
		r.highest = r.Applied
		r.gapUntil = Forever
	} else if r.Applied != r.waitsAfter {
		// The message that was waited for has come, and another is missing now. Its time begins here: a stream that is only
		// late, as under load, must not be flushed for it.
		r.gapUntil = now.Add(r.GapWait)
	}
	r.waitsAfter = r.Applied
	if r.ackFor > 0 && r.Applied >= r.ackFor {
		r.ackFor = 0
		out = append(out, Action{Kind: Renew})
	}
	best := Never
	r.grants = slices.DeleteFunc(r.grants, func(g grant) bool {
		if g.seq > r.Applied {
			return false
		}
		best = max(best, g.sent)
		return true
	})
	if best != Never {
		out = r.lease(best, out)
	}
	return out
}

// lease publishes t0 + Bound, unless a later end is published already.
func (r *Receiver) lease(t0 Instant, out []Action) []Action {
	if until := t0.Add(r.Bound); until > r.ValidUntil {
		r.ValidUntil = until
	}
	return append(out, Action{Kind: Lease, Until: r.ValidUntil})
}
