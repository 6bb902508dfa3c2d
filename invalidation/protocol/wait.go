package protocol

import "time"

// Ack is what one process has registered: the epoch and sequence it had applied when it last renewed.
type Ack struct {
	Process string
	Epoch   string
	Seq     uint64
}

// Wait is one executed invalidation whose effect in every process is waited for.
type Wait struct {
	// Epoch and Seq are what the server answered to the invalidation.
	Epoch string
	Seq   uint64
	// Answered is when the answer arrived, on the waiter's clock.
	Answered Instant
	// Longest is the longest B of any serving lease given before it was executed.
	Longest time.Duration
	// Everything: the invalidation replaced the epoch. No ack can speak for processes that lived in the old one.
	Everything bool
}

// Poll is what the server knew of the other processes when it was asked.
type Poll struct {
	// Asked and AskedSeq are the position it was asked about. Waiters share polls: it may be another one than the waiter's.
	Asked    string
	AskedSeq uint64
	// Epoch is the partition's epoch at the answer. With another one than Asked nobody is listed.
	Epoch string
	// Laggards are the registrations that have not acked (Asked, AskedSeq).
	Laggards []Ack
}

// Verdict is what a Wait has come to.
type Verdict uint8

const (
	// Waiting means that somebody may still answer from before the invalidation.
	Waiting Verdict = iota
	// InForce means that no read that begins from now on, in any process, is answered from before the invalidation.
	InForce
	// Moved means that the epoch changed; the invalidation must be executed again in the new one.
	Moved
)

// Margin is added to B when leases are sat out: it covers the difference in rate of two monotonic clocks (far below 1 %)
// and the resolution of the lease.
func Margin(bound time.Duration) time.Duration { return bound/100 + 5*time.Millisecond }

// Deadline is when every lease that may have been held without the invalidation has run out.
func (w Wait) Deadline() Instant { return w.Answered.Add(w.Longest + Margin(w.Longest)) }

// Expired judges by the clock alone, without any word from Redis.
func (w Wait) Expired(now Instant) bool { return now >= w.Deadline() }

// Ripe is when acks begin to count, seen and since being Receiver.Seen and SeenSince; Forever: not in the epoch seen now.
//
// While an epoch is young, an empty list proves nothing: the list was cleared when the epoch began, and a process whose
// lease dates from before is not in it. After B of this process's own clock no such lease is left.
func (w Wait) Ripe(seen string, since Instant) Instant {
	if seen != w.Epoch {
		return Forever
	}
	return since.Add(w.Longest + Margin(w.Longest))
}

// Judge judges by the clock and by a poll that was sent after the invalidation was answered.
func (w Wait) Judge(now Instant, p Poll, seen string, since Instant) Verdict {
	switch {
	case w.Expired(now):
		return InForce
	case w.Everything:
		return Waiting
	case p.Epoch != w.Epoch:
		return Moved
	case p.Asked != w.Epoch || p.AskedSeq < w.Seq:
		return Waiting // who is late for another waiter's position says nothing of ours
	case now < w.Ripe(seen, since):
		return Waiting
	}
	for _, a := range p.Laggards {
		if a.Epoch != w.Epoch || a.Seq < w.Seq {
			return Waiting
		}
	}
	return InForce
}
