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

// maxPause bounds the pause between two tries of heartbeats that others hold back.
const maxPause = 2 * time.Second

// batches gather heartbeats that are written together.
type batches struct {
	delay  time.Duration
	most   int
	within time.Duration // beatTimeout
	// write answers whether who was beaten is offline, and whose rows others hold: those are not beaten. Who is in neither is
	// unknown.
	write  func(ctx context.Context, ids []string, terms Terms) (offline map[string]bool, held []string, err error)
	revive func(ctx context.Context, ids []string) (asOf uint64, err error)

	mu   sync.Mutex          // guards open, the beats of the batches in it, and all
	open map[Terms]*batch    // to which may be added
	all  map[*batch]struct{} // that are not done
}

// batch is some heartbeats. Each has its answer as soon as there is one, and waits for no other's row.
type batch struct {
	beats map[string]*beat // by id
	full  chan struct{}    // closed when nothing more is added
	done  chan struct{}    // closed when all of its beats are done
}

// beat is a heartbeat and, when done is closed, what became of it.
type beat struct {
	done    chan struct{}
	revived bool
	asOf    uint64
	err     error
}

// add waits until an id is written, or ctx ends: it is written all the same.
func (b *batches) add(ctx context.Context, id string, terms Terms) (revived bool, asOf uint64, err error) {
	if err := ctx.Err(); err != nil {
		return false, 0, err
	}
	x := b.join(ctx, id, terms)
	select {
	case <-x.done:
		return x.revived, x.asOf, x.err
	case <-ctx.Done():
		return false, 0, ctx.Err()
	}
}

func (b *batches) join(ctx context.Context, id string, terms Terms) *beat {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.open[terms]
	if x == nil {
		x = &batch{beats: map[string]*beat{}, full: make(chan struct{}), done: make(chan struct{})}
		b.open[terms], b.all[x] = x, struct{}{}
		go b.run(context.WithoutCancel(ctx), x, terms) // ends with the batch
	}
	if x.beats[id] == nil {
		x.beats[id] = &beat{done: make(chan struct{})}
	}
	if len(x.beats) >= b.most {
		delete(b.open, terms)
		close(x.full)
	}
	return x.beats[id]
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
	ctx, cancel := context.WithTimeout(ctx, b.within)
	defer cancel()
	b.beat(ctx, x, terms)
	b.mu.Lock()
	delete(b.all, x)
	b.mu.Unlock()
	close(x.done)
}

// beat writes the heartbeats of a batch until each has its answer. Those that others hold back are tried again after a
// pause, and again, without a connection that waits for them.
func (b *batches) beat(ctx context.Context, x *batch, terms Terms) {
	var reviving sync.WaitGroup
	defer reviving.Wait()
	ids := slices.Collect(maps.Keys(x.beats))
	for pause := b.delay; len(ids) > 0; pause = min(2*pause, maxPause) {
		offline, held, err := b.write(ctx, ids, terms)
		if err != nil {
			x.answer(ids, false, 0, err)
			return
		}
		waits := make(map[string]bool, len(held))
		for _, id := range held {
			waits[id] = true
		}
		var here, back, unknown []string
		for _, id := range ids {
			off, beaten := offline[id]
			switch {
			case off:
				back = append(back, id)
			case beaten:
				here = append(here, id)
			case !waits[id]:
				unknown = append(unknown, id)
			}
		}
		x.answer(here, false, 0, nil)
		x.answer(unknown, false, 0, readthrough.ErrNotFound)
		if len(back) > 0 {
			reviving.Go(func() { // which waits for the table's version
				asOf, err := b.revive(ctx, back)
				x.answer(back, err == nil, asOf, err)
			})
		}
		if ids = held; len(ids) == 0 {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			x.answer(ids, false, 0, outcome(ctx.Err()))
			return
		}
	}
}

// answer tells who waits for the heartbeats of these ids.
func (x *batch) answer(ids []string, revived bool, asOf uint64, err error) {
	for _, id := range ids {
		a := x.beats[id]
		a.revived, a.asOf, a.err = revived, asOf, err
		close(a.done)
	}
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
