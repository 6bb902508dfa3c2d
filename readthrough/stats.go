package readthrough

import (
	"sync/atomic"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/telemetry"
)

// counts are what the cache counts beside L1. Only negative is written on a hit, and only by one that answers "absent".
type counts struct {
	l2Hits, l2Misses                  atomic.Uint64
	loadFound, loadAbsent, loadFailed atomic.Uint64
	stale, negative                   atomic.Uint64
}

// snapshot is what telemetry reads when it collects.
func (c *Cache[K, V]) snapshot() telemetry.Snapshot {
	memory, health := c.l1.Stats(), c.bus.Health()
	return telemetry.Snapshot{
		L1Hits: memory.Hits, L1Misses: memory.Misses, L1Entries: memory.Entries, L1Cost: memory.Cost,
		L2Hits: c.counts.l2Hits.Load(), L2Misses: c.counts.l2Misses.Load(),
		LoadFound: c.counts.loadFound.Load(), LoadAbsent: c.counts.loadAbsent.Load(), LoadFailed: c.counts.loadFailed.Load(),
		Stale: c.counts.stale.Load(), Negative: c.counts.negative.Load(),
		LeaseRemaining: health.Lease, Degraded: health.State != invalidation.Up || health.Err != nil,
	}
}
