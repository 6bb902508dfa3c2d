package ratelimit

import "time"

// clock is this process's monotonic clock, in nanoseconds since it was made.
type clock struct{ began time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() int64 { return int64(time.Since(c.began)) }

// at is a moment of the clock as a time.
func (c clock) at(moment int64) time.Time { return c.began.Add(time.Duration(moment)) }
