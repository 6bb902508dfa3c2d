package readthrough

import (
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
)

// Tier is where an answer came from.
type Tier uint8

const (
	// L1 is this process's memory.
	L1 Tier = iota + 1
	// L2 is Redis.
	L2
	// L3 is the authority.
	L3
)

var tierNames = [...]string{L1: "L1", L2: "L2", L3: "L3"}

// String is L1, L2 or L3.
func (t Tier) String() string {
	if t >= L1 && t <= L3 {
		return tierNames[t]
	}
	return "unknown"
}

// Entry is an answer with what is known about it.
type Entry[V any] struct {
	// Value is the record; the zero V if Absent.
	Value V
	// Absent: the authority says there is none.
	Absent bool
	// Tier is where the answer came from.
	Tier Tier
	// Age is the time since the authority was read.
	Age time.Duration
	// Bound is how long ago, at most, a change may have been executed that this answer does not show: 0 for L2 and L3 if they
	// were asked during the call, B for L1 and for a load that was under way already.
	Bound time.Duration
	// Stale: served past its lease or end by ServeStale. Bound does not hold for it.
	Stale bool
	// AsOf is the authority's version of the answer, 0 if it has none. It is the fencing token for a tool that acts on it.
	AsOf uint64
}

// item is what L1 holds and what loads answer. It is immutable but for retry.
type item[V any] struct {
	value  V
	absent bool
	tier   Tier // where the load found it
	asOf   uint64
	read   time.Time        // when the authority was read, by the wall clock of whoever read it
	fresh  protocol.Instant // a moment of this process at which nothing newer was known to be committed: when it was asked for
	part   int
	lease  *invalidation.Lease // of part
	retry  atomic.Int64        // protocol.Instant until which ServeStale answers with it at once, a load having failed; 0: none has
}

// from is the item as an answer of another tier.
func (it *item[V]) from(tier Tier) *item[V] {
	return &item[V]{
		value: it.value, absent: it.absent, tier: tier, asOf: it.asOf, read: it.read, fresh: it.fresh, part: it.part, lease: it.lease,
	}
}

// older says whether an item was asked for before another and is of no higher version.
func (it *item[V]) older(than *item[V]) bool { return it.fresh < than.fresh && it.asOf <= than.asOf }

// origin is where an answer came from.
type origin struct {
	tier   Tier
	stale  bool
	joined bool // of a load that another call began, which may have read before this one
}

// entry describes an item as an answer.
func (c *Cache[K, V]) entry(it *item[V], from origin) (e Entry[V], err error) {
	e = Entry[V]{Absent: it.absent, Tier: from.tier, Age: max(0, time.Since(it.read)), Stale: from.stale, AsOf: it.asOf}
	if !it.absent {
		if e.Value, err = c.out(it.value); err != nil {
			return Entry[V]{}, err
		}
	}
	if from.tier == L1 || from.joined {
		e.Bound = c.bound
	}
	return e, nil
}

// out hands a value to a caller.
func (c *Cache[K, V]) out(v V) (V, error) {
	if c.cfg.Clone == nil {
		return v, nil
	}
	return c.clone(v)
}

func (c *Cache[K, V]) clone(v V) (out V, err error) {
	defer func() {
		if err != nil {
			err = c.unavailable(err)
		}
	}()
	defer recovered(&err)
	return c.cfg.Clone(v), nil
}
