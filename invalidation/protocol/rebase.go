package protocol

import (
	"cmp"
	"slices"
	"time"
)

// Rebase answers a receiver that decides as r does from now on, with now moved to instant 0. What no decision can tell
// apart becomes equal: instants longer than horizon ago are horizon ago, what has run out never was, and the renewals under
// way are numbered from 1. It is for those who look at every state and must know when two are the same. horizon must be no
// shorter than Bound, nor than what Wait measures from SeenSince.
func (r *Receiver) Rebase(now Instant, horizon time.Duration) Receiver {
	past := func(t Instant) Instant {
		if t == Never {
			return Never
		}
		return max(t-now, -Instant(horizon))
	}
	due := func(t Instant) Instant {
		if t == Forever {
			return Forever
		}
		return max(t-now, 0)
	}
	c := r.Clone()
	c.SeenSince, c.gapUntil = past(r.SeenSince), due(r.gapUntil)
	if c.ValidUntil = Never; r.ValidUntil > now {
		c.ValidUntil = due(r.ValidUntil)
	}
	if c.gapUntil == Forever {
		c.waitsAfter = c.Applied // set anew by the message that tells of a gap
	}
	sent := func(t Instant) Instant { // whose lease has run out gives none, however long ago
		if t.Add(r.Bound) <= now {
			return -Instant(horizon)
		}
		return past(t)
	}
	for i := range c.grants {
		c.grants[i].sent, c.grants[i].by = sent(c.grants[i].sent), due(c.grants[i].by)
	}
	c.dropIdle()
	for i := range c.outstanding {
		n := &c.outstanding[i]
		n.Sent, n.Number, n.Epoch = sent(n.Sent), uint64(i+1), ""
	}
	c.number = uint64(len(c.outstanding))
	return c
}

// dropIdle keeps one grant of those that wait for the same messages, the one sent last, and sorts the rest. Only when all are due:
// until then the first decides when Tick is called.
func (r *Receiver) dropIdle() {
	for _, g := range r.grants {
		if g.by > 0 {
			return
		}
	}
	slices.SortFunc(r.grants, func(a, b grant) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(b.sent, a.sent)) })
	kept := r.grants[:0]
	for _, g := range r.grants {
		if n := len(kept); n == 0 || g.seq > kept[n-1].seq {
			kept = append(kept, g)
		}
	}
	r.grants = kept
}
