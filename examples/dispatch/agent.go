package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

// skills are what agents can do; each can do two of them.
var skills = []string{"go", "sql", "web", "search", "review"}

// roomFor is how many tasks an agent takes at once.
const roomFor = 3

// errSilent is what a dispatcher sees of an agent that has failed: nothing, until it gives up.
var errSilent = errors.New("the agent does not answer")

// agent is one worker. It beats until it fails, and does the tasks that reach it.
type agent struct {
	id     string
	skills []string

	beating sync.Mutex // held while a heartbeat is under way, and to take the agent down: nothing is heard of it afterwards
	down    atomic.Bool
	doubt   atomic.Bool  // a heartbeat had no answer, and may yet arrive
	heard   atomic.Int64 // when the last heartbeat that succeeded was begun, in ns since the start of the run
	running atomic.Int64
	most    atomic.Int64 // the highest running has been
	done    atomic.Int64
}

func newAgents(n int) []*agent {
	agents := make([]*agent, n)
	for i := range agents {
		second := skills[(i+1+i/len(skills)%4)%len(skills)]
		agents[i] = &agent{id: fmt.Sprintf("agent-%03d", i), skills: []string{skills[i%len(skills)], second}}
	}
	return agents
}

// live beats until ctx ends. One that is down says nothing.
func (a *agent) live(ctx context.Context, store *registry.Store, began time.Time) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := a.beat(ctx, store, began); err != nil {
			return err
		}
	}
}

// beat beats once. A beat that failed is missed; the grace is for that.
func (a *agent) beat(ctx context.Context, store *registry.Store, began time.Time) error {
	a.beating.Lock()
	defer a.beating.Unlock()
	if a.down.Load() {
		return nil
	}
	at := time.Since(began)
	err := store.Heartbeat(ctx, a.id)
	switch {
	case err == nil:
		a.heard.Store(int64(at))
	case ctx.Err() != nil:
	case errors.Is(err, readthrough.ErrNotFound):
		return fmt.Errorf("%s is not registered any more", a.id)
	default:
		a.doubt.Store(true)
	}
	return nil
}

// fall takes the agent down, without a word.
func (a *agent) fall() {
	a.beating.Lock()
	defer a.beating.Unlock()
	a.down.Store(true)
}

// work does a task, which takes a moment.
func (a *agent) work(ctx context.Context, takes time.Duration) error {
	n := a.running.Add(1)
	defer a.running.Add(-1)
	for {
		most := a.most.Load()
		if n <= most || a.most.CompareAndSwap(most, n) {
			break
		}
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.down.Load() {
		return errSilent
	}
	a.done.Add(1)
	return nil
}
