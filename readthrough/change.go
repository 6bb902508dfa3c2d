package readthrough

import (
	"context"
	"errors"
	"sync"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
)

// Invalidate makes the records of keys be read anew in every process. It is called after the authority was written, and
// returns when the change is in force: no read that begins afterwards, in any process, answers from before it. If ctx ends
// first it returns a *NotInForceError and goes on behind; the context does not stop the invalidation itself. Without keys it
// does nothing.
func (c *Cache[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	r, err := c.InvalidateAsync(ctx, keys...)
	if err != nil {
		return err
	}
	return r.Wait(ctx)
}

// InvalidateAsync is Invalidate without the wait: it returns when Redis has executed the invalidation or has failed to, or when
// ctx ends; the receipt is pending then and the invalidation goes on. This process reads its own change from then on.
func (c *Cache[K, V]) InvalidateAsync(ctx context.Context, keys ...K) (*Receipt, error) {
	return c.InvalidateAsOf(ctx, 0, keys...)
}

// InvalidateAsOf is InvalidateAsync for a writer that knows the version the authority gave to its change: nothing below it
// is answered or kept any more, and the receipt's token names it.
func (c *Cache[K, V]) InvalidateAsOf(ctx context.Context, asOf uint64, keys ...K) (*Receipt, error) {
	ids := make([]l2.ID, len(keys))
	for i, key := range keys {
		id, err := c.id(key)
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.active.Done()
	if len(ids) == 0 {
		return &Receipt{}, nil
	}
	return c.bus.Invalidate(ctx, ids, asOf), nil
}

// InvalidateAll makes every record of the namespace be read anew, in every process, and waits as Invalidate does: as long
// as a serving lease lasts. It is not atomic across partitions.
func (c *Cache[K, V]) InvalidateAll(ctx context.Context) error {
	r, err := c.InvalidateAllAsync(ctx, 0)
	if err != nil {
		return err
	}
	return r.Wait(ctx)
}

// InvalidateAllAsync is InvalidateAll without the wait, for a writer that may know the version of its change (0: it does not).
func (c *Cache[K, V]) InvalidateAllAsync(ctx context.Context, asOf uint64) (*Receipt, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.active.Done()
	return c.bus.InvalidateAll(ctx, asOf), nil
}

// Refresh reads the record of a key from the authority now and replaces it in L1, and in L2 unless another process is about
// to fill that. A refresh of the key that is under way in this process is taken instead. The errors are Get's, absence
// included. What is not cached, an absence without a NegativeTTL or a value above MaxCost, takes the old one out of L1, and what is
// not kept in L2, a value above MaxWire too, leaves the old one there: who must not be answered it any more invalidates.
func (c *Cache[K, V]) Refresh(ctx context.Context, key K) error {
	id, err := c.id(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	l := c.flights.join(ctx, id.String()+"\x00r", id.Hash(), c.bus.Lease(c.partition(id)), false,
		func(f *flight) (*item[V], error) {
			defer c.active.Done()
			ctx, cancel := c.detach(ctx)
			defer cancel()
			x := c.newFetch(f, key, id, demand{})
			step := protocol.AskAuthority
			if c.usable(ctx, id) {
				if step = x.look(ctx, true); step == protocol.AwaitOther {
					step = protocol.AskAuthority // what the other one brings may have been read before this call
				}
			}
			return x.follow(ctx, step)
		})
	if !l.began {
		c.active.Done()
	}
	it, err := c.await(ctx, l)
	if err == nil && it.absent {
		err = ErrNotFound
	}
	return err
}

// Health is the state of the cache's bus.
func (c *Cache[K, V]) Health() invalidation.Health { return c.bus.Health() }

// Ready returns nil when the cache holds a serving lease in every partition, so that hits are answered from L1. Where there
// is none it asks for one, once, and waits for the answer until ctx ends. ErrUnavailable wraps why there is none.
func (c *Cache[K, V]) Ready(ctx context.Context) error {
	partitions := 1
	if c.store != nil {
		partitions = c.store.Partitions()
	}
	var parts []int
	for part := range partitions {
		if !c.bus.Lease(part).Valid(invalidation.Now()) {
			parts = append(parts, part)
		}
	}
	if err := c.renewAll(ctx, parts); err != nil {
		return c.unavailable(err)
	}
	return nil
}

// renewAll asks for the leases of partitions, all at once: one after the other they cost as many round trips, or timeouts where
// Redis hangs.
func (c *Cache[K, V]) renewAll(ctx context.Context, parts []int) error {
	errs := make([]error, len(parts))
	var asking sync.WaitGroup
	for i, part := range parts {
		asking.Go(func() { errs[i] = c.bus.Renew(ctx, part) }) // waited for below
	}
	asking.Wait()
	return errors.Join(errs...)
}

// target is the cache as its bus sees it.
type target[K comparable, V any] struct{ c *Cache[K, V] }

var _ invalidation.Target = target[string, any]{}

// Evict voids the stripes of hashes.
func (t target[K, V]) Evict(hashes []uint64) {
	for _, h := range hashes {
		t.c.l1.Evict(h)
	}
}

// Flush voids everything.
func (t target[K, V]) Flush() { t.c.l1.Flush() }

// Invalidated is this process's own invalidation.
func (t target[K, V]) Invalidated(ids []l2.ID, asOf uint64) {
	for _, id := range ids {
		t.c.fences.raise(id.Hash(), asOf)
		t.c.l1.Evict(id.Hash())
	}
}

// Raise applies a row of the authority's log: the fence first, so that a load which is voided and begins anew finds it.
func (t target[K, V]) Raise(id string, asOf uint64) {
	hash := l2.Hash(id)
	t.c.fences.raise(hash, asOf)
	if key, ok := t.c.keys.key(id); ok {
		t.c.l1.EvictUnless(hash, key, func(it *item[V]) bool { return it.asOf >= asOf })
		return
	}
	t.c.l1.Evict(hash)
}

// RaiseAll applies a row that names no id.
func (t target[K, V]) RaiseAll(asOf uint64) {
	t.c.fences.raiseAll(asOf)
	t.c.l1.Flush()
}

// Rewind applies that the authority's versions went back. Tokens keep what they promise: a read with one from after the
// backup is an error until the authority has passed it.
func (t target[K, V]) Rewind() {
	t.c.fences.forget()
	t.c.l1.Flush()
}
