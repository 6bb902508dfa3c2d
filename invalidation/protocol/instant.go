package protocol

import (
	"math"
	"time"
)

// Instant is a point on this process's monotonic clock, in nanoseconds. Instants of different processes are not comparable.
type Instant int64

// Never is before every instant: a lease that ends at Never was never held.
const Never Instant = math.MinInt64

// Forever is after every instant.
const Forever Instant = math.MaxInt64

// Add answers the instant d later. Never and Forever stay what they are.
func (t Instant) Add(d time.Duration) Instant {
	if t == Never || t == Forever {
		return t
	}
	return t + Instant(d)
}

// Sub answers the time from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }
