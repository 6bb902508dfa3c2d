package registry_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/registry"
)

// watcher applies events to a list of its own, as a caller would.
type watcher struct {
	next func() (registry.Event, error, bool)
	have map[string]registry.Agent
}

func watch(t testing.TB, s *registry.Store) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	next, stop := iter.Pull2(s.Watch(ctx))
	t.Cleanup(func() { cancel(); stop() })
	w := &watcher{next: next, have: map[string]registry.Agent{}}
	ev := w.event(t)
	if ev.Kind != registry.Started || len(ev.Changes) > 0 {
		t.Fatalf("first event %+v", ev)
	}
	return w
}

// event answers the next one, whatever fails meanwhile, and checks that its changes lead from the list before to its own.
func (w *watcher) event(t testing.TB) registry.Event {
	t.Helper()
	for {
		ev, err, ok := w.next()
		if !ok {
			t.Fatal("the watch has ended")
		}
		if err != nil {
			continue
		}
		if ev.Kind == registry.Started {
			for a := range ev.Agents.All() {
				w.have[a.ID] = a
			}
			return ev
		}
		for _, c := range ev.Changes {
			switch {
			case c.Left():
				delete(w.have, c.Before.ID)
			default:
				w.have[c.After.ID] = c.After
			}
		}
		var have []string
		for id := range w.have {
			have = append(have, id)
		}
		slices.Sort(have)
		if !slices.Equal(append([]string{}, have...), ids(ev.Agents)) {
			t.Fatalf("the changes lead to %v, the list is %v", have, ids(ev.Agents))
		}
		return ev
	}
}

// until takes events until the list fits.
func (w *watcher) until(t testing.TB, what string, fits func(have map[string]registry.Agent) bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !fits(w.have) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s; the watch has %v", patience, what, w.have)
		}
		w.event(t)
	}
}

func TestWatchTellsWhatAnyProcessChanges(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b := f.open(t), f.open(t)
		register(t, a, registry.Agent{ID: "old"})
		w := watch(t, b)
		if _, ok := w.have["old"]; !ok {
			t.Fatal("the snapshot lacks an agent that was there")
		}
		register(t, a, registry.Agent{ID: "new"})
		w.until(t, "a registration", func(have map[string]registry.Agent) bool { return have["new"].ID == "new" })
		if _, err := a.SetLoadAsync(t.Context(), "new", 3); err != nil {
			t.Fatal(err)
		}
		w.until(t, "a load", func(have map[string]registry.Agent) bool { return have["new"].CurrentLoad == 3 })
		if _, err := a.SetStatusAsync(t.Context(), "old", registry.Offline); err != nil {
			t.Fatal(err)
		}
		w.until(t, "a status", func(have map[string]registry.Agent) bool { return have["old"].Status == registry.Offline })
		if err := a.Heartbeat(t.Context(), "old"); err != nil {
			t.Fatal(err)
		}
		w.until(t, "a revival", func(have map[string]registry.Agent) bool { return have["old"].Status == registry.Available })
		if _, err := a.DeregisterAsync(t.Context(), "old"); err != nil {
			t.Fatal(err)
		}
		w.until(t, "a departure", func(have map[string]registry.Agent) bool { return have["old"].ID == "" })
	})
}

// Every state between must not be seen, but the last one must: a change between the snapshot and the first wait is the
// gap that this looks for.
func TestWatchHasNoGapBetweenTheSnapshotAndTheChanges(t *testing.T) {
	for _, name := range []string{"memory", "miniredis", "redis", "sqlite"} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, name)
			a, b := f.open(t), f.open(t)
			register(t, a, registry.Agent{ID: "0"})
			const rounds, writers = 15, 4
			for round := range rounds {
				var wg sync.WaitGroup
				for i := range writers {
					wg.Go(func() {
						for range 3 {
							id := fmt.Sprint(1 + rand.IntN(5))
							if rand.IntN(3) == 0 {
								_, _ = a.DeregisterAsync(t.Context(), id)
							} else if _, err := a.RegisterAsync(t.Context(), registry.Agent{ID: id, Name: fmt.Sprint(round, i)}); err != nil {
								t.Error(err)
							}
						}
					})
				}
				w := watch(t, b) // beside the writers
				wg.Wait()
				last := fmt.Sprint("last ", round)
				register(t, a, registry.Agent{ID: "0", Name: last})
				w.until(t, "the last change", func(have map[string]registry.Agent) bool { return have["0"].Name == last })
				all, err := a.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w.until(t, "the last list", func(have map[string]registry.Agent) bool {
					for x := range all.All() {
						if have[x.ID].Name != x.Name {
							return false
						}
					}
					return len(have) == all.Len()
				})
			}
		})
	}
}

func TestWatchMarksTheSnapshotAfterALoss(t *testing.T) {
	for name, of := range map[string]struct {
		idle    time.Duration
		foreign bool
	}{
		"at once":                {},
		"idle for longer than B": {idle: 4 * bound},
		"where others write too": {foreign: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "redis")
			open := func() *registry.Store {
				return f.open(t, func(cfg *registry.Config) {
					if of.foreign {
						cfg.Foreign, cfg.ForeignTTL = true, bound/10
					}
				})
			}
			a, b := open(), open()
			register(t, a, registry.Agent{ID: "before"})
			w := watch(t, b)
			pass(t, of.idle) // the caller is busy with the event: nobody waits
			f.redis.Do("FLUSHALL")
			register(t, a, registry.Agent{ID: "after"})
			deadline := time.Now().Add(patience)
			for {
				ev := w.event(t)
				if ev.Kind == registry.Resynced && slices.Equal(ids(ev.Agents), []string{"after"}) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("no snapshot is marked after Redis lost everything")
				}
			}
		})
	}
}

// pass lets time go by.
func pass(t testing.TB, d time.Duration) {
	t.Helper()
	until := time.Now().Add(d)
	eventually(t, "time to pass", func() bool { return !time.Now().Before(until) })
}

// Its own look at the backend comes after an hour, so that all it sees it was told.
func TestAWatchThatWaitsForLongerThanBIsToldOfChangesAndOfALoss(t *testing.T) {
	f := newFleet(t, "redis")
	a, b := f.open(t), f.open(t, func(cfg *registry.Config) { cfg.MaxAge = time.Hour })
	register(t, a, registry.Agent{ID: "a"})
	ctx, cancel := context.WithCancel(t.Context())
	events, ended := make(chan registry.Event, 16), make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		for ev, err := range b.Watch(ctx) {
			if err == nil {
				events <- ev
			}
		}
	}()
	defer func() { cancel(); <-ended }()
	next := func(what string) registry.Event {
		t.Helper()
		select {
		case ev := <-events:
			return ev
		case <-time.After(patience):
			t.Fatalf("not told of %s within %s", what, patience)
			return registry.Event{}
		}
	}
	next("who is there")
	pass(t, 4*bound)
	register(t, a, registry.Agent{ID: "b"})
	if ev := next("a change"); ev.Kind != registry.Changed || !slices.Equal(ids(ev.Agents), []string{"a", "b"}) {
		t.Errorf("%v with %q after a change", ev.Kind, ids(ev.Agents))
	}
	pass(t, 4*bound)
	f.redis.Do("FLUSHALL")
	if ev := next("a loss"); ev.Kind != registry.Resynced || ev.Agents.Len() != 0 {
		t.Errorf("%v with %q after a loss", ev.Kind, ids(ev.Agents))
	}
	register(t, a, registry.Agent{ID: "c"})
	if ev := next("a change after a loss"); !slices.Equal(ids(ev.Agents), []string{"c"}) {
		t.Errorf("%v with %q after a loss and a change", ev.Kind, ids(ev.Agents))
	}
}

func TestWatchSeesWhoVanishesBySilence(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		short := f.open(t, func(cfg *registry.Config) { cfg.TTL = 500 * time.Millisecond })
		w := watch(t, f.open(t, func(cfg *registry.Config) { cfg.MaxAge = time.Hour }))
		register(t, short, registry.Agent{ID: "a"})
		w.until(t, "a registration", func(have map[string]registry.Agent) bool { return len(have) == 1 })
		w.until(t, "the end of a silent agent", func(have map[string]registry.Agent) bool { return len(have) == 0 })
	})
}

func TestWatchTakesAnOutageForNothingButAnOutage(t *testing.T) {
	f := newFleet(t, "redis")
	a, b := f.open(t), f.open(t)
	register(t, a, registry.Agent{ID: "a"})
	w := watch(t, b)
	f.redis.Do("SAVE")
	f.redis.Kill()
	for failed := false; !failed; {
		ev, err, ok := w.next()
		if !ok {
			t.Fatal("the watch has ended")
		}
		if failed = err != nil; failed {
			wantCode(t, "watch", err, registry.Failed)
		} else if ev.Agents.Len() == 0 {
			t.Fatal("an outage looks like no agents")
		}
	}
	f.redis.Restart()
	eventually(t, "Redis to take writes", func() bool {
		_, err := a.RegisterAsync(t.Context(), registry.Agent{ID: "b"})
		return err == nil
	})
	w.until(t, "the change after the outage", func(have map[string]registry.Agent) bool { return have["b"].ID == "b" && have["a"].ID == "a" })
}

func TestWatchEndsWithItsContextAndWithItsStore(t *testing.T) {
	s := open(t, registry.Config{Backend: &registry.Memory{}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := 0
	for _, err := range s.Watch(ctx) {
		if err != nil {
			t.Error(err)
		}
		events++
		cancel()
	}
	if events != 1 {
		t.Errorf("%d events", events)
	}
	var last error
	for _, err := range s.Watch(t.Context()) {
		if last = err; err == nil {
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if last == nil {
		t.Error("a watch of a closed store ended without an error")
	}
}
