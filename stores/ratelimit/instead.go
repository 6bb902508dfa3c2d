package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

// errGone says that a call was not made.
var errGone = errors.New("ratelimit: the caller's context had ended before the backend was asked")

// gone is the failure of a call that came too late.
func gone(ctx context.Context) error {
	return fmt.Errorf("%w: %w: %w", readthrough.ErrUnavailable, errGone, ctx.Err())
}

// instead answers demands that the backend could not be asked for. A refusal of the backend, the caller's own cancellation and
// a call that was none stay what they are.
func (s *Store) instead(ctx context.Context, demands []Demand, cause error) (Verdict, error) {
	if !errors.Is(cause, readthrough.ErrUnavailable) || s.closed.Load() {
		return Verdict{Refused: -1}, cause
	}
	wait, _ := s.outage.state()
	if s.cfg.OnFailure == Deny || errors.Is(ctx.Err(), context.Canceled) || errors.Is(cause, errGone) {
		return Verdict{Result: Result{Degraded: true, RetryAfter: wait}, Refused: -1}, cause
	}
	each := make([]Result, len(demands))
	if s.cfg.OnFailure == AllowAny {
		for i := range each {
			each[i] = Result{Allowed: true, Degraded: true}
		}
		return together(each), nil
	}
	s.takeShare(demands, each, wait)
	return together(each), nil
}

// takeShare decides by what is this process's own share of the limits.
func (s *Store) takeShare(demands []Demand, each []Result, wait time.Duration) {
	shares := make([]Demand, len(demands))
	now := s.share.lock()
	defer s.share.mu.Unlock()
	tooMuch, most := false, s.cfg.MaxDenied
	for i, d := range demands {
		d.Limit.Max /= s.cfg.Processes
		if d.Limit.Burst > 0 {
			d.Limit.Burst /= s.cfg.Processes
		}
		shares[i] = d
		counted, room := s.share.room(d, most, now)
		if !counted {
			most-- // for the demands after it
		}
		if !room || d.Limit.Max < 1 || d.N > d.Limit.capacity() || demands[i].Limit.Burst > 0 && d.Limit.Burst < 1 {
			each[i].RetryAfter = max(wait, time.Millisecond) // when the backend is asked again
			tooMuch = true
		}
	}
	if tooMuch {
		for i := range each {
			each[i].Degraded, each[i].Allowed = true, each[i].RetryAfter == 0
		}
		return
	}
	for i, a := range s.share.take(shares, now) {
		each[i] = a.result(s.clock, shares[i].Limit, s.clock.now())
		each[i].Degraded = true
	}
}

// snapshot is read while metrics are collected.
func (s *Store) snapshot() telemetry.Snapshot {
	_, cause := s.outage.state()
	return telemetry.Snapshot{Degraded: cause != nil}
}
