package ratelimit

import (
	"fmt"
	"math"
	"time"
)

// Algorithm is how a limit counts.
type Algorithm uint8

const (
	// Fixed counts in a window that begins with the first hit: at most Max in it, and twice that around its end.
	Fixed Algorithm = iota
	// GCRA lets permits come back one by one, Max in each Window, with at most Burst at once: the generic cell rate algorithm
	// of ITU-T I.371 annex A, as virtual scheduling. It is smooth, and its state is one time.
	GCRA
)

// String names the algorithm in lower case.
func (a Algorithm) String() string {
	switch a {
	case Fixed:
		return "fixed"
	case GCRA:
		return "gcra"
	}
	return "unknown"
}

// Limit is how many permits there are. It is no part of the key: all callers of a key should agree on it.
type Limit struct {
	// Max is how many permits a Window has. At least 1; with GCRA at most 2^52.
	Max int64
	// Window is how long. From 1 ms to 366 days, rounded up to whole milliseconds.
	Window time.Duration
	// Algorithm is how they are counted.
	Algorithm Algorithm
	// Burst is how many permits GCRA gives at once. 0: Max. Fixed has none.
	Burst int64
}

const (
	maxWindow = 366 * 24 * time.Hour
	maxSpan   = 3660 * 24 * time.Hour // what a burst may be worth: sums with a time since 1970 stay below 2^53 us
	exact     = 1 << 53               // integers below it are exact in Lua
)

// Validate says what is wrong with the limit, with the field named.
func (l Limit) Validate() error {
	switch {
	case l.Max < 1:
		return fmt.Errorf("ratelimit: Limit.Max must be > 0, got %d", l.Max)
	case l.Window < time.Millisecond || l.Window > maxWindow:
		return fmt.Errorf("ratelimit: Limit.Window must be from 1ms to %s, got %s", maxWindow, l.Window)
	case l.Burst < 0:
		return fmt.Errorf("ratelimit: Limit.Burst must be at least 0, got %d", l.Burst)
	}
	switch l.Algorithm {
	case Fixed:
		if l.Burst != 0 {
			return fmt.Errorf("ratelimit: Limit.Burst must be 0 with Fixed, got %d", l.Burst)
		}
		return nil
	case GCRA:
		if l.Max > exact/2 {
			return fmt.Errorf("ratelimit: Limit.Max must be at most 2^52 with GCRA, got %d", l.Max)
		}
		if float64(l.capacity())/float64(l.Max)*float64(l.window()) > float64(maxSpan) {
			return fmt.Errorf("ratelimit: Limit.Burst must be worth at most %s, got %d", maxSpan, l.Burst)
		}
		return nil
	}
	return fmt.Errorf("ratelimit: Limit.Algorithm must be Fixed or GCRA, got %d", l.Algorithm)
}

// capacity is how many permits there can be at once.
func (l Limit) capacity() int64 {
	if l.Algorithm == GCRA && l.Burst > 0 {
		return l.Burst
	}
	return l.Max
}

// window is Window in whole milliseconds.
func (l Limit) window() time.Duration { return wholeMS(l.Window) }

func wholeMS(d time.Duration) time.Duration {
	if d > math.MaxInt64-time.Millisecond {
		return d.Truncate(time.Millisecond)
	}
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}
