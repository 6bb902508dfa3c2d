package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/readthrough"
)

// How long a backend that failed is left alone before the next call tries it. It doubles from the first to the second.
const (
	shortestPause = 50 * time.Millisecond
	longestPause  = time.Second
)

// outage knows whether the backend is out, so that not every call waits for a timeout.
type outage struct {
	clock clock

	known    atomic.Pointer[standing] // nil at first: the backend is not known to be out
	failures atomic.Int32             // failures since the last success

	mu    sync.Mutex // guards pause; outages and recoveries are noted with it, and without it one probe follows another
	pause time.Duration
}

// standing is what is known of the backend. Each outage, probe and recovery has one of its own, so that a call that ends sees
// whether there was any since it began.
type standing struct {
	cause error // nil: the backend is not known to be out
	until int64 // if it is, no call before this moment
}

func (s *standing) out() bool { return s != nil && s.cause != nil }

// enter says whether a call may be made, and what is known while it is under way. While the backend is out one call at a time
// may be, after each pause: the probe. A hasty call is none: it is made beside the probe's turn and leaves it to others.
func (o *outage) enter(timeout time.Duration, hasty bool) (known *standing, err error) {
	known = o.known.Load()
	if !known.out() {
		return known, nil
	}
	if now := o.clock.now(); now >= known.until {
		if hasty {
			return known, nil
		}
		probe := &standing{cause: known.cause, until: now + int64(timeout)}
		if o.known.CompareAndSwap(known, probe) {
			return probe, nil
		}
	}
	return nil, fmt.Errorf("%w: known to be out: %w", readthrough.ErrUnavailable, known.cause)
}

// leave learns from how a call ended, given what enter answered it. That its caller has gone says nothing of the backend, and the
// next call probes instead; nor does a hasty caller's deadline. That those of others pass does when it happens again and again.
// That a call failed which began before an outage or a recovery is known already, or over.
func (o *outage) leave(ctx context.Context, known *standing, hasty bool, err error) {
	if err == nil || !errors.Is(err, readthrough.ErrUnavailable) {
		if o.failures.Load() != 0 {
			o.recover()
		}
		return
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		if known.out() {
			o.known.CompareAndSwap(known, &standing{cause: known.cause, until: o.clock.now()})
		}
		return
	}
	if hasty && ended(ctx) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known.Load() != known {
		return
	}
	if n := o.failures.Add(1); ended(ctx) && n < 3 && !known.out() {
		return
	}
	o.pause = min(max(shortestPause, 2*o.pause), longestPause)
	o.known.Store(&standing{cause: err, until: o.clock.now() + int64(o.pause)})
}

// inHaste says whether a caller's deadline is so soon, before a sixteenth of the timeout, that a healthy backend may miss it.
func inHaste(ctx context.Context, timeout time.Duration) bool {
	end, ok := ctx.Deadline()
	return ok && time.Until(end) < timeout/16
}

// ended says whether a caller's context has ended. A socket's deadline passes a moment before the context knows of its own.
func ended(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

func (o *outage) recover() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pause = 0
	o.failures.Store(0)
	if o.known.Load().out() {
		o.known.Store(&standing{})
	}
}

// state answers how long the backend is left alone from now on, and why it is out, nil if it is not.
func (o *outage) state() (wait time.Duration, cause error) {
	known := o.known.Load()
	if !known.out() {
		return 0, nil
	}
	return max(0, time.Duration(known.until-o.clock.now())), known.cause
}
