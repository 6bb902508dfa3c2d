package readthrough

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l1"
)

// handoff is how long a load that may not be joined holds back the next one of its key while there is no serving lease, or
// where readers are strict. A third one waits until one of the two has ended: callers gather behind them, and without Redis a hot key takes two of the
// authority's slots and not all.
const handoff = 10 * time.Millisecond

// flights are the loads under way. x/sync's singleflight runs them; who may join which is decided here, by
// protocol.Joinable.
type flights[V any] struct {
	valid func(l1.Guard) bool
	guard func(hash uint64) l1.Guard
	bound time.Duration     // half of it is how long a load may be joined
	lost  func(error) error // what the error of a load is to its callers

	group singleflight.Group

	mu   sync.Mutex         // guards live and the flights in it, and orders group's calls
	live map[string]*flight // by the key of the group
}

// flight is one load. Its first fields are guarded by flights.mu.
type flight struct {
	begun   bool
	started protocol.Instant
	guard   l1.Guard

	leader context.Context // for telemetry to link to
	hash   uint64
	before []<-chan struct{} // done of the flights of its key that had begun and not ended, if they are waited for: two at most
	done   chan struct{}
}

// landing is where the outcome of a load arrives.
type landing struct {
	result <-chan singleflight.Result
	began  bool            // by this call
	leader context.Context // of the call that began it
}

// join begins a load of key, or joins one under way. lease is the partition's; strict callers join only what has not begun.
func (fs *flights[V]) join(
	ctx context.Context, key string, hash uint64, lease *invalidation.Lease, strict bool, run func(*flight) (*item[V], error),
) landing {
	now := invalidation.Now()
	until := lease.Until()
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.live[key]
	if f != nil && !(strict && f.begun) && protocol.Joinable(
		protocol.Flight{Begun: f.begun, Started: f.started, Sound: fs.valid(f.guard)}, now, until, fs.bound) {
		return landing{result: fs.group.DoChan(key, nil), leader: f.leader} // under way: finish has not run, and takes mu
	}
	next := &flight{leader: ctx, hash: hash, done: make(chan struct{})}
	if f != nil {
		fs.group.Forget(key)
		if strict || now >= until {
			next.before = append(running(f.before), f.done)
		}
	}
	fs.live[key] = next
	return landing{began: true, leader: ctx, result: fs.group.DoChan(key, func() (any, error) {
		defer fs.finish(key, next)
		fs.begin(next)
		// Apart, since a Goexit in singleflight's own goroutine would leave every waiter waiting.
		out := <-apart(func() (*item[V], error) { return run(next) })
		return out.v, fs.lost(out.err)
	})}
}

// begin takes the guard: from now on the load may read.
func (fs *flights[V]) begin(f *flight) {
	switch len(f.before) {
	case 1:
		select {
		case <-f.before[0]:
		case <-time.After(handoff):
		}
	case 2:
		select {
		case <-f.before[0]:
		case <-f.before[1]:
		}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.begun, f.started, f.guard = true, invalidation.Now(), fs.guard(f.hash)
}

// running are those of flights that have not ended.
func running(flights []<-chan struct{}) (left []<-chan struct{}) {
	for _, done := range flights {
		select {
		case <-done:
		default:
			left = append(left, done)
		}
	}
	return left
}

// finish removes the flight, and only itself.
func (fs *flights[V]) finish(key string, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.live[key] == f {
		delete(fs.live, key)
		fs.group.Forget(key)
	}
	close(f.done)
}
