package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/gate"
	"github.com/layercache/layercache/stores/layout"
)

// LeaseConfig configures a Lease. Zero fields mean their defaults.
type LeaseConfig struct {
	// Key is whose permits they are. Required. Allow and Increment of the key count in the same window.
	Key string
	// Limit is Fixed, with Max below 2^53. Required.
	Limit Limit
	// Block is how many permits the lease holds at most, or as many as one call asks for if that is more. At most Max;
	// 0: a quarter of Max/Config.Processes, at least 1. Near the limit it takes fewer.
	Block int64
	// Idle is how often the lease looks whether anybody took permits since. If nobody did, what it holds goes back: after lying
	// unused for one to two of Idle. At most 366 days; 0: 1 s. Negative: only at Close.
	Idle time.Duration
}

func (c LeaseConfig) withDefaults(processes int64) LeaseConfig {
	if c.Block == 0 {
		c.Block = max(1, c.Limit.Max/processes/4)
	}
	if c.Idle == 0 {
		c.Idle = time.Second
	}
	return c
}

func (c LeaseConfig) validate() error {
	if err := checkKey(c.Key); err != nil {
		return err
	}
	if err := c.Limit.Validate(); err != nil {
		return err
	}
	switch {
	case c.Limit.Algorithm != Fixed:
		return fmt.Errorf("ratelimit: LeaseConfig.Limit must be Fixed, got %s", c.Limit.Algorithm)
	case c.Limit.Max >= exact:
		return fmt.Errorf("ratelimit: LeaseConfig.Limit.Max must be below 2^53, got %d", c.Limit.Max)
	case c.Block < 1 || c.Block > c.Limit.Max:
		return fmt.Errorf("ratelimit: LeaseConfig.Block must be from 1 to Limit.Max (%d), got %d", c.Limit.Max, c.Block)
	case c.Idle > maxWindow:
		return fmt.Errorf("ratelimit: LeaseConfig.Idle must be at most %s, got %s", maxWindow, c.Idle)
	}
	return nil
}

// Lease decides locally by permits that it has taken from the shared window beforehand. Safe for concurrent use.
//
// It spends no permit that its window has not counted before, so that all leases and Allow together allow at most Max of a
// window's. It ends a window on this process's monotonic clock, from before the request was sent. After a Reset or a loss of
// the counter, the new window is exceeded by what leases still hold of the old one, at most a block each, or a call's permits
// if that is more.
type Lease struct {
	store *Store
	cfg   LeaseConfig

	block  atomic.Pointer[block]  // what is held; nil: nothing
	denial atomic.Pointer[denial] // until when the window is known to be spent; nil: it is not
	idle   *time.Timer            // nil: never

	mu         sync.Mutex // guards the fields below; never held with the store's
	flight     *flight    // the request under way, nil if none is
	generation uint64     // of forget
	taken      uint64     // blocks so far
	watched    watched
	closed     bool

	shut chan struct{} // closed at the end of Close
}

// Lease makes a lease of a key. It does no I/O. Close it, or the Store, to give back what it holds. One for each key and
// process is enough: another one counts as a process.
func (s *Store) Lease(cfg LeaseConfig) (*Lease, error) {
	cfg = cfg.withDefaults(s.cfg.Processes)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Lease{store: s, cfg: cfg, shut: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, readthrough.ErrClosed
	}
	s.leases[l] = struct{}{}
	return l, nil
}

// Allow takes n permits. While the lease holds them, or knows that the window is spent, it makes no round trip, allocates
// nothing and takes no lock; it asks for more before the last one is gone, and waits only for the first block of a window
// and near the limit. With the backend out it spends what it holds, and then does what Config.OnFailure says. Its errors
// are those of Store.Allow, and readthrough.ErrClosed.
func (l *Lease) Allow(ctx context.Context, n int64) (Result, error) {
	if b := l.block.Load(); b != nil && n > 0 {
		if left, ok := b.take(n, &l.store.clock); ok {
			if left < b.low.Load() {
				l.ahead(b)
			}
			return Result{Allowed: true, Remaining: left, ResetAt: b.reset}, nil
		}
	}
	return l.ask(ctx, n)
}

// ask waits for permits.
func (l *Lease) ask(ctx context.Context, n int64) (Result, error) {
	demand := Demand{Key: l.cfg.Key, N: n, Limit: l.cfg.Limit}
	if n < 1 || n > l.cfg.Limit.Max {
		return Result{}, demand.check()
	}
	asked := false
	for range patience {
		now := l.store.clock.now()
		if d := l.denial.Load(); d != nil && d.holds(l.cfg.Limit, n, now) {
			return d.result(l.store.clock, n, now), nil
		}
		if ctx.Err() != nil {
			cause := gone(ctx)
			if asked {
				cause = layout.Unavailable(ctx.Err())
			}
			v, err := l.store.instead(ctx, []Demand{demand}, cause)
			return v.Result, err
		}
		f, err := l.join(n)
		if err != nil {
			return Result{}, err
		}
		if f != nil {
			asked = true
			select {
			case <-f.done:
				err = f.err
			case <-ctx.Done():
				err = layout.Unavailable(ctx.Err())
			}
			if err != nil {
				v, err := l.store.instead(ctx, []Demand{demand}, err)
				return v.Result, err
			}
		}
		now = l.store.clock.now()
		if b := l.block.Load(); b != nil {
			if left, ok := b.take(n, &l.store.clock); ok {
				return Result{Allowed: true, Remaining: left, ResetAt: b.reset}, nil
			}
		}
		if f != nil && f.denial != nil && n >= f.denial.from {
			return f.denial.result(l.store.clock, n, now), nil
		}
	}
	return l.store.Allow(ctx, l.cfg.Key, n, l.cfg.Limit)
}

// patience is how many requests may pass a caller by, because others took what they brought, or because the window is
// shorter than a round trip, before it asks for itself alone.
const patience = 8

// forget drops what is known of the key and hands out what is held. What is under way is not used when it arrives.
func (l *Lease) forget() (b *block, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	l.flight = nil
	l.denial.Store(nil)
	b = l.block.Swap(nil)
	return b, b.drop()
}

// Close gives back what the lease holds. Calls after it are readthrough.ErrClosed. Safe to call twice: the second waits for the
// first, until its own ctx ends, and leaves to it to say what became of the permits. An error of the first says that they could
// not be given back: they are lost to their window.
func (l *Lease) Close(ctx context.Context) error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.denial.Store(nil) // who asks is told that it is closed
	if l.idle != nil {
		l.idle.Stop()
	}
	f, b := l.flight, l.block.Swap(nil)
	n := b.drop()
	l.mu.Unlock()
	if !first {
		if err := gate.Again(ctx, l.shut); err != nil {
			return fmt.Errorf("ratelimit: %w", err)
		}
		return nil
	}
	defer close(l.shut)
	if f != nil {
		select { // what it brings it gives back itself
		case <-f.done:
		case <-ctx.Done():
		}
	}
	err := l.giveBack(ctx, b, n)
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	delete(l.store.leases, l)
	return err
}

// giveBack returns permits of a block, which have left it: to their window, if it goes on, and to no other. After a failure it is
// unknown whether the backend has them, so they are not used.
func (l *Lease) giveBack(ctx context.Context, b *block, n int64) error {
	if n == 0 {
		return nil
	}
	return l.giveBackTo(ctx, b.window, n)
}

func (l *Lease) giveBackTo(ctx context.Context, window, n int64) error {
	err := l.store.guarded(ctx, func(ctx context.Context) error {
		return l.store.cfg.Backend.Return(ctx, l.cfg.Key, window, n)
	})
	if errors.Is(err, ErrNotCounter) {
		return nil // there is nothing to give back to
	}
	if err != nil {
		return fmt.Errorf("ratelimit: giving back %d permits: %w", n, err)
	}
	l.denial.Store(nil)
	l.store.denied.forget(l.cfg.Key)
	return nil
}
