package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/layout"
)

// Backend is all six stores in this process's memory, for the tests of a program that uses them. It is a *stores.Backend of
// one process, which can be made slow, cut off, or late; Elsewhere is another process, which works. Safe for concurrent use.
// In a synctest bubble its time is the bubble's.
type Backend struct {
	*stores.Backend
	t     testing.TB
	world *world
	here  *view

	mu        sync.Mutex // guards elsewhere
	elsewhere *stores.Backend
}

// New opens a Backend, empty and well. It is closed when the test ends.
func New(t testing.TB) *Backend {
	t.Helper()
	w := &world{}
	b := &Backend{t: t, world: w, here: &view{world: w, here: true}}
	b.Backend = open(t, b.here)
	return b
}

// Elsewhere is another process on the same records. It is told of this one's changes and tells this one of its own, unless
// this one is Stale; nothing else that is made wrong here is wrong there.
func (b *Backend) Elsewhere() *stores.Backend {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.elsewhere == nil {
		b.elsewhere = open(b.t, &view{world: b.world})
	}
	return b.elsewhere
}

// Slow makes each call that reaches the records take so much longer, or end with its context; 0: no longer. What a store
// answers from its memory is as fast as ever; see Forget.
func (b *Backend) Slow(d time.Duration) { b.world.set(func() { b.world.slow = d }) }

// Down makes each call fail with readthrough.ErrUnavailable and err (nil: an error of this package), as after an outage that
// has outlasted every serving lease: what the stores held in memory is forgotten.
func (b *Backend) Down(err error) {
	if err == nil {
		err = errDown
	}
	b.world.set(func() { b.world.down = err })
	b.Forget()
}

// Up ends Slow and Down. It returns when every store answers again: one that leaves a backend alone for a while after an
// outage, as RateLimits does, takes up to a second to see that it is over.
func (b *Backend) Up() {
	b.t.Helper()
	b.world.set(func() { b.world.slow, b.world.down = 0, nil })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for err := b.Ready(ctx); err != nil; err = b.Ready(ctx) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			b.t.Errorf("storetest: Up: %v", err)
			return
		}
	}
}

// Stale makes reads answer what was true when it was called, whatever is written Elsewhere from then on, as in a process that
// no news reach; until Fresh. This process's own writes are done, and it reads them. Rate limits are not read from anywhere
// near, and are never stale.
func (b *Backend) Stale() { b.world.set(func() { b.world.stale = true }) }

// Fresh ends Stale: everything that was written meanwhile is in force.
func (b *Backend) Fresh() {
	b.world.set(func() {
		b.world.stale = false
		b.world.remembered = remembered{}
	})
	b.Forget()
}

// Forget empties the memory of the stores, so that the next reads reach the records.
func (b *Backend) Forget() { b.here.forget() }

var errDown = errors.New("storetest: the records cannot be reached: Down was called")

// open opens the stores of one process.
func open(t testing.TB, v *view) *stores.Backend {
	t.Helper()
	const name = "storetest"
	b, err := stores.Open(t.Context(), stores.Config{
		PolicyStore: name, SessionStore: name, RateLimitCounter: name, AgentRegistry: name, Checkpointer: name, EventStore: name,
		RateLimit: stores.RateLimitConfig{Remember: -1}, // what others give back counts at once
		RunLog:    stores.RunLogConfig{TailTTL: -1},     // and what they append
	}, stores.WithDriver(name, v.driver()))
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	v.backend = b
	v.world.set(func() { v.world.views = append(v.world.views, v) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		v.leave(ctx)
		if err := b.Close(ctx); err != nil && v.world.well() {
			t.Errorf("storetest: close: %v", err)
		}
	})
	return b
}

// world is the records, and what is wrong with the way to them.
type world struct {
	records records

	mu         sync.Mutex // held during each call that reaches the records; guards what follows
	slow       time.Duration
	down       error
	stale      bool
	remembered remembered
	views      []*view
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) well() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down == nil && w.slow == 0
}

// view is how one process sees the records.
type view struct {
	world   *world
	here    bool // the process that things are wrong with
	backend *stores.Backend
	local   *invalidation.Local    // of the process's stores
	members []*invalidation.Member // one in each of their namespaces
}

// enter waits while the way is slow, and lets nobody else in until leave. An error is the caller's.
func (v *view) enter(ctx context.Context) (leave func(), err error) {
	w := v.world
	w.mu.Lock()
	if v.here && w.slow > 0 {
		slow := time.NewTimer(w.slow)
		w.mu.Unlock()
		select {
		case <-slow.C:
		case <-ctx.Done():
			slow.Stop()
		}
		w.mu.Lock()
	}
	if err = ctx.Err(); err == nil && v.here {
		err = w.down
	}
	if err != nil {
		w.mu.Unlock()
		return nil, layout.Unavailable(err)
	}
	return w.mu.Unlock, nil
}

// late says whether this process reads what was true before. The world is held.
func (v *view) late() bool { return v.here && v.world.stale }

// missed says whether a write of this process is one that the other does not hear of. The world is held.
func (v *view) missed() bool { return !v.here && v.world.stale }

// told makes the other processes forget what they hold, after a write of this one. The world is not held.
func (v *view) told() {
	v.world.mu.Lock()
	missed, views := v.missed(), v.world.views
	v.world.mu.Unlock()
	if missed {
		return
	}
	for _, other := range views {
		if other != v {
			other.forget()
		}
	}
}

// namespaces are those of the stores with a memory, but for the policies.
var namespaces = []string{"sessions", "registry", "checkpoints", "runs"}

// join makes the process one that can be made to forget.
func (v *view) join(local *invalidation.Local) error {
	if v.local != nil {
		return nil
	}
	v.local = local
	for _, name := range namespaces {
		m, err := local.Join(invalidation.Membership{Namespace: name, Target: deaf{}})
		if err != nil {
			return err
		}
		v.members = append(v.members, m)
	}
	return nil
}

func (v *view) leave(ctx context.Context) {
	for _, m := range v.members {
		_ = m.Close(ctx)
	}
}

// forget voids what the process's stores hold in memory.
func (v *view) forget() {
	_ = v.backend.Policies().InvalidateAll(context.Background()) // there is nobody to wait for
	for _, m := range v.members {
		m.InvalidateAll(context.Background(), 0)
	}
}

// deaf is a member of a bus that only tells.
type deaf struct{}

func (deaf) Evict([]uint64)              {}
func (deaf) Flush()                      {}
func (deaf) Invalidated([]l2.ID, uint64) {}
func (deaf) Raise(string, uint64)        {}
func (deaf) RaiseAll(uint64)             {}
func (deaf) Rewind()                     {}
