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

	until    atomic.Int64 // no call before this moment; 0: the backend is not known to be out
	failures atomic.Int32 // failures since the last success

	mu    sync.Mutex // guards the fields below
	pause time.Duration
	cause error
}

// enter says whether a call may be made. While the backend is out one call at a time may be, after each pause.
func (o *outage) enter(timeout time.Duration) error {
	until := o.until.Load()
	if until == 0 {
		return nil
	}
	now := o.clock.now()
	if now >= until && o.until.CompareAndSwap(until, now+int64(timeout)) {
		return nil // the probe
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return fmt.Errorf("%w: known to be out: %w", readthrough.ErrUnavailable, o.cause)
}

// leave learns from how a call ended. That its caller has gone says nothing of the backend; that callers' deadlines
// pass does when it happens again and again.
func (o *outage) leave(ctx context.Context, err error) {
	if err == nil || !errors.Is(err, readthrough.ErrUnavailable) {
		if o.failures.Load() != 0 {
			o.recover()
		}
		return
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := o.failures.Add(1); ctx.Err() != nil && n < 3 && o.until.Load() == 0 {
		return
	}
	o.pause = min(max(shortestPause, 2*o.pause), longestPause)
	o.cause = err
	o.until.Store(o.clock.now() + int64(o.pause))
}

func (o *outage) recover() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pause, o.cause = 0, nil
	o.failures.Store(0)
	o.until.Store(0)
}

// state answers how long the backend is left alone from now on, and why it is out, nil if it is not.
func (o *outage) state() (wait time.Duration, cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return max(0, time.Duration(o.until.Load()-o.clock.now())), o.cause
}
