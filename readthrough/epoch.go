package readthrough

import "context"

// Epoch names the life of the namespace's Redis state as it is now, for comparison with Receipt.Epoch: an invalidation
// executed in a life that has ended may be lost. Relays use it.
func (c *Cache[K, V]) Epoch(ctx context.Context) (string, error) { return c.bus.Epoch(ctx) }
