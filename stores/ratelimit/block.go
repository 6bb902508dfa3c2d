package ratelimit

import (
	"sync/atomic"
	"time"
)

// block are permits of one window, which a lease holds.
type block struct {
	left atomic.Int64
	low  atomic.Int64 // with fewer left, more are asked for
	late atomic.Int64 // permits that were left at its end: nobody takes them, they only go back

	window int64     // its name
	ends   int64     // a moment of the store's clock that is not after the window's end
	reset  time.Time // a moment that is not before the window's end
	void   *time.Timer
}

// lookEach is how many permits share one look at the clock, which costs more than all the rest of a decision.
const lookEach = 4

// take takes n permits, and answers how many are left. It looks at the clock when one of lookEach permits is passed, and
// the block's timer makes it void at its end. So what can be taken after the end, by a process that was stopped in between,
// is at most lookEach-1 permits for each goroutine in here: the next look makes the block void.
func (b *block) take(n int64, c *clock) (left int64, ok bool) {
	for {
		left = b.left.Load()
		if left < n {
			return left, false
		}
		if b.left.CompareAndSwap(left, left-n) {
			break
		}
	}
	if left/lookEach != (left-n)/lookEach && c.now() >= b.ends {
		b.late.Add(n + b.left.Swap(0))
		return 0, false
	}
	return left - n, true
}

// held is how many permits there are to be had.
func (b *block) held(now int64) int64 {
	if b == nil || now >= b.ends {
		return 0
	}
	return b.left.Load()
}

// drop takes all that is left, of a block that is not used any more.
func (b *block) drop() int64 {
	if b == nil {
		return 0
	}
	b.void.Stop()
	return b.empty()
}

// empty takes all that is left.
func (b *block) empty() int64 { return b.left.Swap(0) + b.late.Swap(0) }
