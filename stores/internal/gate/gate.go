// Package gate has a store's Close wait for the writes under way, so that none is carried out and told to nobody.
package gate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/layercache/layercache/readthrough"
)

// Gate counts the writes of a store that are under way. The zero Gate is open. Safe for concurrent use.
type Gate struct {
	shut atomic.Bool // set under mu, read without

	mu     sync.Mutex    // guards the fields below; held to come, to go and to shut, never while somebody writes
	inside int           // writes under way
	empty  chan struct{} // nil until Shut; closed when nobody is inside any more
}

// Enter lets a write begin; Leave ends it. readthrough.ErrClosed: the gate is shut, and nothing may be written. Who is inside
// may enter once more, and is refused like anybody.
func (g *Gate) Enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut.Load() {
		return readthrough.ErrClosed
	}
	g.inside++
	return nil
}

// Leave ends what Enter began.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.empty != nil && g.inside == 0 {
		close(g.empty)
	}
}

// IsShut says whether Shut was called.
func (g *Gate) IsShut() bool { return g.shut.Load() }

// Shut lets nobody in any more, and says whether it is the first to.
func (g *Gate) Shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut.Swap(true) {
		return false
	}
	g.empty = make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	return true
}

// Wait waits, after Shut, until nobody is inside or ctx ends.
func (g *Gate) Wait(ctx context.Context) error {
	select {
	case <-g.empty: // also if ctx has ended before
		return nil
	default:
	}
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close: writes are under way: %w", ctx.Err())
	}
}

// Again is a Close that is not the first: it waits for the end of that one, or of ctx.
func Again(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-ended: // also if ctx has ended before
		return nil
	default:
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close: it is being closed: %w", ctx.Err())
	}
}

// InForce writes, and waits until that is in force. It is inside all the while, unless the telling is pending, which may last
// as long as an outage.
func (g *Gate) InForce(ctx context.Context, write func() (*readthrough.Receipt, error)) error {
	pending, err := g.executed(ctx, write)
	if pending == nil {
		return err
	}
	return pending.Wait(ctx)
}

func (g *Gate) executed(ctx context.Context, write func() (*readthrough.Receipt, error)) (pending *readthrough.Receipt, err error) {
	if err := g.Enter(); err != nil {
		return nil, err
	}
	defer g.Leave()
	r, err := write()
	switch {
	case err != nil:
		return nil, err
	case !r.Executed():
		return r, nil
	}
	return nil, r.Wait(ctx)
}
