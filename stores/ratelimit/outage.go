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

	down     atomic.Pointer[down] // nil: the backend is not known to be out
	failures atomic.Int32         // failures since the last success

	mu    sync.Mutex // guards pause; down is set and unset with it, and without it one probe follows another
	pause time.Duration
}

// down is a backend that is known to be out.
type down struct {
	until int64 // no call before this moment
	cause error
}

// enter says whether a call may be made. While the backend is out one call at a time may be, after each pause: the probe. It
// is told from the others by what is known while it is under way; nil: the call is no probe.
func (o *outage) enter(timeout time.Duration) (probe *down, err error) {
	known := o.down.Load()
	if known == nil {
		return nil, nil
	}
	if now := o.clock.now(); now >= known.until {
		probe = &down{until: now + int64(timeout), cause: known.cause}
		if o.down.CompareAndSwap(known, probe) {
			return probe, nil
		}
	}
	return nil, fmt.Errorf("%w: known to be out: %w", readthrough.ErrUnavailable, known.cause)
}

// leave learns from how a call ended. That its caller has gone says nothing of the backend, and the next call probes instead;
// that callers' deadlines pass does when it happens again and again. What calls from before the outage say is known already.
func (o *outage) leave(ctx context.Context, probe *down, err error) {
	if err == nil || !errors.Is(err, readthrough.ErrUnavailable) {
		if o.failures.Load() != 0 {
			o.recover()
		}
		return
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		if probe != nil {
			o.down.CompareAndSwap(probe, &down{until: o.clock.now(), cause: probe.cause})
		}
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.down.Load()
	if known != nil && known != probe {
		return
	}
	if n := o.failures.Add(1); ctx.Err() != nil && n < 3 && known == nil {
		return
	}
	o.pause = min(max(shortestPause, 2*o.pause), longestPause)
	o.down.Store(&down{until: o.clock.now() + int64(o.pause), cause: err})
}

func (o *outage) recover() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pause = 0
	o.failures.Store(0)
	o.down.Store(nil)
}

// state answers how long the backend is left alone from now on, and why it is out, nil if it is not.
func (o *outage) state() (wait time.Duration, cause error) {
	known := o.down.Load()
	if known == nil {
		return 0, nil
	}
	return max(0, time.Duration(known.until-o.clock.now())), known.cause
}
