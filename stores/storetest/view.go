package storetest

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
	"github.com/layercache/layercache/stores/sqlsource"
)

// records are what all processes of a test share.
type records struct {
	policies policy.Memory
	sessions session.Memory
	limits   ratelimit.Memory
	agents   registry.Memory
	threads  checkpoint.Memory
	runs     runlog.Memory
}

// remembered is what was true when this process became late, of that which has changed elsewhere since then.
type remembered struct {
	policies map[string]oldPolicy
	sessions map[session.ID]oldSession
	agents   map[string]oldAgent
	threads  map[string]oldThread
	runs     map[string]runlog.Slice // with all records
}

type oldPolicy struct {
	record sqlsource.Record
	found  bool
}

type oldSession struct {
	record session.Record
	ends   time.Time
	found  bool
}

type oldAgent struct {
	agent registry.Agent
	found bool
}

type oldThread struct {
	record checkpoint.Record
	thread checkpoint.Thread
	found  bool
}

// changing is called before a write of one record, with the world held: a write elsewhere makes a late process remember what
// was there, and its own makes it forget.
func changing[K comparable, V any](v *view, m *map[K]V, id K, read func() V) {
	switch {
	case !v.world.stale:
	case v.here:
		delete(*m, id)
	default:
		if *m == nil {
			*m = map[K]V{}
		}
		if _, known := (*m)[id]; !known {
			(*m)[id] = read()
		}
	}
}

// old answers what a late process remembers. The world is held.
func old[K comparable, V any](v *view, m map[K]V, id K) (V, bool) {
	if !v.late() {
		var none V
		return none, false
	}
	was, ok := m[id]
	return was, ok
}

// write makes one write: before runs with the world held, and so does do.
func (v *view) write(ctx context.Context, before func(), do func() error) error {
	leave, err := v.enter(ctx)
	if err != nil {
		return err
	}
	before()
	err = do()
	leave()
	v.told()
	return err
}

// driver keeps every kind in the world, as the process sees it.
func (v *view) driver() stores.Driver {
	joined := func(o *stores.Opening) error { return v.join(o.Local()) }
	return stores.Driver{
		InProcess:  true,
		Policies:   func(_ context.Context, o *stores.Opening) (policy.Authority, error) { return policies{v}, joined(o) },
		Sessions:   func(_ context.Context, o *stores.Opening) (session.Backend, error) { return sessionView{v}, joined(o) },
		RateLimits: func(_ context.Context, o *stores.Opening) (ratelimit.Backend, error) { return limits{v}, joined(o) },
		Agents:     func(_ context.Context, o *stores.Opening) (registry.Backend, error) { return agents{v}, joined(o) },
		Threads:    func(_ context.Context, o *stores.Opening) (checkpoint.Backend, error) { return threads{v}, joined(o) },
		Runs:       func(_ context.Context, o *stores.Opening) (runlog.Backend, error) { return runs{v}, joined(o) },
	}
}
