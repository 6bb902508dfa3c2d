package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/gate"
	"github.com/layercache/layercache/telemetry"
)

// Store keeps the states of threads. Safe for concurrent use. See the package's documentation.
type Store struct {
	cfg    Config
	cache  *readthrough.Cache[string, State] // nil: there is no L1
	writes gate.Gate                         // shut by Close
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
	s := &Store{cfg: cfg}
	if cfg.cached() {
		cache, err := readthrough.New(cfg.cache(loader{cfg}))
		if err != nil {
			return nil, fmt.Errorf("checkpoint: %w", err)
		}
		s.cache = cache
	}
	return s, nil
}

// Saved is a save or a deletion after it was done.
type Saved struct {
	// Version of the state that was saved; 0 of a deletion.
	Version Version
	receipt *readthrough.Receipt
}

// Token makes a Load in any process answer this change or a later one: Load(ctx, id, readthrough.AtLeast(token)). Where
// there is no L1 it is "", and no Load needs it.
func (s Saved) Token() readthrough.Token {
	if s.receipt == nil {
		return ""
	}
	return s.receipt.Token()
}

// Wait returns when the change is in force: no Load that begins afterwards, in any process, is answered from before it. If ctx ends
// first it is a *readthrough.NotInForceError; the change stands.
func (s Saved) Wait(ctx context.Context) error {
	if s.receipt == nil {
		return nil
	}
	return s.receipt.Wait(ctx)
}

// Save makes state the state of a thread, whatever it was before. It returns when the state is stored and the other processes
// were told, and does not wait until all of them have heard it: see Saved. A Load in this process answers it from then on.
//
// A state above Config.MaxState is a *TooLargeError, and an empty or too long id readthrough.ErrInvalidKey; nothing was
// done then. After readthrough.ErrUnavailable it is unknown whether the state was saved.
func (s *Store) Save(ctx context.Context, id string, state []byte) (Saved, error) {
	return s.save(ctx, id, state, Write{})
}

// SaveIf is Save if the thread still has the version that was loaded, and ErrConflict otherwise. Version 0 asks that it does
// not exist. The backend decides that in one step: of two workers that loaded the same version one saves. A Load after
// a conflict answers what was saved meanwhile.
//
// After readthrough.ErrUnavailable it is unknown whether the state was saved; trying again is ErrConflict if it was.
func (s *Store) SaveIf(ctx context.Context, id string, state []byte, version Version) (Saved, error) {
	return s.save(ctx, id, state, Write{Conditional: true, Expect: version})
}

func (s *Store) save(ctx context.Context, id string, state []byte, w Write) (Saved, error) {
	if err := s.begin(ctx, "save", id); err != nil {
		return Saved{}, err
	}
	defer s.writes.Leave()
	if len(state) > s.cfg.MaxState {
		return Saved{}, &TooLargeError{Size: int64(len(state)), Limit: int64(s.cfg.MaxState)}
	}
	w.Value, w.TTL, w.Foreign = seal(state, s.cfg.CompressAbove), s.cfg.TTL, s.cfg.Foreign
	version, err := s.cfg.Backend.Save(ctx, id, w)
	switch {
	case errors.Is(err, ErrConflict):
		s.cfg.Telemetry.Count(s.cfg.Name, telemetry.StateConflict, 1)
	case err == nil:
		s.cfg.Telemetry.Count(s.cfg.Name, telemetry.StateSaved, 1)
		s.cfg.Telemetry.Count(s.cfg.Name, telemetry.StateSavedBytes, int64(len(state)))
		s.cfg.Telemetry.Count(s.cfg.Name, telemetry.StateStoredBytes, int64(len(w.Value)))
	}
	return s.written(ctx, "save", id, Saved{Version: version}, err)
}

// Delete removes a thread, if it exists, with its pin. It returns when that is in force: no Load that begins afterwards, in any
// process, answers it. If ctx ends before, it is a *readthrough.NotInForceError and the thread is deleted. After
// readthrough.ErrUnavailable that is unknown; to delete again does no harm.
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.writes.InForce(ctx, func() (*readthrough.Receipt, error) {
		deleted, err := s.DeleteAsync(ctx, id)
		if deleted.receipt == nil {
			deleted.receipt = &readthrough.Receipt{} // without L1 it is in force
		}
		return deleted.receipt, err
	})
}

// DeleteAsync is Delete without the wait.
func (s *Store) DeleteAsync(ctx context.Context, id string) (Saved, error) {
	if err := s.begin(ctx, "delete", id); err != nil {
		return Saved{}, err
	}
	defer s.writes.Leave()
	return s.written(ctx, "delete", id, Saved{}, s.cfg.Backend.Delete(ctx, id))
}

// written tells every process of a write. After a failure too, since it may have been done all the same; and after a
// conflict, since what was loaded is old, and whoever made it so may have died before it told us.
func (s *Store) written(ctx context.Context, op, id string, saved Saved, err error) (Saved, error) {
	err = failed(op, err)
	if s.cache == nil {
		if err != nil {
			return Saved{}, err
		}
		return saved, nil
	}
	r, lost := s.cache.InvalidateAsync(ctx, id)
	switch {
	case err != nil:
		return Saved{}, err
	case lost != nil: // Close did not wait any longer
		return saved, fmt.Errorf("checkpoint: %s: %w", op, &readthrough.NotInForceError{Committed: true, Pending: true, Err: lost})
	}
	saved.receipt = r
	return saved, nil
}

// Touch lets a thread live for Config.TTL from now on, as if it had been saved; its state, version and place in the list stay. One
// that is pinned stays so. readthrough.ErrNotFound: there is none.
func (s *Store) Touch(ctx context.Context, id string) error {
	return s.keep(ctx, "touch", id, Keep{TTL: s.cfg.TTL})
}

// Pin exempts a thread from its end, until Unpin or Delete; saves keep the pin. readthrough.ErrNotFound: there is none.
func (s *Store) Pin(ctx context.Context, id string) error {
	return s.keep(ctx, "pin", id, Keep{Pin: true, TTL: s.cfg.TTL})
}

// Unpin ends a pin: the thread lives for Config.TTL from now on. readthrough.ErrNotFound: there is no thread.
func (s *Store) Unpin(ctx context.Context, id string) error {
	return s.keep(ctx, "unpin", id, Keep{Unpin: true, TTL: s.cfg.TTL})
}

func (s *Store) keep(ctx context.Context, op, id string, k Keep) error {
	if err := s.begin(ctx, op, id); err != nil {
		return err
	}
	defer s.writes.Leave()
	return failed(op, s.cfg.Backend.Keep(ctx, id, k))
}

// begin begins a write, which ends with writes.Leave, or refuses what no backend is asked to write.
func (s *Store) begin(ctx context.Context, op, id string) error {
	if err := s.check(id); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return failed(op, err)
	}
	return s.writes.Enter()
}

// check refuses what no backend is asked.
func (s *Store) check(id string) error {
	if s.writes.IsShut() {
		return readthrough.ErrClosed
	}
	if _, err := l2.NewID(id); err != nil {
		return fmt.Errorf("checkpoint: %w: %w", readthrough.ErrInvalidKey, err)
	}
	return nil
}

// knows says whether an error is an answer, and not the failure to get one.
func knows(err error) bool {
	return errors.Is(err, readthrough.ErrNotFound) || errors.Is(err, ErrConflict) || errors.Is(err, readthrough.ErrInvalidKey)
}

// Health is the state of the store's bus; the zero Health, which is Up, without L1.
func (s *Store) Health() invalidation.Health {
	if s.cache == nil {
		return invalidation.Health{}
	}
	return s.cache.Health()
}

// Ready returns nil when the backend answers and, with L1, a serving lease is held.
func (s *Store) Ready(ctx context.Context) error {
	if s.writes.IsShut() {
		return readthrough.ErrClosed
	}
	if s.cache != nil {
		if err := s.cache.Ready(ctx); err != nil {
			return err
		}
	}
	return failed("ready", s.cfg.Backend.Ping(ctx))
}

// Close ends the store: it waits for the writes under way, gives up the lease and tries to deliver what is pending, until ctx
// ends. Calls after it are readthrough.ErrClosed and write nothing. A write that takes longer than ctx is told to nobody: it is
// a *readthrough.NotInForceError with ErrClosed. Safe to call twice.
func (s *Store) Close(ctx context.Context) error {
	s.writes.Shut()
	err := s.writes.Wait(ctx)
	if err != nil {
		err = fmt.Errorf("checkpoint: %w", err)
	}
	if s.cache == nil {
		return err
	}
	return errors.Join(err, s.cache.Close(ctx))
}
