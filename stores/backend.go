package stores

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/internal/gate"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
)

// Backend is an opened set of stores that share one Redis client, one bus and one database. Safe for concurrent use.
type Backend struct {
	policies   lazy[policy.Store, *policy.Store]
	sessions   lazy[session.Store, *session.Store]
	rateLimits lazy[ratelimit.Store, *ratelimit.Store]
	agents     lazy[registry.Store, *registry.Store]
	threads    lazy[checkpoint.Store, *checkpoint.Store]
	runs       lazy[runlog.Store, *runlog.Store]
	all        []opened // in the order of kinds

	mu      sync.Mutex // guards the fields below
	closed  bool
	ended   chan struct{}                         // made when Close begins, closed at its end
	closers [phases][]func(context.Context) error // the stores at once, each other phase from the last to the first
}

// The phases of Close: each thing after those that use it.
const (
	closeStores = iota
	closeLink
	closeDrivers // and the database
	closeClient
	phases
)

func (b *Backend) onClose(phase int, f func(context.Context) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closers[phase] = append(b.closers[phase], f)
}

// Health is the state of each store's bus, or of its backend where it has no bus. That of a store that was not made yet is
// the zero Health, which is up.
type Health struct {
	Policies, Sessions, RateLimits, Agents, Threads, Runs invalidation.Health
}

// Healthy says that everything works as configured.
func (h Health) Healthy() bool {
	for _, store := range []invalidation.Health{h.Policies, h.Sessions, h.RateLimits, h.Agents, h.Threads, h.Runs} {
		if store.State != invalidation.Up || store.Err != nil {
			return false
		}
	}
	return true
}

// Health is the state of the stores, for a liveness probe or a log. It does no I/O.
func (b *Backend) Health() Health {
	return Health{
		Policies: b.policies.health(), Sessions: b.sessions.health(), RateLimits: b.rateLimits.health(), Agents: b.agents.health(),
		Threads: b.threads.health(), Runs: b.runs.health(),
	}
}

// Ready returns nil when every store that was made holds a serving lease and reaches its authority, for a readiness probe.
// It waits for both until ctx ends, and answers at once while Redis is known to be out.
func (b *Backend) Ready(ctx context.Context) error {
	errs := make([]error, len(b.all))
	var asked sync.WaitGroup
	for i, store := range b.all {
		asked.Go(func() { errs[i] = store.ready(ctx) })
	}
	asked.Wait()
	return errors.Join(errs...)
}

// Close ends the stores, and closes what Open has opened. Safe to call twice: who comes later waits for the first, until ctx ends,
// and has no error but that.
func (b *Backend) Close(ctx context.Context) error {
	b.mu.Lock()
	again := b.closed
	if !again {
		b.closed, b.ended = true, make(chan struct{})
	}
	closers, ended := b.closers, b.ended
	b.mu.Unlock()
	if again {
		if err := gate.Again(ctx, ended); err != nil {
			return fmt.Errorf("stores: %w", err)
		}
		return nil
	}
	defer close(ended)
	errs := make([]error, len(closers[closeStores]))
	var closing sync.WaitGroup
	for i, c := range closers[closeStores] {
		closing.Go(func() { errs[i] = c(ctx) }) // all at once, so that one that waits does not take the others' time
	}
	closing.Wait()
	for _, phase := range closers[closeStores+1:] {
		for _, c := range slices.Backward(phase) {
			errs = append(errs, c(ctx))
		}
	}
	return errors.Join(errs...)
}
