package registry

import (
	"context"
	"time"
)

// Backend keeps the records: *Memory, *Redis, *SQL, or another's that passes storetest.Registries. Every method is one atomic
// step, so that a heartbeat neither loses a registration nor brings back what was removed, and ends with its context.
// Implementations are safe for concurrent use.
//
// Time is the backend's own: its clock, the same for all processes. An agent of which nothing was heard for Terms.TTL is gone
// from every answer. An absence is readthrough.ErrNotFound; any other error means that nothing is known,
// unless it is ErrUnchanged: then a write has not happened, and nobody is told of it.
//
// The versions (asOf) are for a backend that has a change log; others answer 0.
type Backend interface {
	// Put stores an agent in place of what is there and counts as a sign of life. A LastHeartbeat that is zero or still to
	// come becomes now. It answers the agent as stored.
	Put(ctx context.Context, a Agent, terms Terms) (stored Agent, asOf uint64, err error)
	// Delete removes an agent. One that is not there is readthrough.ErrNotFound.
	Delete(ctx context.Context, id string) (asOf uint64, err error)
	// Get reads an agent.
	Get(ctx context.Context, id string) (Agent, error)
	// List reads all agents.
	List(ctx context.Context, terms Terms) (Listing, error)
	// Beat is a sign of life: it sets LastHeartbeat, begins Terms.TTL anew and makes Offline Available; nothing else changes.
	// revived says that the status changed.
	Beat(ctx context.Context, id string, terms Terms) (revived bool, asOf uint64, err error)
	// Update changes the status or the load. It is no sign of life. changed is false where the record stays as it was.
	Update(ctx context.Context, id string, u Update) (changed bool, asOf uint64, err error)
	// Reap marks offline who was silent for longer than silence and answers their ids. It marks nobody before it has seen
	// silence pass without a loss of data or of contact; see Terms.Grace.
	Reap(ctx context.Context, silence time.Duration, terms Terms) (ids []string, asOf uint64, err error)
	// Flush removes every agent of this registry and nothing else.
	Flush(ctx context.Context, terms Terms) (asOf uint64, err error)
}

// Terms are the rules that all processes of a registry keep.
type Terms struct {
	// TTL is how long an agent stays without a sign of life.
	TTL time.Duration
	// Grace is how long the registry may hear nothing from anybody, no heartbeat and no Reap, before that is taken for a loss
	// of contact: whoever lived through it gets the whole silence anew before Reap may mark it. 0: it is never taken so.
	Grace time.Duration
	// Foreign: other programs store agents too, without a message. List, Reap and Flush look for them.
	Foreign bool
}

// Update is one change of a status or a load.
type Update struct {
	// Kind says what changes.
	Kind UpdateKind
	// Status is the new one, for SetStatus.
	Status Status
	// Load is the new one, for SetLoad.
	Load int
}

// UpdateKind is what an Update changes.
type UpdateKind uint8

const (
	// SetStatus sets the status.
	SetStatus UpdateKind = iota + 1
	// SetLoad sets the current load.
	SetLoad
	// Take adds one to the current load of an agent that is Free, and changes nothing of another.
	Take
	// Give takes one from the current load, down to 0.
	Give
)

// apply changes an agent and says whether it did.
func (u Update) apply(a *Agent) bool {
	before := *a
	switch u.Kind {
	case SetStatus:
		a.Status = u.Status
	case SetLoad:
		a.CurrentLoad = u.Load
	case Take:
		if a.Free() {
			a.CurrentLoad++
		}
	case Give:
		a.CurrentLoad = max(0, a.CurrentLoad-1)
	}
	return a.Status != before.Status || a.CurrentLoad != before.CurrentLoad
}

// Listing is all agents at one moment.
type Listing struct {
	// Agents in any order, none twice. The caller owns the slice.
	Agents []Agent
	// Faulty are the ids of records that cannot be read. They are neither agents nor absent.
	Faulty []string
	// Lasts is how long the list is good for if nothing is heard: until the first of the agents is gone. 0: nobody can go.
	Lasts time.Duration
	// AsOf is the version.
	AsOf uint64
}
