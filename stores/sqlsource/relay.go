package sqlsource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/layercache/layercache/telemetry"
)

// Deliverer tells every process of changes. Implementations are safe for concurrent use, and every call ends with its
// context.
type Deliverer interface {
	// Deliver invalidates ids, or everything, as of a version at or above that of every change in the call. It returns
	// the epoch in which the invalidation was executed. The epoch is opaque here and compared for equality only.
	Deliver(ctx context.Context, ids []string, all bool, asOf uint64) (epoch string, err error)
	// Epoch reads the epoch as it is now, after the call began: from where Deliver executes, not from a cache of it.
	Epoch(ctx context.Context) (string, error)
}

// RelayConfig is what a Relay is made of.
type RelayConfig struct {
	// Log is whose outbox is delivered: one tenant's of one table. A relay touches no other tenant's rows, but for Abandon.
	Log *Log
	// Deliver does it.
	Deliver Deliverer
	// Namespace is what Telemetry is told it is about. Default: the table's name.
	Namespace string
	// Interval is R: a row that nobody delivered is delivered within it. The outbox is looked at every half of it.
	// Default: 500 ms; at least 10 ms.
	Interval time.Duration
	// Settle is how long after a delivery its epoch must still be the current one for the row to be final: the longest
	// that a primary which has been replaced may go on accepting. Default: 25 s.
	Settle time.Duration
	// Retain is how long a row stays as the change log: the longest time an L2 value lives, plus Settle. Default: 1 h;
	// at least Settle.
	Retain time.Duration
	// Abandon is how long the rows of a tenant stay, of whichever tenant of the table, when no relay looks after it: its
	// processes are gone, or it never had any. They are then removed though nobody delivered them, so it must be no less
	// than the Retain of any tenant of the table. Default: 72 h, or Retain if that is more; at least Retain.
	Abandon time.Duration
	// Listener wakes the relay when a foreign program commits (Driver.Listen). It takes a connection of the pool for as
	// long as the relay runs. All listeners together take at most half of a pool that is bounded; the other relays poll until
	// one ends. Default: none, polling alone.
	Listener ListenFunc
	// Telemetry is told of deliveries and failures. Default: the Source's.
	Telemetry telemetry.Telemetry
}

func (c RelayConfig) withDefaults() RelayConfig {
	if c.Interval == 0 {
		c.Interval = 500 * time.Millisecond
	}
	if c.Settle == 0 {
		c.Settle = 25 * time.Second
	}
	if c.Retain == 0 {
		c.Retain = max(time.Hour, c.Settle)
	}
	if c.Abandon == 0 {
		c.Abandon = max(72*time.Hour, c.Retain)
	}
	if c.Log != nil && c.Namespace == "" {
		c.Namespace = string(c.Log.name)
	}
	if c.Log != nil && c.Telemetry == nil {
		c.Telemetry = c.Log.source.telemetry
	}
	return c
}

func (c RelayConfig) validate() error {
	switch {
	case c.Log == nil:
		return errors.New("sqlsource: RelayConfig.Log is nil")
	case c.Deliver == nil:
		return errors.New("sqlsource: RelayConfig.Deliver is nil")
	case c.Interval < 10*time.Millisecond:
		return fmt.Errorf("sqlsource: RelayConfig.Interval must be at least 10ms, got %v", c.Interval)
	case c.Settle < 0:
		return fmt.Errorf("sqlsource: RelayConfig.Settle must be > 0, got %v", c.Settle)
	case c.Retain < c.Settle:
		return fmt.Errorf("sqlsource: RelayConfig.Retain must be at least Settle (%v), got %v", c.Settle, c.Retain)
	case c.Abandon < max(c.Retain, c.Interval):
		least := max(c.Retain, c.Interval)
		return fmt.Errorf("sqlsource: RelayConfig.Abandon must be at least Retain and Interval (%v), got %v", least, c.Abandon)
	}
	return nil
}

// Relay delivers what is in a tenant's outbox and nobody delivered. Run one in every process of the tenant: claims share
// the rows out, and any process can finish what another began. It is safe for concurrent use.
type Relay struct {
	cfg    RelayConfig
	outbox *outbox
	marks  *marks
	wake   chan struct{} // of one slot
	stop   context.CancelFunc
	ended  sync.WaitGroup
	done   chan struct{} // closed when ended

	failing bool // of the delivering goroutine: the last look at the outbox failed, and was reported
}

// NewRelay starts a relay. Close ends it.
func NewRelay(cfg RelayConfig) (*Relay, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Relay{
		cfg: cfg, outbox: newOutbox(cfg.Log), marks: newMarks(),
		wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	// Each of them ends with ctx, which Close cancels.
	r.ended.Go(func() { r.deliverAll(ctx) })
	r.ended.Go(func() { r.markAll(ctx) })
	if cfg.Listener != nil {
		r.ended.Go(func() { r.listen(ctx) })
	}
	go func() { r.ended.Wait(); close(r.done) }()
	return r, nil
}

// Close ends the relay: it stops delivering, gives back what it had claimed, records the deliveries it was told of, and
// waits for that, a few seconds at most, or until ctx ends. It may be called more than once.
func (r *Relay) Close(ctx context.Context) error {
	r.stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sqlsource: relay: close: %w", ctx.Err())
	}
}

// Delivered tells the relay that the writer of a version has delivered it itself, in an epoch. The database learns of
// it in batches, behind the caller, within a tenth of the interval.
func (r *Relay) Delivered(asOf uint64, epoch string) { r.marks.add(epoch, asOf) }

// nudge makes the relay look at the outbox now.
func (r *Relay) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// patience bounds one look at the outbox. A delivery has half of it, and the record of the delivery all of it: a claim
// stands for both, so that a relay that lives has done with it before another takes it over.
func (r *Relay) patience() time.Duration { return max(4*r.cfg.Interval, 2*time.Second) }

func (r *Relay) claimFor() time.Duration { return r.patience() + r.patience()/2 }

func (r *Relay) report(op string, err error) {
	r.cfg.Telemetry.Report(r.cfg.Namespace, op, err)
}

func (r *Relay) deliverAll(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Interval / 2)
	defer tick.Stop()
	for {
		err := r.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !r.failing {
			r.report("outbox", err)
		}
		r.failing = err != nil
		select {
		case <-tick.C:
		case <-r.wake:
		case <-ctx.Done():
			return
		}
	}
}

// look does all that the outbox asks for now.
func (r *Relay) look(ctx context.Context) error {
	p, err := bounded(ctx, r.patience(), func(ctx context.Context) (pending, error) {
		return r.outbox.peek(ctx, r.young())
	})
	if err != nil {
		return named("outbox", err)
	}
	var errs []error
	if p.settle {
		resent, err := bounded(ctx, r.patience(), func(ctx context.Context) (int64, error) { return r.settle(ctx, p.now) })
		errs = append(errs, err)
		p.due = p.due || resent > 0
	}
	if p.due {
		errs = append(errs, r.deliver(ctx))
	}
	if p.trim {
		_, err := bounded(ctx, r.patience(), func(ctx context.Context) (struct{}, error) { return struct{}{}, r.trim(ctx) })
		errs = append(errs, err)
	}
	if p.sweep {
		_, err := bounded(ctx, r.patience(), func(ctx context.Context) (struct{}, error) { return struct{}{}, r.sweep(ctx) })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// young is the age below which a row of one of our writers is left to it.
func (r *Relay) young() time.Duration { return r.cfg.Interval / 2 }

// deliver claims and delivers batch after batch until nothing is due or a delivery fails.
func (r *Relay) deliver(ctx context.Context) error {
	for {
		c, err := bounded(ctx, r.patience(), func(ctx context.Context) (claim, error) {
			return r.outbox.claim(ctx, r.young(), r.claimFor())
		})
		if err != nil {
			return named("outbox", err)
		}
		if c.rows == 0 {
			return nil
		}
		r.cfg.Telemetry.Count(r.cfg.Namespace, telemetry.OutboxTakenOver, int64(c.takenOver))
		ids := c.ids
		if c.whole {
			ids = nil
		}
		epoch, err := bounded(ctx, r.patience()/2, func(ctx context.Context) (string, error) {
			return r.cfg.Deliver.Deliver(ctx, ids, c.whole, c.asOf)
		})
		// What became of the claim is recorded also when the relay is closing.
		_, recordErr := bounded(context.WithoutCancel(ctx), r.patience(), func(after context.Context) (struct{}, error) {
			switch {
			case err == nil:
				return struct{}{}, r.outbox.delivered(after, c, epoch)
			case ctx.Err() != nil:
				return struct{}{}, r.outbox.failed(after, c.versions, 0)
			default:
				return struct{}{}, r.outbox.failed(after, c.versions, r.backoff(c.attempts))
			}
		})
		if err != nil {
			return fmt.Errorf("sqlsource: relay: deliver: %w", err)
		}
		r.cfg.Telemetry.Count(r.cfg.Namespace, telemetry.OutboxDelivered, int64(c.rows))
		if recordErr != nil {
			return named("outbox", recordErr)
		}
		if c.rows < claimBatch {
			return nil
		}
	}
}

// backoff is how long a row waits after an attempt that failed: an interval, doubled each time, ten at most.
func (r *Relay) backoff(attempts int) time.Duration {
	return min(r.cfg.Interval<<min(attempts-1, 4), 10*r.cfg.Interval)
}

// settle looks after the rows that were delivered and are not final. now is the database's clock before the call, so
// that the epoch is younger than every delivery it is compared with.
func (r *Relay) settle(ctx context.Context, now int64) (resent int64, err error) {
	mine, err := r.outbox.chore(ctx, "settle", r.cfg.Interval)
	if err != nil || !mine {
		return 0, err
	}
	epoch, err := r.cfg.Deliver.Epoch(ctx)
	if err != nil {
		return 0, fmt.Errorf("sqlsource: relay: epoch: %w", err)
	}
	resent, err = r.outbox.settle(ctx, epoch, now-r.cfg.Settle.Milliseconds(), now)
	if err != nil {
		return 0, named("outbox", err)
	}
	r.cfg.Telemetry.Count(r.cfg.Namespace, telemetry.OutboxResent, resent)
	return resent, nil
}

func (r *Relay) trim(ctx context.Context) error {
	mine, err := r.outbox.chore(ctx, "trim", min(max(r.cfg.Retain/4, r.cfg.Interval), time.Minute))
	if err == nil && mine {
		err = r.outbox.trim(ctx, r.cfg.Retain)
	}
	if err != nil {
		return named("trim", err)
	}
	return nil
}

func (r *Relay) sweep(ctx context.Context) error {
	mine, err := r.outbox.take(ctx, "", "sweep", min(max(r.cfg.Abandon/4, r.cfg.Interval), time.Hour))
	if err == nil && mine {
		err = r.outbox.sweep(ctx, r.cfg.Abandon)
	}
	if err != nil {
		return named("sweep", err)
	}
	return nil
}

// markAll records the writers' own deliveries, those of a tenth of an interval at a time, and the last ones when the
// relay closes.
func (r *Relay) markAll(ctx context.Context) {
	failing := false
	for closing := false; !closing; {
		select {
		case <-r.marks.wake:
			wait(ctx, r.cfg.Interval/10)
		case <-ctx.Done():
			closing = true
		}
		_, err := bounded(context.WithoutCancel(ctx), r.patience(), func(after context.Context) (struct{}, error) {
			return struct{}{}, r.flushMarks(after)
		})
		if err != nil && !failing {
			r.report("outbox marks", named("outbox marks", err))
		}
		if failing = err != nil; failing {
			wait(ctx, r.cfg.Interval)
		}
	}
}

// flushMarks records what there is; what cannot be recorded is kept for the next time.
func (r *Relay) flushMarks(ctx context.Context) error {
	var errs []error
	for epoch, versions := range r.marks.take() {
		if err := r.outbox.marked(ctx, versions, epoch); err != nil {
			r.marks.add(epoch, versions...)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// listen keeps a listener running. While there is none, polling finds what it would have told.
func (r *Relay) listen(ctx context.Context) {
	pool := r.cfg.Log.source.db
	for pause := r.cfg.Interval; ctx.Err() == nil; pause = min(2*pause, 10*r.cfg.Interval) {
		if listening.enter(pool) {
			err := r.cfg.Listener(ctx, pool, func() {
				pause = r.cfg.Interval // it works
				r.nudge()
			})
			listening.leave(pool)
			if ctx.Err() != nil {
				return
			}
			r.report("outbox listen", fmt.Errorf("sqlsource: relay: listen: %w", err))
		}
		wait(ctx, pause)
	}
}

// bounded calls do with a context that ends after d.
func bounded[T any](ctx context.Context, d time.Duration, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}

// wait passes d, or less if ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
