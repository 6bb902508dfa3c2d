package readthrough

// Fence answers the version below which nothing of a key is answered, as this process knows it.
func (c *Cache[K, V]) Fence(key K) uint64 {
	id, err := c.id(key)
	if err != nil {
		return 0
	}
	return c.fences.of(id.Hash())
}

// LivesIn answers the epoch of partition 0 that this cache lives in.
func (c *Cache[K, V]) LivesIn() string { return string(c.bus.Position(0).Epoch) }
