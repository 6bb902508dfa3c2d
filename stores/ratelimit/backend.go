package ratelimit

import (
	"context"
	"time"
)

// Backend keeps the counters. Memory and Redis are two; storetest.RateLimits checks any. Each method is one atomic step on
// the backend's own clock, and one round trip where there is one; Reset may be a step for each algorithm. The Store passes
// valid arguments only: keys of 1 to l2.MaxID bytes, amounts that are not negative, limits that Validate accepts and demands
// within them.
//
// A failure is readthrough.ErrUnavailable, after which it is unknown whether the step was taken: a Backend never repeats one
// that was sent, unless it changes nothing. It is safe for concurrent use and returns when ctx ends.
type Backend interface {
	// Increment adds amount to the counter of a key and answers the new total. The first amount above 0 begins the window,
	// later ones do not move its end; a counter that has lost its end gets the window. 0 writes nothing. ErrNotCounter,
	// ErrOverflow.
	Increment(ctx context.Context, key string, amount int64, window time.Duration) (total int64, err error)
	// Current answers the total: 0 without a window. It changes nothing. ErrNotCounter.
	Current(ctx context.Context, key string) (total int64, err error)
	// Reset forgets a key, the window and what GCRA keeps of it.
	Reset(ctx context.Context, key string) error
	// Take spends every demand if each of them fits, and nothing if one does not. It answers as many Answers, in their order.
	// No two demands have the same key and algorithm. Fixed demands count in the same window as Increment; what GCRA keeps is
	// apart from it, whatever the key. ErrNotCounter, ErrSlots.
	Take(ctx context.Context, demands []Demand) ([]Answer, error)
	// Lease takes a block of permits from the fixed window of a key. ErrNotCounter.
	Lease(ctx context.Context, key string, r Request) (Grant, error)
	// Return gives n permits of a Grant back to its window. It does nothing if that window is over, and takes no window below
	// zero. ErrNotCounter.
	Return(ctx context.Context, key string, window, n int64) error
}

// Demand is how many permits of a key somebody wants.
type Demand struct {
	Key   string
	N     int64 // at least 1
	Limit Limit
}

// Answer is what became of a Demand.
type Answer struct {
	// Fits says that the demand alone fits. It was spent if all demands of the call fit.
	Fits bool
	// Remaining is how many permits are left after the call; not negative.
	Remaining int64
	// Reset is how long until all permits are back, with Fixed in whole milliseconds rounded down. 0: they are, or
	// with Fixed will be in less than one.
	Reset time.Duration
	// Retry is how long until the demand can fit, if it does not: Reset with Fixed.
	Retry time.Duration
}

// Request asks for a block of permits.
type Request struct {
	Limit Limit // Fixed, with Max below 2^53
	// Need is how many permits are of use at all, at least 1; Want is how many would be liked, no fewer.
	Need, Want int64
	// Parts divides what remains: more than Remaining/Parts is given only as far as it is needed.
	Parts int64
}

// Grant is a block of permits, counted as spent.
type Grant struct {
	// N is how many there are: 0 if what is needed did not remain, else at least Request.Need.
	N int64
	// Remaining is what is left for others.
	Remaining int64
	// Window names the window, for Return. No other window of the key has that name, unless it ends in the millisecond in
	// which this one ends: after a Reset, one of another length.
	Window int64
	// Reset is how long the window lasts, in whole milliseconds rounded down.
	Reset time.Duration
}
