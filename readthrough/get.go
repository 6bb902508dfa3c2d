package readthrough

import (
	"context"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/telemetry"
)

// hit reads L1. The order is the protocol's: the clock, then the lease, and only then the entry with its guard. With the
// lease read last, a renewal between the two would answer with an entry that was invalidated before it.
func (c *Cache[K, V]) hit(key K) (it *item[V], lapsed bool) {
	lease := c.only
	if lease == nil {
		e, ok := c.l1.Peek(key) // for its partition only; judged again below
		if !ok {
			c.l1.Miss(key)
			return nil, false
		}
		lease = e.Value.lease
	}
	now := invalidation.Now()
	if !lease.Valid(now) {
		return nil, true
	}
	e, ok := c.l1.Get(key, int64(now))
	if !ok {
		return nil, false
	}
	return e.Value, false
}

// Get answers the record of a key, or ErrNotFound, ErrUnavailable (with a *PanicError inside if that is why),
// ErrInvalidKey, ErrBadToken, ErrClosed, or the error of ctx if it ended first. A hit in L1 does not look at ctx, makes no
// round trip and allocates nothing.
func (c *Cache[K, V]) Get(ctx context.Context, key K, opts ...Option) (V, error) {
	v, _, err := c.GetAsOf(ctx, key, opts...)
	return v, err
}

// GetAsOf is Get with the authority's version of the answer (0: it has none), an absence's version too.
func (c *Cache[K, V]) GetAsOf(ctx context.Context, key K, opts ...Option) (value V, asOf uint64, err error) {
	var it *item[V]
	if len(opts) > 0 {
		it, _, err = c.get(ctx, key, opts)
	} else {
		var lapsed bool
		if it, lapsed = c.hit(key); it == nil {
			it, _, err = c.past(ctx, key, demand{stale: c.cfg.Mode.stale}, lapsed)
		}
	}
	if err != nil {
		return value, 0, err
	}
	value, err = c.answer(it)
	return value, it.asOf, err
}

func (c *Cache[K, V]) answer(it *item[V]) (V, error) {
	if it.absent {
		c.counts.negative.Add(1)
		var zero V
		return zero, ErrNotFound
	}
	return c.out(it.value)
}

// GetEntry is Get with what is known about the answer. An absence is an Entry with Absent set, beside ErrNotFound.
func (c *Cache[K, V]) GetEntry(ctx context.Context, key K, opts ...Option) (Entry[V], error) {
	it, from, err := c.get(ctx, key, opts)
	if err != nil {
		return Entry[V]{}, err
	}
	e, err := c.entry(it, from)
	if err == nil && it.absent {
		c.counts.negative.Add(1)
		err = ErrNotFound
	}
	return e, err
}

// Peek answers what L1 holds and may answer now. It does no I/O and starts no load.
func (c *Cache[K, V]) Peek(key K) (Entry[V], bool) {
	it, _ := c.hit(key)
	if it == nil {
		return Entry[V]{}, false
	}
	e, err := c.entry(it, origin{tier: L1})
	return e, err == nil
}

// Held is what L1 holds of a key, whether or not it may answer it: what is Stale it may not now, and may with the next lease, or by
// ServeStale. It is no answer, but tells who has learnt of a change from elsewhere whether there is anything to invalidate; what a
// load under way is going to bring it does not know. It does no I/O, starts no load, and is no use of the lease.
func (c *Cache[K, V]) Held(key K) (Entry[V], bool) {
	now := invalidation.Now()
	e, ok := c.l1.Peek(key)
	if !ok {
		return Entry[V]{}, false
	}
	entry, err := c.entry(e.Value, origin{tier: L1, stale: e.Value.lease.Until() <= now || e.Deadline <= int64(now)})
	return entry, err == nil
}

// get reads with options, from L1 if it may.
func (c *Cache[K, V]) get(ctx context.Context, key K, opts []Option) (it *item[V], from origin, err error) {
	d, err := c.demand(opts)
	if err != nil {
		return nil, origin{}, err
	}
	lapsed := false
	if !d.linearizable && !d.skipL1 {
		if it, lapsed = c.hit(key); it != nil && c.satisfies(key, it, d) {
			return it, origin{tier: L1}, nil
		}
	}
	return c.past(ctx, key, d, lapsed)
}

// past reads what L1 has not answered, for want of a lease (lapsed) or of the entry.
func (c *Cache[K, V]) past(ctx context.Context, key K, d demand, lapsed bool) (it *item[V], from origin, err error) {
	over := ctx.Err() != nil
	if lapsed && c.holds(key) {
		// One round trip, shared by all keys, may make the whole of L1 good again.
		c.tel.Count(c.cfg.Name, telemetry.LeaseLapsed, 1)
		if c.renew(ctx, key) == nil {
			if it, lapsed = c.hit(key); it != nil && c.satisfies(key, it, d) {
				return it, origin{tier: L1}, nil
			}
		}
	}
	if lapsed {
		c.l1.Miss(key)
	}
	id, err := c.id(key)
	if err != nil {
		return nil, origin{}, err
	}
	if it := c.throttled(key, d); it != nil {
		return it, origin{tier: L1, stale: true}, nil
	}
	joined := false
	if err = ctx.Err(); err == nil {
		it, joined, err = c.load(ctx, key, id, d)
	} else if over { // and not while a lease was asked for
		return nil, origin{}, err
	}
	if err != nil {
		if it := c.staleFor(key, d, err); it != nil {
			return it, origin{tier: L1, stale: true}, nil
		}
		return nil, origin{}, err
	}
	return it, origin{tier: it.tier, joined: joined}, nil
}

// holds says whether L1 has something of the key that only lacks a lease.
func (c *Cache[K, V]) holds(key K) bool {
	e, ok := c.l1.Peek(key)
	return ok && e.Deadline > int64(invalidation.Now())
}

// renew asks for a lease of the key's partition. Its time is bounded: where it hangs the authority may answer still.
func (c *Cache[K, V]) renew(ctx context.Context, key K) error {
	e, ok := c.l1.Peek(key)
	if !ok {
		return nil
	}
	call, cancel := c.brief(ctx)
	defer cancel()
	return c.bus.Renew(call, e.Value.part)
}

// satisfies says whether an L1 answer is not below the token of a read. The entry's guard holds, so every invalidation this
// process has applied is in it.
func (c *Cache[K, V]) satisfies(key K, it *item[V], d demand) bool {
	if !d.bounded {
		return true
	}
	if d.floor.AsOf > 0 {
		return it.asOf >= d.floor.AsOf
	}
	want, named := d.floor.Position(it.part)
	if !named {
		return true
	}
	have := c.bus.Position(it.part)
	if want.Epoch != have.Epoch || have.Seq < want.Seq {
		return false
	}
	// What was applied may have voided the entry just now: the guard counts after the position.
	e, ok := c.l1.Peek(key)
	return ok && e.Value == it
}
