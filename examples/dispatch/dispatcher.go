package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

// dispatcher hands out tasks: it reads the registry from memory, and claims what it finds.
type dispatcher struct {
	run   *fleet
	store *registry.Store

	tasks sync.WaitGroup

	mu    sync.Mutex // guards tally
	tally tally
}

// tally is what a dispatcher has seen.
type tally struct {
	done    int           // tasks
	again   int           // tries of a task after its agent had failed
	late    int           // claims that another dispatcher won
	unknown int           // claims and releases of which Redis did not say what became of them
	finds   int           // calls of Find
	finding time.Duration // spent in them
	outages int           // calls that failed otherwise
}

func (d *dispatcher) count(add func(*tally)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	add(&d.tally)
}

// work begins a task every now and then until ctx ends, and waits for all of them.
func (d *dispatcher) work(ctx context.Context) error {
	defer d.tasks.Wait()
	tick := time.NewTicker(taskEvery)
	defer tick.Stop()
	slots := make(chan struct{}, 32)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		select {
		case slots <- struct{}{}:
		default:
			continue // as much is under way as may be
		}
		d.tasks.Go(func() {
			defer func() { <-slots }()
			d.task(ctx, skills[rand.IntN(len(skills))])
		})
	}
}

// task finds an agent for one task, and another one as often as that fails.
func (d *dispatcher) task(ctx context.Context, skill string) {
	takes := time.Duration(20+rand.IntN(100)) * time.Millisecond
	for ctx.Err() == nil {
		candidates, ok := d.find(ctx, skill)
		if !ok || candidates.Len() == 0 {
			rest(ctx, 20*time.Millisecond)
			continue
		}
		if d.try(ctx, candidates.At(rand.IntN(candidates.Len())), takes) {
			return
		}
	}
}

// find asks who may take a task, and checks the answer against what is in force.
func (d *dispatcher) find(ctx context.Context, skill string) (registry.Agents, bool) {
	gone := d.run.gone.Load() // who was offline in every process before this Find began
	began := time.Now()
	found, err := d.store.Find(ctx, registry.Query{Capabilities: []string{skill}, Limit: 8})
	took := time.Since(began)
	if err != nil { // unknown is not none: the task waits
		if ctx.Err() == nil {
			d.count(func(t *tally) { t.outages++ })
		}
		return registry.Agents{}, false
	}
	d.count(func(t *tally) {
		t.finds++
		t.finding += took
	})
	for a := range found.All() {
		if gone.has(a.ID) {
			d.run.violation("%s was found for a task after it was offline in every process", a.ID)
		}
		if !a.Capabilities.Has(skill) || !a.Free() {
			d.run.violation("%s was found for %q and cannot take it", a.ID, skill)
		}
	}
	return found, true
}

// try claims an agent, gives it the task, and releases it whatever became of that.
func (d *dispatcher) try(ctx context.Context, candidate registry.Agent, takes time.Duration) (done bool) {
	ok, err := d.store.Claim(ctx, candidate.ID)
	switch {
	case errors.Is(err, readthrough.ErrNotFound):
		return false
	case err != nil:
		d.count(func(t *tally) { t.unknown++ })
		return false
	case !ok:
		d.count(func(t *tally) { t.late++ })
		return false
	}
	worked := d.run.byID[candidate.ID].work(ctx, takes)
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := d.store.Release(releasing, candidate.ID); err != nil {
		d.count(func(t *tally) { t.unknown++ })
	}
	d.count(func(t *tally) {
		switch {
		case worked == nil:
			t.done++
		case errors.Is(worked, errSilent):
			t.again++
		}
	})
	return worked == nil
}

// rest waits for a while, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
