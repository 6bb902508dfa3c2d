package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/stores/sqlsource"
)

// SQLConfig describes a SQL backend. Zero fields mean their defaults; only Source is required.
type SQLConfig struct {
	// Source is the database, migrated. Used and never closed. Required.
	Source *sqlsource.Source
	// Tenant separates one tenant's agents from another's: letters, digits, '.', '_' and '-', at most 128. "": none.
	Tenant string
	// BeatDelay is how long a heartbeat waits for others to be written with it, in one statement. From 1 ms to 5 s; 0: 250 ms.
	BeatDelay time.Duration
	// BeatBatch is how many heartbeats are written without waiting longer. From 1 to 10,000; 0: 1,000.
	BeatBatch int
}

// SQL is a Backend in a SQL database, which is the authority: agents are rows of layercache_agents, and a change of them by
// any program is told to all processes. A heartbeat is told to none. Safe for concurrent use.
//
// Heartbeats are written together: a process makes one statement for those of a BeatDelay, or for a BeatBatch of them, and
// each Heartbeat gets its own answer, as soon as there is one. Those that bring an agent back from Offline cost the batch a
// second statement, for which no other waits; those of agents that another transaction holds are tried again by themselves,
// for 10 s. The first after a silence of the process costs one or two more.
type SQL struct {
	agents *sqlsource.Agents
	beats  batches

	mu   sync.Mutex // guards seen
	seen int64      // when this process was last in contact, by the database's clock in ms; 0: never yet. See contact.go
}

var (
	_ Backend          = (*SQL)(nil)
	_ invalidation.Log = (*SQL)(nil)
)

// NewSQL makes a SQL backend. It does no I/O.
func NewSQL(cfg SQLConfig) (*SQL, error) {
	if cfg.BeatDelay == 0 {
		cfg.BeatDelay = 250 * time.Millisecond
	}
	if cfg.BeatBatch == 0 {
		cfg.BeatBatch = 1000
	}
	switch {
	case cfg.Source == nil:
		return nil, errors.New("registry: SQLConfig.Source is required")
	case cfg.BeatDelay < time.Millisecond || cfg.BeatDelay > 5*time.Second:
		return nil, fmt.Errorf("registry: SQLConfig.BeatDelay must be from 1ms to 5s, got %s", cfg.BeatDelay)
	case cfg.BeatBatch < 1 || cfg.BeatBatch > 10_000:
		return nil, fmt.Errorf("registry: SQLConfig.BeatBatch must be from 1 to 10000, got %d", cfg.BeatBatch)
	}
	agents, err := cfg.Source.Agents(cfg.Tenant, word())
	if err != nil {
		return nil, fmt.Errorf("registry: SQLConfig.Tenant: %w", err)
	}
	s := &SQL{agents: agents}
	s.beats = batches{
		delay: cfg.BeatDelay, most: cfg.BeatBatch, within: beatTimeout, write: s.beat, revive: s.revive,
		open: map[Terms]*batch{}, all: map[*batch]struct{}{},
	}
	return s, nil
}

// Tenant is the tenant whose agents it keeps.
func (s *SQL) Tenant() string { return s.agents.Tenant() }

// Log is its change log.
func (s *SQL) Log() *sqlsource.Log { return s.agents.Log() }

// Changes implements invalidation.Log.
func (s *SQL) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	return s.agents.Changes(ctx, after, limit)
}

// sqlError makes an error of the database a failure, unless the database was not asked.
func sqlError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sqlsource.ErrBadID):
		return refused("agent ID must be UTF-8 without NUL bytes")
	case errors.Is(err, sqlsource.ErrBadDocument):
		return refused("agent must be UTF-8 without NUL bytes")
	}
	return layout.Unavailable(err)
}

// writeError is sqlError of a write, and says what is known of its outcome.
func writeError(err error) error { return sqlError(outcome(err)) }

func outcome(err error) error {
	_, unknown := errors.AsType[*sqlsource.UnknownOutcomeError](err)
	if err == nil || unknown || errors.Is(err, ErrUnchanged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnchanged, err)
}

// Put implements Backend.
func (s *SQL) Put(ctx context.Context, a Agent, terms Terms) (Agent, uint64, error) {
	row, err := rowOf(a)
	if err != nil {
		return Agent{}, 0, err
	}
	var stored sqlsource.Stored
	err = s.sign(ctx, terms.Grace, func(last sqlsource.Contact) (int64, error) {
		var err error
		stored, err = s.agents.Put(ctx, row, !a.LastHeartbeat.IsZero(), terms.TTL, last)
		return stored.At, err
	})
	if err != nil {
		return Agent{}, 0, writeError(err)
	}
	a.LastHeartbeat = time.UnixMilli(stored.Heartbeat).UTC()
	return a, stored.AsOf, nil
}

// Delete implements Backend.
func (s *SQL) Delete(ctx context.Context, id string) (uint64, error) {
	asOf, existed, err := s.agents.Delete(ctx, id)
	if err == nil && !existed {
		return 0, readthrough.ErrNotFound
	}
	return asOf, writeError(err)
}

// Get implements Backend.
func (s *SQL) Get(ctx context.Context, id string) (Agent, error) {
	list, err := s.agents.Get(ctx, id)
	switch {
	case err != nil:
		return Agent{}, sqlError(err)
	case len(list.Agents) == 0:
		return Agent{}, readthrough.ErrNotFound
	}
	return agentOf(list.Agents[0])
}

// List implements Backend.
func (s *SQL) List(ctx context.Context, _ Terms) (Listing, error) {
	list, err := s.agents.List(ctx)
	if err != nil {
		return Listing{}, sqlError(err)
	}
	l := Listing{Agents: make([]Agent, 0, len(list.Agents)), AsOf: list.AsOf}
	for _, row := range list.Agents {
		if a, err := agentOf(row); err == nil {
			l.Agents = append(l.Agents, a)
		} else {
			l.Faulty = append(l.Faulty, row.ID)
			if row.Faulty {
				continue // its end may be no time
			}
		}
		if left := time.Duration(row.Expires-list.Now) * time.Millisecond; l.Lasts == 0 || left < l.Lasts {
			l.Lasts = max(left, time.Nanosecond)
		}
	}
	return l, nil
}

// Beat implements Backend. It waits for its answer; to who does not, the outcome is unknown.
func (s *SQL) Beat(ctx context.Context, id string, terms Terms) (bool, uint64, error) {
	if err := checkID(id); err != nil { // one that the database refuses would take its whole batch along
		return false, 0, err
	}
	revived, asOf, err := s.beats.add(ctx, id, terms)
	if errors.Is(err, readthrough.ErrNotFound) {
		return false, 0, err
	}
	return revived, asOf, sqlError(err)
}

// drain is what a Store waits for before it is closed. Other Stores over this backend may go on.
func (s *SQL) drain(ctx context.Context) error { return s.beats.drain(ctx) }

// beat writes heartbeats.
func (s *SQL) beat(ctx context.Context, ids []string, terms Terms) (offline map[string]bool, held []string, err error) {
	err = s.sign(ctx, terms.Grace, func(last sqlsource.Contact) (at int64, err error) {
		offline, held, at, err = s.agents.Beat(ctx, ids, terms.TTL, last)
		return at, err
	})
	return offline, held, outcome(err)
}

func (s *SQL) revive(ctx context.Context, ids []string) (asOf uint64, err error) {
	asOf, err = s.agents.Revive(ctx, ids)
	return asOf, outcome(err)
}

// Update implements Backend.
func (s *SQL) Update(ctx context.Context, id string, u Update) (changed bool, asOf uint64, err error) {
	switch u.Kind {
	case SetStatus:
		asOf, changed, err = s.agents.SetStatus(ctx, id, string(u.Status))
	case SetLoad:
		asOf, changed, err = s.agents.SetLoad(ctx, id, int64(u.Load))
	case Take:
		asOf, changed, err = s.agents.Take(ctx, id)
	case Give:
		asOf, changed, err = s.agents.Give(ctx, id)
	default:
		return false, 0, refused("agent update of an unknown kind")
	}
	if err != nil {
		return false, 0, writeError(err)
	}
	if !changed { // because it is so already, or because there is no such agent
		if _, err = s.Get(ctx, id); err != nil && !errors.Is(err, readthrough.ErrNotFound) {
			err = outcome(err)
		}
	}
	return changed, asOf, err
}

// Reap implements Backend.
func (s *SQL) Reap(ctx context.Context, silence time.Duration, terms Terms) ([]string, uint64, error) {
	now, since, err := s.agents.Contact(ctx, terms.Grace)
	if err != nil {
		return nil, 0, sqlError(fmt.Errorf("%w: %w", ErrUnchanged, err))
	}
	heard := now - silence.Milliseconds()
	if heard < since {
		heard = 0 // nobody is silent, but for those who never beat
	}
	marked, asOf, err := s.agents.Reap(ctx, now, heard)
	ids := append([]string{}, marked...)
	slices.Sort(ids)
	return ids, asOf, writeError(err)
}

// Flush implements Backend.
func (s *SQL) Flush(ctx context.Context, _ Terms) (uint64, error) {
	asOf, err := s.agents.Flush(ctx)
	return asOf, writeError(err)
}

func rowOf(a Agent) (sqlsource.Agent, error) {
	capabilities, err := a.Capabilities.MarshalJSON()
	if err != nil {
		return sqlsource.Agent{}, err
	}
	return sqlsource.Agent{
		ID: a.ID, Name: a.Name, Capabilities: string(capabilities), Extra: "{" + strings.TrimPrefix(a.unknown, ",") + "}",
		Status: string(a.Status), CurrentLoad: int64(a.CurrentLoad), MaxLoad: int64(a.MaxLoad), Heartbeat: a.LastHeartbeat.UnixMilli(),
	}, nil
}

func agentOf(row sqlsource.Agent) (Agent, error) {
	extra, err := decode(row.Extra) // what it knows beside the unknown is in columns
	if err != nil || row.Faulty {
		return Agent{}, errFaulty
	}
	a := Agent{
		ID: row.ID, Name: row.Name, Status: Status(row.Status), LastHeartbeat: time.UnixMilli(row.Heartbeat).UTC(),
		CurrentLoad: int(row.CurrentLoad), MaxLoad: int(row.MaxLoad), unknown: extra.unknown,
	}
	if err := json.Unmarshal([]byte(row.Capabilities), &a.Capabilities); err != nil {
		return Agent{}, errFaulty
	}
	return a, nil
}
