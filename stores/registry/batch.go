package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/layercache/layercache/readthrough"
)

// beatTimeout bounds the writing of a batch. Those who wait may leave before, at their own deadlines.
const beatTimeout = 10 * time.Second

// batches gather heartbeats that are written together.
type batches struct {
	delay time.Duration
	most  int
	write func(ctx context.Context, ids []string, terms Terms) (found map[string]bool, asOf uint64, err error)

	mu   sync.Mutex          // guards open, the ids of the batches in it, and all
	open map[Terms]*batch    // to which may be added
	all  map[*batch]struct{} // that are not done
}

// batch is some heartbeats and, when done is closed, what became of them.
type batch struct {
	ids  []string
	seen map[string]struct{}
	full chan struct{} // closed when nothing more is added
	done chan struct{}

	found map[string]bool // whether it was offline; who is not in it is unknown
	asOf  uint64
	err   error
}

// add waits until an id is written, or ctx ends: the batch is written all the same.
func (b *batches) add(ctx context.Context, id string, terms Terms) (revived bool, asOf uint64, err error) {
	if err := ctx.Err(); err != nil {
		return false, 0, err
	}
	x := b.join(ctx, id, terms)
	select {
	case <-x.done:
	case <-ctx.Done():
		return false, 0, ctx.Err()
	}
	if x.err != nil {
		return false, 0, x.err
	}
	offline, ok := x.found[id]
	if !ok {
		return false, 0, readthrough.ErrNotFound
	}
	return offline, x.asOf, nil
}

func (b *batches) join(ctx context.Context, id string, terms Terms) *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.open[terms]
	if x == nil {
		x = &batch{seen: map[string]struct{}{}, full: make(chan struct{}), done: make(chan struct{})}
		b.open[terms], b.all[x] = x, struct{}{}
		go b.run(context.WithoutCancel(ctx), x, terms) // ends with the batch
	}
	if _, twice := x.seen[id]; !twice {
		x.seen[id] = struct{}{}
		x.ids = append(x.ids, id)
	}
	if len(x.ids) >= b.most {
		delete(b.open, terms)
		close(x.full)
	}
	return x
}

// run writes a batch when it is full or has waited long enough.
func (b *batches) run(ctx context.Context, x *batch, terms Terms) {
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	select {
	case <-x.full:
	case <-timer.C:
		b.mu.Lock()
		if b.open[terms] == x {
			delete(b.open, terms)
		}
		b.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	x.found, x.asOf, x.err = b.write(ctx, x.ids, terms)
	b.mu.Lock()
	delete(b.all, x)
	b.mu.Unlock()
	close(x.done)
}

// drain has the batches written now that there are, and waits for them until ctx ends.
func (b *batches) drain(ctx context.Context) error {
	b.mu.Lock()
	for terms, x := range b.open {
		delete(b.open, terms)
		close(x.full)
	}
	under := slices.Collect(maps.Keys(b.all))
	b.mu.Unlock()
	for _, x := range under {
		select {
		case <-x.done: // who beats is told of its error
		case <-ctx.Done():
			return fmt.Errorf("registry: close: heartbeats are being written: %w", ctx.Err())
		}
	}
	return nil
}
