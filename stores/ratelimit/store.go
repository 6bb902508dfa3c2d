package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
)

// Store counts and limits. Safe for concurrent use.
type Store struct {
	cfg     Config
	clock   clock
	outage  outage
	denied  *denied
	share   Memory // of LocalShare
	unwatch func()

	mu     sync.Mutex // guards leases, and wg against Close
	leases map[*Lease]struct{}
	closed atomic.Bool
	wg     sync.WaitGroup // flights and returns of the leases
}

// name is what telemetry calls the store.
const name = "ratelimit"

// New makes a Store. It does no I/O itself; a backend that is down shows in Health and in the errors of calls.
func New(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := newClock()
	s := &Store{cfg: cfg, clock: c, outage: outage{clock: c}, denied: newDenied(cfg.MaxDenied), leases: map[*Lease]struct{}{}}
	s.unwatch = sync.OnceFunc(cfg.Telemetry.Watch(name, s.snapshot))
	return s, nil
}

// call is reach for callers, who are refused after Close.
func (s *Store) call(ctx context.Context, f func(context.Context) error) error {
	if s.closed.Load() {
		return readthrough.ErrClosed
	}
	return s.reach(ctx, f)
}

// reach makes one call of the backend: not while it is known to be out, and no longer than Timeout.
func (s *Store) reach(ctx context.Context, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return gone(ctx)
	}
	hasty := inHaste(ctx, s.cfg.Timeout)
	known, err := s.outage.enter(s.cfg.Timeout, hasty)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	err = f(bounded)
	s.outage.leave(ctx, known, hasty, err)
	return err
}

// guarded is reach in goroutines of the leases, where a backend that panics would end the process.
func (s *Store) guarded(ctx context.Context, f func(context.Context) error) error {
	return s.reach(ctx, func(ctx context.Context) (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%w: the backend panicked: %v", readthrough.ErrUnavailable, r)
			}
		}()
		return f(ctx)
	})
}

// answers says whether the backend can be asked, and asks it, if a probe is due, for what may be lost.
func (s *Store) answers() bool {
	if _, cause := s.outage.state(); cause == nil {
		return true
	}
	err := s.guarded(context.Background(), func(ctx context.Context) error {
		_, err := s.cfg.Backend.Current(ctx, "ready")
		return err
	})
	return !errors.Is(err, readthrough.ErrUnavailable)
}

// Increment adds amount to the counter of a key and answers the window's new total, exact to 2^63-1. The first hit begins the
// window, of at least 1 ms, and later ones never move its end. An amount of 0 neither begins a window nor changes anything;
// a negative one is refused. Beside an error the total is 0 and means nothing: readthrough.ErrUnavailable (it is unknown
// whether amount was added), ErrOverflow, ErrNotCounter.
func (s *Store) Increment(ctx context.Context, key string, amount int64, window time.Duration) (total int64, err error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if amount < 0 {
		return 0, fmt.Errorf("ratelimit: the amount must be at least 0, got %d", amount)
	}
	if err := (Limit{Max: 1, Window: window}).Validate(); err != nil {
		return 0, err
	}
	err = s.call(ctx, func(ctx context.Context) error {
		var err error
		total, err = s.cfg.Backend.Increment(ctx, key, amount, window)
		return err
	})
	return only(total, err)
}

// Current answers the total of a key's window: 0 if none has begun or it is over. It changes nothing. A failure is an error,
// never 0: readthrough.ErrUnavailable, ErrNotCounter.
func (s *Store) Current(ctx context.Context, key string) (total int64, err error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	err = s.call(ctx, func(ctx context.Context) error {
		var err error
		total, err = s.cfg.Backend.Current(ctx, key)
		return err
	})
	return only(total, err)
}

func only(total int64, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return total, nil
}

// Reset forgets all that is counted under a key, with either algorithm. It is idempotent. This process's next call of the
// key asks the backend, and its leases of the key hold nothing any more, unless the backend was not even asked; another process
// goes on denying for at most its Config.Remember, and its leases may spend what they hold, at most a block each, or a call's
// permits if that is more.
func (s *Store) Reset(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	asked := false
	defer func() { s.forget(ctx, key, asked) }() // also when it is unknown whether it was done
	return s.call(ctx, func(ctx context.Context) error {
		asked = true
		return s.cfg.Backend.Reset(ctx, key)
	})
}

// forget drops what is known of a key, and what is held of it if the backend was asked to: else it is of a window that goes on. A
// block may be of the window that has begun since the Reset; one of the window before goes nowhere.
func (s *Store) forget(ctx context.Context, key string, asked bool) {
	_ = s.share.Reset(context.Background(), key)
	s.denied.forget(key)
	s.mu.Lock()
	open := make([]*Lease, 0, len(s.leases))
	for l := range s.leases {
		if l.cfg.Key == key {
			open = append(open, l)
		}
	}
	s.mu.Unlock()
	for _, l := range open {
		if !asked {
			l.denial.Store(nil)
			continue
		}
		b, n := l.forget()
		s.cfg.Telemetry.Report(name, "give back", l.giveBack(ctx, b, n))
	}
}

// Health says whether the backend is known to be out, and why.
func (s *Store) Health() invalidation.Health {
	if _, cause := s.outage.state(); cause != nil {
		return invalidation.Health{State: invalidation.Down, Err: cause}
	}
	return invalidation.Health{State: invalidation.Up}
}

// Ready returns nil when the backend answers.
func (s *Store) Ready(ctx context.Context) error {
	_, err := s.Current(ctx, "ready")
	if errors.Is(err, ErrNotCounter) {
		return nil
	}
	return err
}

// Close gives back what the leases hold, until ctx ends, and ends the store's goroutines. Calls after it are
// readthrough.ErrClosed. Safe to call twice: who closes the store, or closed a lease of it before, is waited for. An error says
// that permits could not be given back: they are lost to their window.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed.Store(true)
	open := make([]*Lease, 0, len(s.leases))
	for l := range s.leases {
		open = append(open, l)
	}
	s.mu.Unlock()
	var errs []error
	for _, l := range open {
		errs = append(errs, l.Close(ctx))
	}
	s.unwatch()
	done := make(chan struct{})
	go func() { // ends with the flights, each of which ends within two of Timeout
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, ctx.Err())
	}
	return errors.Join(errs...)
}
