package storetest

import (
	"context"
	"slices"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

// agents are the agents as a process sees them.
type agents struct{ *view }

var _ registry.Backend = agents{}

func (a agents) live() *registry.Memory { return &a.world.records.agents }

func (a agents) changing(ids ...string) {
	for _, id := range ids {
		changing(a.view, &a.world.remembered.agents, id, func() oldAgent {
			agent, err := a.live().Get(context.Background(), id) // memory fails with an absence only
			return oldAgent{agent, err == nil}
		})
	}
}

// all are the ids of all agents.
func (a agents) all(terms registry.Terms) (ids []string) {
	all, _ := a.live().List(context.Background(), terms) // memory does not fail
	for _, agent := range all.Agents {
		ids = append(ids, agent.ID)
	}
	return ids
}

// Put implements registry.Backend.
func (a agents) Put(ctx context.Context, agent registry.Agent, terms registry.Terms) (stored registry.Agent, asOf uint64, err error) {
	err = a.write(ctx, func() { a.changing(agent.ID) }, func() error {
		stored, asOf, err = a.live().Put(ctx, agent, terms)
		return err
	})
	return stored, asOf, err
}

// Delete implements registry.Backend.
func (a agents) Delete(ctx context.Context, id string) (asOf uint64, err error) {
	err = a.write(ctx, func() { a.changing(id) }, func() error {
		asOf, err = a.live().Delete(ctx, id)
		return err
	})
	return asOf, err
}

// Get implements registry.Backend.
func (a agents) Get(ctx context.Context, id string) (registry.Agent, error) {
	leave, err := a.enter(ctx)
	if err != nil {
		return registry.Agent{}, err
	}
	defer leave()
	if was, ok := old(a.view, a.world.remembered.agents, id); ok {
		if !was.found {
			return registry.Agent{}, readthrough.ErrNotFound
		}
		return was.agent, nil
	}
	return a.live().Get(ctx, id)
}

// List implements registry.Backend.
func (a agents) List(ctx context.Context, terms registry.Terms) (registry.Listing, error) {
	leave, err := a.enter(ctx)
	if err != nil {
		return registry.Listing{}, err
	}
	defer leave()
	all, err := a.live().List(ctx, terms)
	if err != nil || !a.late() {
		return all, err
	}
	was := a.world.remembered.agents
	all.Agents = slices.DeleteFunc(all.Agents, func(agent registry.Agent) bool { _, changed := was[agent.ID]; return changed })
	for _, old := range was {
		if old.found {
			all.Agents = append(all.Agents, old.agent)
		}
	}
	return all, nil
}

// Beat implements registry.Backend.
func (a agents) Beat(ctx context.Context, id string, terms registry.Terms) (revived bool, asOf uint64, err error) {
	err = a.write(ctx, func() { a.changing(id) }, func() error {
		revived, asOf, err = a.live().Beat(ctx, id, terms)
		return err
	})
	return revived, asOf, err
}

// Update implements registry.Backend.
func (a agents) Update(ctx context.Context, id string, u registry.Update) (changed bool, asOf uint64, err error) {
	err = a.write(ctx, func() { a.changing(id) }, func() error {
		changed, asOf, err = a.live().Update(ctx, id, u)
		return err
	})
	return changed, asOf, err
}

// Reap implements registry.Backend.
func (a agents) Reap(ctx context.Context, silence time.Duration, terms registry.Terms) (ids []string, asOf uint64, err error) {
	err = a.write(ctx, func() { a.changing(a.all(terms)...) }, func() error {
		ids, asOf, err = a.live().Reap(ctx, silence, terms)
		return err
	})
	return ids, asOf, err
}

// Flush implements registry.Backend.
func (a agents) Flush(ctx context.Context, terms registry.Terms) (asOf uint64, err error) {
	err = a.write(ctx, func() { a.changing(a.all(terms)...) }, func() error {
		asOf, err = a.live().Flush(ctx, terms)
		return err
	})
	return asOf, err
}
