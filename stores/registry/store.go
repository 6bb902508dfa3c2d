package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/gate"
	"github.com/layercache/layercache/stores/sqlsource"
)

// Store is the registry: agents in a Backend, read from this process's memory, and every process told of what changes.
// Safe for concurrent use. See the package's documentation.
type Store struct {
	cfg     Config
	terms   Terms
	fresh   bool // memory may not answer
	backend Backend
	cache   *readthrough.Cache[string, *snapshot]
	relay   *sqlsource.Relay // nil: the backend has no outbox
	done    chan struct{}    // closed by Close, as it begins
	ended   chan struct{}    // and as it ends
	owned   []func(context.Context) error

	writes   gate.Gate  // shut by Close
	watching sync.Mutex // guards watched
	watched  *watched   // nil until the first Watch
}

// New makes a Store. It does no I/O itself, and Close ends it: a backend or a Redis that is down shows in Health and in the
// errors of calls.
func New(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{fresh: cfg.fresh(), done: make(chan struct{}), ended: make(chan struct{})}
	if r, ok := cfg.Backend.(*Redis); ok && cfg.Link == nil && cfg.Local == nil {
		link, err := invalidation.NewLink(invalidation.LinkConfig{Client: r.client, Telemetry: cfg.Telemetry})
		if err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
		cfg.Link = link
		s.owned = append(s.owned, link.Close)
	}
	if m, ok := cfg.Backend.(*Memory); ok {
		if cfg.Link == nil && cfg.Local == nil {
			cfg.Local = &m.bus // whoever shares the agents shares the changes
		}
		cfg.Backend = m.tenant(cfg.Tenant)
	}
	if cfg.Link == nil && cfg.Local == nil {
		cfg.Local = &invalidation.Local{Telemetry: cfg.Telemetry}
	}
	s.cfg, s.terms, s.backend = cfg, cfg.terms(), cfg.Backend
	var err error
	if s.cache, err = readthrough.New(cfg.cache()); err != nil {
		return nil, errors.Join(fmt.Errorf("registry: %w", err), s.end(context.Background()))
	}
	if logged, ok := cfg.Backend.(interface{ Log() *sqlsource.Log }); ok {
		var deliver sqlsource.Deliverer = deliverer{s.cache}
		if cfg.Link == nil {
			deliver = polled{}
		}
		s.relay, err = sqlsource.NewRelay(sqlsource.RelayConfig{
			Log: logged.Log(), Deliver: deliver, Namespace: cfg.Name, Interval: cfg.Relay, Settle: cfg.Settle,
			Retain: cfg.MaxAge + cfg.Settle, Listener: cfg.Listener, Telemetry: cfg.Telemetry,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("registry: %w", err), s.cache.Close(context.Background()), s.end(context.Background()))
		}
	}
	return s, nil
}

// read answers all agents, from memory if it may.
func (s *Store) read(ctx context.Context, opts ...readthrough.Option) (*snapshot, error) {
	if s.fresh { // a load that began before this call may have read before what it must show
		return s.cache.Get(ctx, everybody, append(slices.Clip(opts), readthrough.Linearizable())...)
	}
	return s.cache.Get(ctx, everybody, opts...)
}

// Get answers an agent, or an *Error with Unknown. From memory it makes no round trip and allocates nothing; LastHeartbeat is
// then as old as the list it comes from.
func (s *Store) Get(ctx context.Context, id string, opts ...readthrough.Option) (Agent, error) {
	if id == "" || s.fresh && len(opts) == 0 {
		return s.ask(ctx, id)
	}
	all, err := s.read(ctx, opts...)
	if err != nil {
		return Agent{}, coded("get", id, err)
	}
	return all.get(id)
}

// ask reads one agent from the backend.
func (s *Store) ask(ctx context.Context, id string) (Agent, error) {
	if err := checkID(id); err != nil {
		return Agent{}, err
	}
	if s.writes.IsShut() {
		return Agent{}, coded("get", id, readthrough.ErrClosed)
	}
	a, err := s.backend.Get(ctx, id)
	return a, coded("get", id, err)
}

// List answers all agents by id, offline ones too. It is one list at one moment, shared and immutable; from memory it makes
// no round trip and allocates nothing. A record that cannot be read is not in it; Get says so.
func (s *Store) List(ctx context.Context, opts ...readthrough.Option) (Agents, error) {
	all, err := s.read(ctx, opts...)
	if err != nil {
		return Agents{}, coded("list", "", err)
	}
	return Agents{all.agents}, nil
}

// Find answers the agents that a task may go to: Free and capable, the least loaded first, equally loaded ones by id. No
// such agent is an answer, not an error. What it answers may be taken meanwhile; Claim decides.
func (s *Store) Find(ctx context.Context, q Query, opts ...readthrough.Option) (Agents, error) {
	if q.Limit < 0 {
		return Agents{}, refused("query Limit must be at least 0, got %d", q.Limit)
	}
	all, err := s.read(ctx, opts...)
	if err != nil {
		return Agents{}, coded("find", "", err)
	}
	return all.find(q), nil
}

// Heartbeat says that an agent lives: LastHeartbeat becomes now, its TTL begins anew, and an Offline one is Available; a Busy one
// stays busy. It is one atomic step in one round trip. Other processes are told only if the status changed. An agent that is
// not there, or no longer, is an *Error with Unknown: it registers anew.
func (s *Store) Heartbeat(ctx context.Context, id string) error {
	if err := s.begin("heartbeat", id); err != nil {
		return err
	}
	defer s.writes.Leave()
	revived, asOf, err := s.backend.Beat(ctx, id, s.terms)
	if err != nil && !errors.Is(err, readthrough.ErrNotFound) && s.listed(id).Status != Offline {
		return coded("heartbeat", id, err) // if it has happened, it has changed nothing that anybody has in memory
	}
	_, err = s.wrote(ctx, "heartbeat", id, revived, asOf, err)
	return err
}

// listed is the agent as memory has it, also where it may not answer at the moment; the zero Agent if it does not.
func (s *Store) listed(id string) (a Agent) {
	if e, ok := s.cache.Held(everybody); ok {
		if i, ok := e.Value.index[id]; ok {
			a = e.Value.agents[i]
		}
	}
	return a
}

// Health is the state of the store's bus.
func (s *Store) Health() invalidation.Health { return s.cache.Health() }

// Ready returns nil when a serving lease is held and the backend answers.
func (s *Store) Ready(ctx context.Context) error {
	if s.writes.IsShut() {
		return coded("ready", "", readthrough.ErrClosed)
	}
	if err := s.cache.Ready(ctx); err != nil {
		return coded("ready", "", err)
	}
	// Whether there is such an agent does not matter.
	if _, err := s.backend.Get(ctx, "ready"); err != nil && !errors.Is(err, readthrough.ErrNotFound) && !errors.Is(err, errFaulty) {
		return coded("ready", "", err)
	}
	return nil
}

// Close ends the store, and every Watch. It writes the heartbeats that wait for their batch, waits for the writes under way,
// gives up the lease and tries to deliver what is pending, until ctx ends. Calls after it are readthrough.ErrClosed and write
// nothing. A write that takes longer than ctx is told to nobody: it is a *readthrough.NotInForceError with ErrClosed, and
// Config.MaxAge is the bound, with SQL Relay and Bound. Safe to call twice: who comes later waits for the first, until ctx ends.
func (s *Store) Close(ctx context.Context) error {
	if !s.writes.Shut() {
		if err := gate.Again(ctx, s.ended); err != nil {
			return fmt.Errorf("registry: %w", err)
		}
		return nil
	}
	defer close(s.ended)
	close(s.done)
	s.watching.Lock()
	w := s.watched
	s.watching.Unlock()
	var err error
	if b, ok := s.backend.(interface{ drain(context.Context) error }); ok {
		err = b.drain(ctx)
	}
	if late := s.writes.Wait(ctx); late != nil {
		err = errors.Join(err, fmt.Errorf("registry: %w", late))
	}
	if w != nil {
		err = errors.Join(err, w.close(ctx))
	}
	if s.relay != nil {
		err = errors.Join(err, s.relay.Close(ctx))
	}
	return errors.Join(err, s.cache.Close(ctx), s.end(ctx))
}

// end closes what the store has opened for itself, the last first.
func (s *Store) end(ctx context.Context) error {
	var errs []error
	for i := len(s.owned) - 1; i >= 0; i-- {
		errs = append(errs, s.owned[i](ctx))
	}
	return errors.Join(errs...)
}

// checkSilence refuses a silence that is no duration of one.
func checkSilence(d time.Duration) error {
	if d < 0 || d > 365*day {
		return refused("reap ttl must be from 0 to %s, got %s", 365*day, d)
	}
	return nil
}
