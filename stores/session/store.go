package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/gate"
	"github.com/layercache/layercache/stores/layout"
)

// Store keeps sessions in a Backend and answers them from memory. Safe for concurrent use. See the package's documentation.
type Store struct {
	cache   *readthrough.Cache[ID, answer]
	backend Backend
	ttl     time.Duration
	direct  bool      // memory is off
	writes  gate.Gate // shut by Close
}

// New makes a Store. It does no I/O itself, and Close ends it.
func New(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if m, ok := cfg.Backend.(*Memory); ok {
		cfg.Backend = m.tenant(cfg.Tenant)
	}
	l := loader{backend: cfg.Backend, name: cfg.Name, keep: cfg.keep(), tel: cfg.Telemetry}
	if cfg.RearmOnLoad {
		l.rearm = cfg.TTL
	}
	cache, err := readthrough.New(cfg.cache(l))
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return &Store{cache: cache, backend: cfg.Backend, ttl: cfg.TTL, direct: l.keep == 0}, nil
}

// Load answers a session, or readthrough.ErrNotFound. Something under the id that is no session is a *DecodeError; other
// errors are those of readthrough's Get. A hit in memory makes no round trip and allocates nothing.
func (s *Store) Load(ctx context.Context, id ID, opts ...readthrough.Option) (Session, error) {
	if s.direct {
		opts = append(opts[:len(opts):len(opts)], readthrough.Linearizable())
	}
	a, err := s.cache.Get(ctx, id, opts...)
	switch {
	case err != nil:
		return Session{}, err
	case a.fault != nil:
		return Session{}, a.fault
	}
	return a.session, nil
}

// Save stores a session, in place of the one with its id, for TTL from now, and returns when that is in force: no Load that
// begins afterwards, in any process, answers from before it. If ctx ends after the write it is a
// *readthrough.NotInForceError: the session is stored, and its invalidation goes on. After readthrough.ErrUnavailable it is
// unknown whether it is stored. A StartedAt that has no nanoseconds of 64 bits is refused.
func (s *Store) Save(ctx context.Context, v Session) error {
	return s.writes.InForce(ctx, func() (*readthrough.Receipt, error) { return s.SaveAsync(ctx, v) })
}

// SaveAsync is Save without the wait: it returns after the write and one attempt to tell of it, which goes on if ctx ends. This
// process reads its own write from then on; the receipt's token reads it anywhere.
func (s *Store) SaveAsync(ctx context.Context, v Session) (*readthrough.Receipt, error) {
	rec, err := v.record()
	if err != nil {
		return nil, err
	}
	return s.change(ctx, "save", v.ID, func() error { return s.backend.Save(ctx, v.ID, rec, s.ttl) })
}

// Delete ends a session, if there is one, and returns when it is gone in every process. Its errors are Save's.
func (s *Store) Delete(ctx context.Context, id ID) error {
	return s.writes.InForce(ctx, func() (*readthrough.Receipt, error) { return s.DeleteAsync(ctx, id) })
}

// DeleteAsync is Delete without the wait.
func (s *Store) DeleteAsync(ctx context.Context, id ID) (*readthrough.Receipt, error) {
	return s.change(ctx, "delete", id, func() error { return s.backend.Delete(ctx, id) })
}

// change writes and tells every process. A write whose outcome is unknown is treated as one that happened.
func (s *Store) change(ctx context.Context, op string, id ID, write func() error) (*readthrough.Receipt, error) {
	if err := s.begin(ctx, op); err != nil {
		return nil, err
	}
	defer s.writes.Leave()
	failed := write()
	r, err := s.cache.InvalidateAsync(ctx, id)
	switch {
	case failed != nil:
		return nil, fmt.Errorf("session: %s: %w", op, layout.Unavailable(failed))
	case err != nil: // Close did not wait any longer
		return nil, fmt.Errorf("session: %s: %w", op, &readthrough.NotInForceError{Committed: true, Pending: true, Err: err})
	}
	return r, nil
}

// Touch lets a session live for TTL from now, and no shorter than it would anyway. A session that has ended is
// readthrough.ErrNotFound and stays ended, and every process is told. Something under the id that is no hash is a *DecodeError.
func (s *Store) Touch(ctx context.Context, id ID) error {
	if err := s.begin(ctx, "touch"); err != nil {
		return err
	}
	defer s.writes.Leave()
	found, err := s.backend.Touch(ctx, id, s.ttl)
	if fault := faultOf(err); fault != nil {
		return fault
	}
	if err != nil {
		return fmt.Errorf("session: touch: %w", layout.Unavailable(err))
	}
	// Memory may say otherwise where nobody was told: of another program's write, or of the loss of the backend's data.
	if e, ok := s.cache.Held(id); !found || ok && e.Absent {
		_, _ = s.cache.InvalidateAsync(ctx, id) // an error: closed meanwhile, and nothing is answered any more
	}
	if !found {
		return readthrough.ErrNotFound
	}
	return nil
}

// begin begins a write, which ends with writes.Leave, or says why nothing may be written any more.
func (s *Store) begin(ctx context.Context, op string) error {
	if err := s.writes.Enter(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		s.writes.Leave()
		return fmt.Errorf("session: %s: %w", op, err)
	}
	return nil
}

// Health is the state of the store's bus.
func (s *Store) Health() invalidation.Health { return s.cache.Health() }

// Ready returns nil when a serving lease is held and the backend answers.
func (s *Store) Ready(ctx context.Context) error {
	if s.writes.IsShut() {
		return readthrough.ErrClosed
	}
	if err := s.cache.Ready(ctx); err != nil {
		return err
	}
	if _, _, _, err := s.backend.Load(ctx, ID{}, 0); err != nil && faultOf(err) == nil {
		return fmt.Errorf("session: %w", layout.Unavailable(err))
	}
	return nil
}

// Close ends the store: it waits for the writes under way, gives up the lease and tries to deliver what is pending, until ctx
// ends. Calls after it are readthrough.ErrClosed and write nothing. A write that takes longer than ctx is told to nobody: it is
// a *readthrough.NotInForceError with ErrClosed, and Config.MemoryTTL is the bound. Safe to call twice.
func (s *Store) Close(ctx context.Context) error {
	s.writes.Shut()
	err := s.writes.Wait(ctx)
	if err != nil {
		err = fmt.Errorf("session: %w", err)
	}
	return errors.Join(err, s.cache.Close(ctx))
}
