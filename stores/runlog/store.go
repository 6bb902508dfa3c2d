package runlog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/gate"
)

// Limits of one call.
const (
	// MaxBatch is how many events AppendBatch takes at most.
	MaxBatch = 1024
	// MaxBatchBytes is how long they may be together, in bytes.
	MaxBatchBytes = 8 << 20
	// MaxPage is how many events ListAfter answers at most.
	MaxPage = 10_000
)

// Store is a log of runs. Safe for concurrent use. See the package's documentation.
type Store struct {
	backend  Backend
	keep     Retention
	poll     time.Duration
	patience time.Duration
	direct   bool // no session id is kept in memory
	sessions *readthrough.Cache[string, string]
	tails    tails

	closing   chan struct{} // closed by Close
	writes    gate.Gate     // shut by Close, as the next is
	followers gate.Gate
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
	cache, err := readthrough.New(cfg.cache())
	if err != nil {
		return nil, fmt.Errorf("runlog: %w", err)
	}
	return &Store{
		backend: cfg.Backend, keep: cfg.retention(), poll: cfg.Poll, patience: cfg.Patience, direct: cfg.direct(), sessions: cache,
		tails: tails{ttl: cfg.TailTTL, max: cfg.MaxEntries}, closing: make(chan struct{}),
	}, nil
}

// Append adds an event to a run, and begins the run if there is none. The envelope has the event's sequence number; the
// event is stored when Append returns. An event that a run has under its id already is answered with its first envelope,
// whatever its bytes are now, also when the run has ended.
//
// ErrEnded: the run has a terminal event and this is a new one. After readthrough.ErrUnavailable it is unknown whether the
// event was stored, or will be: as long as its bytes are under way it may come, after a later write has returned too. To append
// the same Event again is safe if it has an ID, which is stored once, whichever comes first. After any other error nothing was
// stored and no number was spent, unless it is ErrUndecodable: then the event, or one of its batch, is there already and cannot
// be read, and the others are stored.
func (s *Store) Append(ctx context.Context, run string, event Event) (Envelope, error) {
	all, err := s.AppendBatch(ctx, run, []Event{event})
	if err != nil {
		return Envelope{}, err
	}
	return all[0], nil
}

// AppendBatch is Append of several events in one round trip: all of them are stored, under numbers that follow each other,
// or none. There are MaxBatch at most, and Config.MaxEvents. An event that is there already gets its first envelope, one that
// occurs twice the same envelope twice. Without events it does nothing.
func (s *Store) AppendBatch(ctx context.Context, run string, events []Event) ([]Envelope, error) {
	if err := s.check(run); err != nil || len(events) == 0 {
		return nil, err
	}
	if int64(len(events)) > s.keep.MaxEvents { // its first ones would go at once, and be stored again if it is repeated
		return nil, fmt.Errorf("runlog: append: a batch has at most Config.MaxEvents events, which is %d, got %d", s.keep.MaxEvents, len(events))
	}
	drafts, err := draftsOf(events)
	if err != nil {
		return nil, err
	}
	if err := s.writes.Enter(); err != nil {
		return nil, err
	}
	defer s.writes.Leave()
	asked := time.Now()
	added, err := s.backend.Append(ctx, run, drafts, s.keep)
	if err != nil {
		s.tails.forget(run) // they may be stored
		return nil, fmt.Errorf("runlog: append: %w", failure(err))
	}
	envelopes := make([]Envelope, len(drafts))
	last := -1
	for i, a := range added.Events {
		d := &drafts[i]
		if a.Stored != nil {
			if envelopes[i], err = ParseEnvelope(a.Stored); err != nil || envelopes[i].RunID != run {
				s.tails.forget(run) // the others are later than what is remembered
				return nil, fmt.Errorf("runlog: append: event %d of the batch is there already: %w", i+1, ErrUndecodable)
			}
			envelopes[i].life = added.Life
			continue
		}
		if added.Session == "" {
			added.Session = d.Session
		}
		envelopes[i] = Envelope{
			EventID: d.ID, Seq: a.Seq, RunID: run, SessionID: added.Session, Event: slices.Clone(d.Body), EmittedAt: d.EmittedAt,
			life: added.Life,
		}
		last = i
	}
	if last < 0 {
		s.tails.forget(run) // these may be later than what is remembered, and need not be the last
		return envelopes, nil
	}
	left := s.keep.MaxAge
	if drafts[last].Terminal {
		left = s.keep.KeepAfterEnd
	}
	s.tails.put(run, envelopes[last].clone(), asked, left)
	return envelopes, nil
}

func (e Envelope) clone() Envelope {
	e.Event = slices.Clone(e.Event)
	return e
}

// draftsOf checks events.
func draftsOf(events []Event) ([]Draft, error) {
	if len(events) > MaxBatch {
		return nil, fmt.Errorf("runlog: append: a batch has at most %d events, got %d", MaxBatch, len(events))
	}
	drafts := make([]Draft, len(events))
	size, now, unnamed := 0, time.Now(), 0
	for i, e := range events {
		d, err := e.draft(now)
		if err != nil {
			return nil, err
		}
		if size += len(d.Body); size > MaxBatchBytes {
			return nil, fmt.Errorf("runlog: append: a batch has at most %d bytes", MaxBatchBytes)
		}
		if d.ID == (EventID{}) {
			unnamed++
		}
		drafts[i] = d
	}
	name(drafts, unnamed, now)
	return drafts, nil
}

// name draws the ids that are missing, from random bytes that are asked for once.
func name(drafts []Draft, missing int, now time.Time) {
	if missing == 0 {
		return
	}
	random := make([]byte, 10*missing)
	_, _ = rand.Read(random) // never fails
	for i := range drafts {
		if drafts[i].ID == (EventID{}) {
			drafts[i].ID = eventIDAt(now, [10]byte(random))
			random = random[10:]
		}
	}
}

// Last answers the last event of a run: what this process remembers from at most TailTTL ago, never from before its own
// appends; else what the Backend says. readthrough.ErrNotFound: there is no such run, or it has had no event yet. A
// *TrimmedError: it has lost them all. A *DecodeError: it cannot be read.
func (s *Store) Last(ctx context.Context, run string) (Envelope, error) {
	if err := s.check(run); err != nil {
		return Envelope{}, err
	}
	if known, ok := s.tails.get(run); ok {
		return known.clone(), nil
	}
	asked := time.Now()
	slice, err := s.backend.Tail(ctx, run)
	if err != nil {
		return Envelope{}, fmt.Errorf("runlog: last: %w", failure(err))
	}
	switch {
	case len(slice.Records) == 0 && slice.Seq > 0:
		return Envelope{}, &TrimmedError{First: slice.Seq + 1, life: slice.Life}
	case len(slice.Records) == 0:
		return Envelope{}, readthrough.ErrNotFound
	}
	last, err := decode(run, slice.Records[0], slice.Life)
	if err != nil {
		return Envelope{}, err
	}
	s.tails.put(run, last.clone(), asked, slice.Left)
	return last, nil
}

// Session answers the session id of a run, or readthrough.ErrNotFound if there is no such run or it was not started yet.
// From memory it takes no round trip; that there is none is never from memory, nor from before the call.
func (s *Store) Session(ctx context.Context, run string) (string, error) {
	if err := s.check(run); err != nil {
		return "", err
	}
	if !s.direct {
		id, err := s.sessions.Get(ctx, run)
		if !errors.Is(err, readthrough.ErrNotFound) {
			return id, err
		}
		// The load may be one that was joined, from before the run was started: nobody is told of a start.
	}
	return s.sessions.Get(ctx, run, readthrough.Linearizable())
}

// Delete removes a run and returns when no process answers its session id any more. Followers end with ErrGone. A run that
// is not there is no error. If ctx ends after the run was removed it is a *readthrough.NotInForceError. After
// readthrough.ErrUnavailable it is unknown whether the run was removed, or will be: as long as its bytes are under way it may
// come, after a later write has returned too, and remove what was appended since. Delete may be called again; do not begin a
// run anew under this id.
func (s *Store) Delete(ctx context.Context, run string) error {
	receipt, err := s.DeleteAsync(ctx, run)
	if err != nil {
		return err
	}
	return receipt.Wait(ctx)
}

// DeleteAsync is Delete without the wait.
func (s *Store) DeleteAsync(ctx context.Context, run string) (*readthrough.Receipt, error) {
	if err := s.check(run); err != nil {
		return nil, err
	}
	if err := s.writes.Enter(); err != nil {
		return nil, err
	}
	defer s.writes.Leave() // Close delivers the message
	err := s.backend.Delete(ctx, run)
	s.tails.forget(run)
	receipt, lost := s.sessions.InvalidateAsync(ctx, run) // also if the outcome is unknown
	if err != nil {
		return nil, fmt.Errorf("runlog: delete: %w", failure(err))
	}
	if lost != nil {
		return nil, fmt.Errorf("runlog: delete: %w", &readthrough.NotInForceError{Committed: true, Pending: true, Err: lost})
	}
	return receipt, nil
}

// check refuses calls on a closed store, and runs that cannot be.
func (s *Store) check(run string) error {
	select {
	case <-s.closing:
		return readthrough.ErrClosed
	default:
	}
	switch {
	case run == "":
		return fmt.Errorf("runlog: run: %w: it is empty", readthrough.ErrInvalidKey)
	case len(run) > l2.MaxID:
		return fmt.Errorf("runlog: run: %w: it has more than %d bytes", readthrough.ErrInvalidKey, l2.MaxID)
	case !utf8.ValidString(run):
		return fmt.Errorf("runlog: run: %w: it is not UTF-8, so no envelope could name it", readthrough.ErrInvalidKey)
	}
	return nil
}

// Health is the state of the bus that tells of deleted runs.
func (s *Store) Health() invalidation.Health { return s.sessions.Health() }

// Ready returns nil when a serving lease is held and the Backend answers.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.check("ready"); err != nil {
		return err
	}
	if err := s.sessions.Ready(ctx); err != nil {
		return err
	}
	if _, err := s.backend.List(ctx, "ready", MaxSeq-1, 1); err != nil && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("runlog: %w", failure(err))
	}
	return nil
}

// Close ends the followers, waits for the writes under way, ends the store's part in the bus, and waits for the followers, all
// until ctx ends. An Import ends after the batch that is under way, with readthrough.ErrClosed. Calls after Close are
// readthrough.ErrClosed. Safe to call twice.
func (s *Store) Close(ctx context.Context) error {
	s.followers.Shut()
	if s.writes.Shut() {
		close(s.closing)
	}
	var errs []error
	if err := s.writes.Wait(ctx); err != nil { // of a deletion the bus has to tell
		errs = append(errs, fmt.Errorf("runlog: %w", err))
	}
	errs = append(errs, s.sessions.Close(ctx))
	if s.followers.Wait(ctx) != nil {
		errs = append(errs, fmt.Errorf("runlog: close: a follower's loop is still busy: %w", ctx.Err()))
	}
	return errors.Join(errs...)
}
