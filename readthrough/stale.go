package readthrough

import (
	"context"
	"errors"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
)

// staleRetry is how long ServeStale answers at once with an entry whose load has failed or hangs, before it tries again.
const staleRetry = time.Second

// stale answers an entry for ServeStale: one that was good until at most d.stale ago. It was good until its end, under a
// lease; without a lease, when it was asked for. One that was invalidated is not served, nor an absence: during an outage that
// would be an unknown answered as "none".
func (c *Cache[K, V]) stale(key K, d demand) *item[V] {
	if d.stale <= 0 || d.linearizable || d.skipL1 {
		return nil
	}
	e, ok := c.l1.Peek(key)
	if !ok || e.Value.absent || d.bounded && !c.satisfies(key, e.Value, d) {
		return nil
	}
	good := min(protocol.Instant(e.Deadline), max(e.Value.lease.Held(), e.Value.fresh))
	if invalidation.Now().Sub(good) > d.stale {
		return nil
	}
	return e.Value
}

// staleFor answers the stale entry of a key whose load failed, or did not end by the caller's deadline, if the mode allows it, and
// lets the authority rest for a moment as far as this entry is concerned.
func (c *Cache[K, V]) staleFor(key K, d demand, err error) *item[V] {
	if !errors.Is(err, ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	it := c.stale(key, d)
	if it == nil {
		return nil
	}
	it.retry.Store(int64(invalidation.Now().Add(staleRetry)))
	c.counts.stale.Add(1)
	return it
}

// throttled answers the stale entry of a key whose load failed, or hung, a moment ago. When that is over, one caller a second finds
// out whether it still is so.
func (c *Cache[K, V]) throttled(key K, d demand) *item[V] {
	it := c.stale(key, d)
	if it == nil {
		return nil
	}
	now, until := invalidation.Now(), it.retry.Load()
	if until == 0 || int64(now) >= until && it.retry.CompareAndSwap(until, int64(now.Add(staleRetry))) {
		return nil
	}
	c.counts.stale.Add(1)
	return it
}
