package l1

import "github.com/dgraph-io/ristretto/v2"

// newPolicy makes the ristretto cache that decides which entries stay. Its keys are hashes, its values tickets.
//
// The callbacks run on ristretto's worker, or on the goroutine that deletes or clears, sometimes with a shard of
// ristretto's locked. They take a table lock and nothing else: one that called ristretto could wait for itself.
func newPolicy[K comparable, V any](c *Cache[K, V], capacity int64) (*ristretto.Cache[uint64, ticket], error) {
	return ristretto.NewCache(&ristretto.Config[uint64, ticket]{
		NumCounters:            max(10*capacity, 1024), // ten for each entry is its authors' advice
		MaxCost:                c.maxCost,
		BufferItems:            64,
		IgnoreInternalCost:     true, // it would add 56 to every cost
		KeyToHash:              func(hash uint64) (uint64, uint64) { return hash, 0 },
		TtlTickerDurationInSec: 24 * 3600, // we give it no TTL, so there is nothing to clean up
		OnEvict: func(i *ristretto.Item[ticket]) {
			if i.Value.id != 0 && !c.epochs.closed() {
				c.evicted.Add(1)
			}
		},
		OnReject: func(*ristretto.Item[ticket]) { c.rejected.Add(1) },
		OnExit: func(k ticket) { // after OnEvict and OnReject too
			if k.id != 0 {
				c.table.remove(k)
			}
		},
	})
}

// touch tells ristretto that a key was asked for. A Get that comes while Close runs may be between its two steps, so it
// stands in its lane while it is in ristretto, and stays out once it sees the cache closed.
func (c *Cache[K, V]) touch(l *lane, hash uint64) {
	l.inside.Add(1)
	if !c.epochs.closed() {
		c.policy.Get(hash)
	}
	l.inside.Add(-1)
}
