package ratelimit_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

// meddler stands between a store and its backend: it counts the calls, and makes them slow, stuck or fail.
type meddler struct {
	ratelimit.Backend

	calls     atomic.Int64
	requested atomic.Int64 // permits that leases have taken
	largest   atomic.Int64 // block of them
	returned  atomic.Int64

	mu    sync.Mutex    // guards the fields below
	err   error         // every call fails with it
	lost  error         // every call is made, and then fails with it
	there time.Duration // on the way there, and on the way back
	gate  chan struct{} // not nil: every call waits for it after it was made
}

func meddle(b ratelimit.Backend) *meddler { return &meddler{Backend: b} }

func (m *meddler) set(change func(m *meddler)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *meddler) fail(err error) { m.set(func(m *meddler) { m.err = err }) }

// hold keeps the answers of all calls back until the function it answers is called.
func (m *meddler) hold() (release func()) {
	gate := make(chan struct{})
	m.set(func(m *meddler) { m.gate = gate })
	return func() {
		m.set(func(m *meddler) { m.gate = nil })
		close(gate)
	}
}

var errDown = fmt.Errorf("%w: it is down", readthrough.ErrUnavailable)

// between makes a call, as slowly and as badly as was asked for.
func (m *meddler) between(ctx context.Context, call func() error) error {
	m.calls.Add(1)
	m.mu.Lock()
	err, lost, there, gate := m.err, m.lost, m.there, m.gate
	m.mu.Unlock()
	wait := func(c <-chan time.Time) error {
		select {
		case <-c:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", readthrough.ErrUnavailable, ctx.Err())
		}
	}
	if err != nil {
		return err
	}
	if there > 0 {
		if err := wait(time.After(there)); err != nil {
			return err
		}
	}
	err = call()
	if lost != nil {
		return lost
	}
	if there > 0 {
		if err := wait(time.After(there)); err != nil {
			return err
		}
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", readthrough.ErrUnavailable, ctx.Err())
		}
	}
	return err
}

func (m *meddler) Increment(ctx context.Context, key string, n int64, w time.Duration) (total int64, err error) {
	err = m.between(ctx, func() (err error) { total, err = m.Backend.Increment(ctx, key, n, w); return err })
	return total, err
}

func (m *meddler) Current(ctx context.Context, key string) (total int64, err error) {
	err = m.between(ctx, func() (err error) { total, err = m.Backend.Current(ctx, key); return err })
	return total, err
}

func (m *meddler) Reset(ctx context.Context, key string) error {
	return m.between(ctx, func() error { return m.Backend.Reset(ctx, key) })
}

func (m *meddler) Take(ctx context.Context, demands []ratelimit.Demand) (answers []ratelimit.Answer, err error) {
	err = m.between(ctx, func() (err error) { answers, err = m.Backend.Take(ctx, demands); return err })
	return answers, err
}

func (m *meddler) Lease(ctx context.Context, key string, q ratelimit.Request) (g ratelimit.Grant, err error) {
	err = m.between(ctx, func() (err error) {
		g, err = m.Backend.Lease(ctx, key, q)
		m.requested.Add(g.N)
		m.largest.Store(max(m.largest.Load(), g.N)) // a lease makes one request at a time
		return err
	})
	return g, err
}

func (m *meddler) Return(ctx context.Context, key string, window, n int64) error {
	return m.between(ctx, func() error {
		m.returned.Add(n)
		return m.Backend.Return(ctx, key, window, n)
	})
}

// pass lets time pass in a synctest bubble, and all that was to happen happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
