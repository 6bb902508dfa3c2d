package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/layercache/layercache/stores/registry"
)

const (
	beat        = time.Second
	grace       = 3 * beat    // three missed beats are no death
	reapAfter   = time.Second // what Reap is asked for; with the grace an agent may be silent for 4 s
	reapEvery   = 250 * time.Millisecond
	dispatchers = 3
	taskEvery   = 100 * time.Millisecond // of each dispatcher
)

// names are ids of agents.
type names map[string]bool

func (n *names) has(id string) bool { return n != nil && (*n)[id] }

// and is n with those of ids who will say nothing any more. Others who are marked may beat, and are back then.
func (n *names) and(ids []string, silent names) *names {
	all := names{}
	if n != nil {
		maps.Copy(all, *n)
	}
	for _, id := range ids {
		if silent[id] {
			all[id] = true
		}
	}
	return &all
}

// fleet is one run.
type fleet struct {
	agents []*agent
	byID   map[string]*agent
	out    io.Writer
	began  time.Time

	gone        atomic.Pointer[names] // marked offline, in force everywhere, and not back yet
	reapsFailed atomic.Int64

	mu     sync.Mutex // guards faults
	faults []string
}

// violation is something that must not be.
func (f *fleet) violation(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fmt.Sprintf(format, args...))
}

func (f *fleet) say(what, format string, args ...any) {
	_, _ = fmt.Fprintf(f.out, "%-10s %s\n", what, fmt.Sprintf(format, args...))
}

func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	var u undo
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, u.run(ctx))
	}()
	where, url := "REDIS_URL", cfg.redisURL
	if url == "" {
		where = "embedded Redis"
		if url, err = embedRedis(&u); err != nil {
			return err
		}
	}
	tenant := "dispatch-" + rand.Text()
	f := &fleet{agents: newAgents(cfg.agents), byID: map[string]*agent{}, out: out, began: time.Now()}
	for _, a := range f.agents {
		f.byID[a.id] = a
	}
	stores := make([]*registry.Store, 2+dispatchers) // as many processes: agents, reaper, dispatchers
	for i := range stores {
		client, err := dial(&u, url)
		if err != nil {
			return err
		}
		if i == 0 {
			clean(&u, client, tenant)
		}
		if stores[i], err = connect(&u, client, tenant); err != nil {
			return err
		}
	}
	f.say("registry", "%s, %d agents, %d dispatchers, a heartbeat every %s", where, cfg.agents, dispatchers, beat)
	return f.play(ctx, cfg, stores)
}

// play registers the agents, hands out tasks while some of them fail and come back, and judges.
func (f *fleet) play(ctx context.Context, cfg config, stores []*registry.Store) error {
	home, reaper := stores[0], stores[1]
	if err := f.register(ctx, home); err != nil {
		return err
	}
	running, stop := context.WithTimeout(ctx, cfg.duration)
	defer stop()
	g, running := errgroup.WithContext(running)
	for _, a := range f.agents {
		g.Go(func() error { return a.live(running, home, f.began) })
	}
	workers := make([]*dispatcher, 0, dispatchers)
	for _, store := range stores[2:] {
		d := &dispatcher{run: f, store: store}
		workers = append(workers, d)
		g.Go(func() error { return d.work(running) })
	}
	seen := &sights{}
	g.Go(func() error { return seen.watch(running, stores[2]) })
	g.Go(func() error { return f.reap(running, reaper) })
	g.Go(func() error { return f.fail(running, cfg) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.judge(ctx, cfg, reaper, workers, seen)
}

func (f *fleet) register(ctx context.Context, store *registry.Store) error {
	began := time.Now()
	g, registering := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, a := range f.agents {
		g.Go(func() error {
			_, err := store.RegisterAsync(registering, registry.Agent{
				ID: a.id, Name: "worker", Capabilities: registry.Capable(a.skills...), MaxLoad: roomFor,
			})
			a.heard.Store(int64(time.Since(f.began)))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	all, err := store.List(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	f.say("registered", "%d agents in %s", all.Len(), time.Since(began).Round(time.Millisecond))
	return nil
}

// fail takes agents down after an eighth of the time, without a word, and lets them come back after six more.
func (f *fleet) fail(ctx context.Context, cfg config) error {
	for _, step := range []struct {
		after time.Duration
		down  bool
	}{{cfg.duration / 8, true}, {cfg.duration * 5 / 8, false}} {
		timer := time.NewTimer(step.after)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		if !step.down { // from now on they may be found again
			f.gone.Store(&names{})
		}
		for _, a := range f.agents[:cfg.failing] {
			if step.down {
				a.fall()
			} else {
				a.down.Store(false)
			}
		}
		if step.down {
			f.say("failing", "%d agents fall silent, %s after the start", cfg.failing, time.Since(f.began).Round(100*time.Millisecond))
		} else {
			f.say("returning", "they beat again")
		}
	}
	return nil
}

// reap marks who is silent, and checks that nobody is marked who was heard.
func (f *fleet) reap(ctx context.Context, store *registry.Store) error {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		before := f.gone.Load()
		heard, silent := map[string]time.Duration{}, names{}
		for _, a := range f.agents {
			heard[a.id] = time.Duration(a.heard.Load())
			silent[a.id] = a.down.Load() && !a.doubt.Load() // one that falls later may have beaten after it was marked
		}
		ids, err := store.Reap(ctx, reapAfter)
		at := time.Since(f.began) // it was judged before
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // nobody is known to be marked; the next one says
			f.reapsFailed.Add(1)
			continue
		}
		if len(ids) == 0 {
			continue
		}
		for _, id := range ids {
			// By the agent's own account: a beat that had succeeded before, and was begun less than the silence ago.
			if h := heard[id]; at-h < reapAfter+grace {
				f.violation("%s was marked offline %s after a heartbeat", id, (at - h).Round(time.Millisecond))
			}
		}
		f.gone.CompareAndSwap(before, before.and(ids, silent)) // not if they were let back meanwhile
		f.say("reaped", "%d agents are offline in every process, %s after the start", len(ids), at.Round(100*time.Millisecond))
	}
}

// sights is what one process was told, without asking.
type sights struct {
	mu            sync.Mutex // guards the counts
	joined        int
	offline, back int
	resynced      int
}

func (s *sights) watch(ctx context.Context, store *registry.Store) error {
	for ev, err := range store.Watch(ctx) {
		if err != nil {
			continue // an outage: the loop goes on when it is over
		}
		s.mu.Lock()
		switch ev.Kind {
		case registry.Started:
			s.joined = ev.Agents.Len()
		case registry.Resynced:
			s.resynced++
		}
		for _, c := range ev.Changes {
			switch {
			case c.After.Status == registry.Offline && c.Before.Status != registry.Offline:
				s.offline++
			case c.Before.Status == registry.Offline && c.After.Status == registry.Available:
				s.back++
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// judge compares what was seen with what must be.
func (f *fleet) judge(ctx context.Context, cfg config, store *registry.Store, workers []*dispatcher, seen *sights) error {
	var sum tally
	for _, d := range workers {
		t := d.tally
		sum.done, sum.again, sum.late, sum.unknown = sum.done+t.done, sum.again+t.again, sum.late+t.late, sum.unknown+t.unknown
		sum.finds, sum.finding, sum.outages = sum.finds+t.finds, sum.finding+t.finding, sum.outages+t.outages
	}
	var most int64
	for _, a := range f.agents {
		most = max(most, a.most.Load())
		if a.most.Load() > roomFor {
			f.violation("%s had %d tasks at once, and room for %d", a.id, a.most.Load(), roomFor)
		}
	}
	all, err := store.List(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for a := range all.All() {
		if a.CurrentLoad != 0 && sum.unknown == 0 {
			f.violation("%s has a load of %d when all is done", a.ID, a.CurrentLoad)
		}
	}
	if all.Len() != cfg.agents {
		f.violation("%d agents are left of %d", all.Len(), cfg.agents)
	}
	if sum.done == 0 {
		f.violation("no task was done")
	}
	f.say("tasks", "%d done; %d times the agent had failed and another one was found; %d claims came too late",
		sum.done, sum.again, sum.late)
	f.say("find", "%d, %s each on average", sum.finds, (sum.finding / time.Duration(cmp.Or(sum.finds, 1))).Round(100*time.Nanosecond))
	sum.outages += int(f.reapsFailed.Load())
	if sum.outages+sum.unknown > 0 {
		f.say("outages", "%d calls were not answered by Redis, %d with an unknown outcome", sum.outages+sum.unknown, sum.unknown)
	}
	f.say("watch", "told of %d agents, %d that went offline, %d that came back", seen.joined, seen.offline, seen.back)
	if len(f.faults) > 0 {
		for _, fault := range f.faults[:min(len(f.faults), 10)] {
			f.say("VIOLATION", "%s", fault)
		}
		return fmt.Errorf("%d violations", len(f.faults))
	}
	f.say("proved", "nobody had more than %d tasks at once (at most %d), no task was offered to an agent once it was offline "+
		"everywhere, and nobody was marked who beat", roomFor, most)
	return nil
}
