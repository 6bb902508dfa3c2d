package readthrough

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/telemetry"
)

// AuditConfig describes an Auditor. Zero fields mean their defaults.
type AuditConfig[K comparable, V any] struct {
	// Cache is whose hits are audited. Required.
	Cache *Cache[K, V]
	// Every is how often a hit is audited: each costs one read of the authority, seldom a second where that has no versions.
	// From 1 ms to 1 h; 0: 1 s.
	Every time.Duration
	// After is how long after a change became visible in the authority every hit must show it: the cache's bound, and where
	// other programs change the authority the time until a relay or the poll notices. At least the cache's Bound, at most 1 h;
	// 0: Bound and 1 s.
	After time.Duration
	// Equal says whether two values are the same record. nil: reflect.DeepEqual.
	Equal func(a, b V) bool
}

func (c AuditConfig[K, V]) withDefaults() AuditConfig[K, V] {
	setDefault(&c.Every, time.Second)
	if c.Cache != nil {
		setDefault(&c.After, min(c.Cache.bound+time.Second, time.Hour))
	}
	if c.Equal == nil {
		c.Equal = func(a, b V) bool { return reflect.DeepEqual(a, b) }
	}
	return c
}

func (c AuditConfig[K, V]) validate() error {
	switch {
	case c.Cache == nil:
		return errors.New("readthrough: AuditConfig.Cache is required")
	case c.Every < time.Millisecond || c.Every > time.Hour:
		return fmt.Errorf("readthrough: AuditConfig.Every must be from 1ms to 1h, got %s", c.Every)
	case c.After < c.Cache.bound || c.After > time.Hour:
		return fmt.Errorf("readthrough: AuditConfig.After must be from the cache's Bound (%s) to 1h, got %s", c.Cache.bound, c.After)
	}
	return nil
}

// AuditReport is what an Auditor has found.
type AuditReport struct {
	// Fresh hits were as fresh as they had to be, Stale ones were not: that count must stay 0. Unknown ones could not be
	// judged: the authority failed, or it has no versions and the record changed again meanwhile.
	Fresh, Stale, Unknown uint64
	// Oldest is how long before its audit the oldest hit had been read from the authority. A record that does not change may
	// be old and fresh.
	Oldest time.Duration
}

// Auditor checks a cache in production: it reads a record that L1 holds from the authority, waits until every hit must show
// what it has read, and then takes a hit and compares. It reports to the cache's telemetry as layercache.audit. What other
// callers pay for a hit is not changed by it. Safe for concurrent use.
type Auditor[K comparable, V any] struct {
	cfg  AuditConfig[K, V]
	stop context.CancelFunc
	done chan struct{}

	fresh, stale, unknown atomic.Uint64
	oldest                atomic.Int64
}

// NewAuditor starts an Auditor. Close ends it, before the cache is closed.
func NewAuditor[K comparable, V any](cfg AuditConfig[K, V]) (*Auditor[K, V], error) {
	if cfg.Every < 0 || cfg.After < 0 {
		return nil, errors.New("readthrough: AuditConfig.Every and After must not be negative")
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Auditor[K, V]{cfg: cfg, stop: stop, done: make(chan struct{})}
	go a.run(ctx) // ends with ctx, which Close cancels
	return a, nil
}

// Close ends the auditor and waits for it until ctx ends. Safe to call twice.
func (a *Auditor[K, V]) Close(ctx context.Context) error {
	a.stop()
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Report is what was found so far.
func (a *Auditor[K, V]) Report() AuditReport {
	return AuditReport{Fresh: a.fresh.Load(), Stale: a.stale.Load(), Unknown: a.unknown.Load(), Oldest: time.Duration(a.oldest.Load())}
}

// seen is what the authority answered.
type seen[K comparable, V any] struct {
	key    K
	before *item[V] // what L1 held before that
	loaded Loaded[V]
	absent bool
	due    time.Time // when a hit must show it
}

// run reads a record every Every, and judges it After later. As many records are under way as fit into that time.
func (a *Auditor[K, V]) run(ctx context.Context) {
	defer close(a.done)
	tick := time.NewTicker(a.cfg.Every)
	defer tick.Stop()
	var waiting []seen[K, V] // by due
	next := time.NewTimer(time.Hour)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s, ok := a.look(ctx); ok && len(waiting) < maxWaiting {
				waiting = append(waiting, s)
			}
		case <-next.C:
		}
		for len(waiting) > 0 && time.Until(waiting[0].due) <= 0 {
			a.judge(ctx, waiting[0])
			waiting = waiting[1:]
		}
		if len(waiting) > 0 {
			next.Reset(time.Until(waiting[0].due))
		}
	}
}

// maxWaiting bounds what is remembered between reading and judging.
const maxWaiting = 1 << 12

// look reads the authority for some key of L1.
func (a *Auditor[K, V]) look(ctx context.Context) (s seen[K, V], ok bool) {
	e, ok := a.cfg.Cache.l1.Sample(rand.Uint64())
	if !ok {
		return s, false
	}
	s.key, s.before = e.Key, e.Value
	if s.loaded, s.absent, ok = a.ask(ctx, s.key); !ok {
		a.count(ctx, &a.unknown, telemetry.AuditUnknown)
		return s, false
	}
	s.due = time.Now().Add(a.cfg.After)
	return s, true
}

// ask reads the authority as a load does, within the number of loads that the cache may have under way.
func (a *Auditor[K, V]) ask(ctx context.Context, key K) (loaded Loaded[V], absent, ok bool) {
	c := a.cfg.Cache
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.LoadTimeout, errLoadTimeout)
	defer cancel()
	if c.slots.take(ctx) != nil {
		return loaded, false, false
	}
	defer c.slots.free()
	loaded, err := c.ask(ctx, key)
	absent = errors.Is(err, ErrNotFound)
	return loaded, absent, err == nil || absent
}

// judge takes a hit and compares it with what the authority had answered. Without a hit there is nothing to judge.
func (a *Auditor[K, V]) judge(ctx context.Context, s seen[K, V]) {
	it, _ := a.cfg.Cache.hit(s.key)
	if it == nil {
		return
	}
	age := max(0, time.Since(it.read))
	a.cfg.Cache.tel.Observe(a.cfg.Cache.cfg.Name, telemetry.AuditAge, age)
	for {
		old := a.oldest.Load()
		if int64(age) <= old || a.oldest.CompareAndSwap(old, int64(age)) {
			break
		}
	}
	versions := it.asOf > 0 && s.loaded.AsOf > 0
	switch {
	case versions && it.asOf >= s.loaded.AsOf, a.same(it, s.loaded, s.absent):
		a.count(ctx, &a.fresh, telemetry.AuditFresh)
	case versions, it == s.before: // it was read before the authority was, and is something else
		a.count(ctx, &a.stale, telemetry.AuditStale)
	default: // it may be newer: if nothing has changed since, the authority shows it still
		if now, absent, ok := a.ask(ctx, s.key); ok && a.same(it, now, absent) {
			a.count(ctx, &a.fresh, telemetry.AuditFresh)
		} else {
			a.count(ctx, &a.unknown, telemetry.AuditUnknown)
		}
	}
}

// same compares a hit with an answer of the authority. An Equal that panics has shown no difference.
func (a *Auditor[K, V]) same(it *item[V], loaded Loaded[V], absent bool) (same bool) {
	if it.absent || absent {
		return it.absent == absent
	}
	var err error
	defer func() {
		if err != nil {
			a.cfg.Cache.tel.Report(a.cfg.Cache.cfg.Name, "audit", err)
			same = true
		}
	}()
	defer recovered(&err)
	return a.cfg.Equal(it.value, loaded.Value)
}

// count counts a verdict, unless the auditor's own end may be its reason.
func (a *Auditor[K, V]) count(ctx context.Context, n *atomic.Uint64, ev telemetry.Event) {
	if ctx.Err() != nil {
		return
	}
	n.Add(1)
	a.cfg.Cache.tel.Count(a.cfg.Cache.cfg.Name, ev, 1)
}
