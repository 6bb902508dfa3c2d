package registry

import (
	"context"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/stores/internal/tenants"
)

// Memory keeps agents in this process's memory: for tests, and for single processes that can lose it. A Store takes its
// tenant's part of it, and it is a Backend itself, for the tenant "". Stores without a Link that share it, under one Name and
// Tenant, tell each other of changes at once. The zero Memory is empty and ready for use. Who is gone is freed when asked for,
// and by lists and registrations.
type Memory struct {
	// Now is the clock. nil: time.Now. It is set before the first use.
	Now func() time.Time

	bus   invalidation.Local // of the stores without a Link
	rooms tenants.Of[room]
}

var _ Backend = (*Memory)(nil)

// tenant answers a tenant's room.
func (m *Memory) tenant(name string) *room {
	return m.rooms.Get(name, func() *room { return &room{of: m, agents: map[string]*resident{}} })
}

// Put implements Backend.
func (m *Memory) Put(ctx context.Context, a Agent, terms Terms) (Agent, uint64, error) {
	return m.tenant("").Put(ctx, a, terms)
}

// Delete implements Backend.
func (m *Memory) Delete(ctx context.Context, id string) (uint64, error) {
	return m.tenant("").Delete(ctx, id)
}

// Get implements Backend.
func (m *Memory) Get(ctx context.Context, id string) (Agent, error) {
	return m.tenant("").Get(ctx, id)
}

// List implements Backend.
func (m *Memory) List(ctx context.Context, terms Terms) (Listing, error) {
	return m.tenant("").List(ctx, terms)
}

// Beat implements Backend.
func (m *Memory) Beat(ctx context.Context, id string, terms Terms) (bool, uint64, error) {
	return m.tenant("").Beat(ctx, id, terms)
}

// Update implements Backend.
func (m *Memory) Update(ctx context.Context, id string, u Update) (bool, uint64, error) {
	return m.tenant("").Update(ctx, id, u)
}

// Reap implements Backend.
func (m *Memory) Reap(ctx context.Context, silence time.Duration, terms Terms) ([]string, uint64, error) {
	return m.tenant("").Reap(ctx, silence, terms)
}

// Flush implements Backend.
func (m *Memory) Flush(ctx context.Context, terms Terms) (uint64, error) {
	return m.tenant("").Flush(ctx, terms)
}
