package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
)

// EventKind says why there is an Event.
type EventKind uint8

const (
	// Started is the first: all agents, and no Changes.
	Started EventKind = iota + 1
	// Changed says that somebody joined, left or changed.
	Changed
	// Resynced says that a message was lost, or that Redis lost its state. Agents is read anew, and Changes is how it differs
	// from the list before; what came and went between may be missing, as in every coalesced event.
	Resynced
)

// Event is what Watch tells.
type Event struct {
	// Kind says why.
	Kind EventKind
	// Agents are all agents as of this event.
	Agents Agents
	// Changes since the event before, by id. A heartbeat alone is none.
	Changes []Change
}

// Change is one agent's part in an Event.
type Change struct {
	// Before is the agent as it was, the zero Agent if it was not there.
	Before Agent
	// After is the agent as it is, the zero Agent if it is gone.
	After Agent
}

// Joined says that the agent was not there before.
func (c Change) Joined() bool { return c.Before.ID == "" }

// Left says that the agent is gone, be it by Deregister or by silence.
func (c Change) Left() bool { return c.After.ID == "" }

// watchRetry is how long Watch lets a backend rest that has failed.
const watchRetry = 250 * time.Millisecond

// watchSpacing is between the begins of two reads of one Watch.
const watchSpacing = 10 * time.Millisecond

// foreignPoll is how often Watch looks for itself where other programs write without a message.
const foreignPoll = time.Second

// Watch tells what changes: first all agents, then each change, until ctx ends or the caller stops. There is no gap between
// them: each list is read after the wish to be woken for the next one was noted. Changes that follow each other faster than
// the caller takes them, or within 10 ms, come as one; the last state always comes. A change whose message is lost comes with
// the next message, and at the latest after MaxAge.
//
// A backend that cannot be read is an error beside a zero Event, never an Event without agents; the loop goes on, and what
// changed meanwhile comes when the backend answers again. ErrClosed is the last.
//
// The first Watch of a Store subscribes to its bus a second time, until Close. While somebody waits for an event, it renews its
// lease there, four times in a Bound.
func (s *Store) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w, err := s.watchers(ctx)
		if err != nil {
			yield(Event{}, coded("watch", "", err))
			return
		}
		var last *snapshot
		var lost uint64
		for {
			seen := w.look()
			began := time.Now()
			now, err := s.cache.Get(ctx, everybody, readthrough.Linearizable())
			if ctx.Err() != nil {
				return
			}
			pause := watchRetry
			if err != nil {
				if !yield(Event{}, coded("watch", "", err)) || errors.Is(err, readthrough.ErrClosed) {
					return
				}
			} else {
				pause = s.pause(now, began)
				ev := Event{Kind: Changed, Agents: Agents{now.agents}}
				switch {
				case last == nil:
					ev.Kind = Started
				case seen.lost != lost:
					ev.Kind = Resynced
				}
				if last != nil {
					ev.Changes = differences(last.agents, now.agents)
				}
				if (ev.Kind != Changed || len(ev.Changes) > 0) && !yield(ev, nil) {
					return
				}
				last, lost = now, seen.lost
			}
			if !s.rest(ctx, w, seen.next, pause) {
				return
			}
			// Many changes at a time are one list, not as many.
			if spare := watchSpacing - time.Since(began); spare > 0 && !s.rest(ctx, w, nil, spare) {
				return
			}
		}
	}
}

// pause is how long a list may be taken for the last word while no message comes: until the first of it may end by silence,
// and no longer than a writer may have died between its write and its message.
func (s *Store) pause(now *snapshot, began time.Time) time.Duration {
	pause := s.cfg.age()
	if s.fresh {
		pause = min(pause, foreignPoll)
	}
	if now.lasts > 0 {
		pause = min(pause, now.lasts-time.Since(began)+time.Millisecond)
	}
	return max(pause, time.Millisecond)
}

// rest waits for a message or for the pause to pass. False: ctx has ended. It reads the lease as it waits: a partition that
// nobody reads for B is let go of, and hears nothing any more once Redis has lost its state.
func (s *Store) rest(ctx context.Context, w *watched, next <-chan struct{}, pause time.Duration) bool {
	timer, hold := time.NewTimer(pause), time.NewTicker(s.cfg.Bound/2)
	defer timer.Stop()
	defer hold.Stop()
	for {
		w.bus.Lease(0).Valid(invalidation.Now())
		select {
		case <-hold.C:
			continue
		case <-next:
		case <-timer.C:
		case <-s.done: // the next read says so
		case <-ctx.Done():
			return false
		}
		return true
	}
}

// differences are what changed between two lists by id.
func differences(before, after []Agent) (changes []Change) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].ID < after[0].ID:
			changes = append(changes, Change{Before: before[0]})
			before = before[1:]
		case len(before) == 0 || after[0].ID < before[0].ID:
			changes = append(changes, Change{After: after[0]})
			after = after[1:]
		default:
			if !before[0].same(after[0]) {
				changes = append(changes, Change{Before: before[0], After: after[0]})
			}
			before, after = before[1:], after[1:]
		}
	}
	return changes
}

// watched is a Store's second part in its bus: it wakes those who Watch. Its Target methods hold nothing and call nobody.
type watched struct {
	bus   invalidation.Bus
	close func(context.Context) error

	mu    sync.Mutex // guards state
	state sight
}

// sight is what was told so far.
type sight struct {
	lost uint64        // how often everything was voided
	next chan struct{} // closed by the next message
}

var _ invalidation.Target = (*watched)(nil)

func (w *watched) look() sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

func (w *watched) wake(lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.lost += lost
	close(w.state.next)
	w.state.next = make(chan struct{})
}

// Evict implements invalidation.Target: somebody changed something.
func (w *watched) Evict([]uint64) { w.wake(0) }

// Flush implements invalidation.Target: something was lost.
func (w *watched) Flush() { w.wake(1) }

// Invalidated implements invalidation.Target.
func (w *watched) Invalidated([]l2.ID, uint64) { w.wake(0) }

// Raise implements invalidation.Target: a row of the backend's log.
func (w *watched) Raise(string, uint64) { w.wake(0) }

// RaiseAll implements invalidation.Target: a row that names nobody, which says that more changed than could be named.
func (w *watched) RaiseAll(uint64) { w.wake(0) }

// Rewind implements invalidation.Target: the backend is an older one.
func (w *watched) Rewind() { w.wake(1) }

// watchers joins the bus a second time, once.
func (s *Store) watchers(ctx context.Context) (*watched, error) {
	w, err := s.second()
	if err != nil {
		return nil, err
	}
	// The first contact voids everything: waited for here, it is not taken for a loss.
	if !w.bus.Lease(0).Valid(invalidation.Now()) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = w.bus.Renew(ctx, 0) // without the lock: Close waits for that whatever its context
	}
	return w, nil
}

// second answers the store's second part in the bus.
func (s *Store) second() (*watched, error) {
	s.watching.Lock()
	defer s.watching.Unlock()
	if s.writes.IsShut() {
		return nil, readthrough.ErrClosed
	}
	if s.watched != nil {
		return s.watched, nil
	}
	w := &watched{state: sight{next: make(chan struct{})}}
	if err := s.join(w); err != nil {
		return nil, err
	}
	s.watched = w
	return w, nil
}

// join makes w a member of the store's namespace. A link takes one member of a namespace, so this one has a link of its own.
func (s *Store) join(w *watched) error {
	m := invalidation.Membership{Target: w, Log: s.cfg.log(), Poll: s.cfg.Poll, Bound: s.cfg.Bound, Sole: s.cfg.Sole}
	if s.cfg.Link == nil {
		m.Namespace = s.cfg.Name
		if s.cfg.Tenant != "" {
			m.Namespace += "@" + s.cfg.Tenant
		}
		bus, err := s.cfg.Local.Join(m)
		if err != nil {
			return fmt.Errorf("registry: %w", err)
		}
		w.bus, w.close = bus, bus.Close
		return nil
	}
	client := s.cfg.Link.Client()
	var err error
	m.Store, err = l2.New(l2.Config{
		Client: client, Namespace: s.cfg.Name, Tenant: s.cfg.Tenant, Partitions: 1,
		Lease: s.cfg.Bound, LoadTimeout: s.cfg.LoadTimeout, Telemetry: s.cfg.Telemetry,
	})
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client, Telemetry: s.cfg.Telemetry})
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	bus, err := link.Join(m)
	if err != nil {
		return errors.Join(fmt.Errorf("registry: %w", err), link.Close(context.Background()))
	}
	w.bus = bus
	w.close = func(ctx context.Context) error { return errors.Join(bus.Close(ctx), link.Close(ctx)) }
	return nil
}
