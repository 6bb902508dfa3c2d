package l1

import "hash/maphash"

// Evict voids every entry and every load in progress of a hash's stripe: when it has returned, no Get shows an entry
// whose guard was taken before. It is one atomic addition; the memory is freed when its room is needed.
func (c *Cache[K, V]) Evict(hash uint64) { c.epochs.bump(hash) }

// EvictKey is Evict, and frees the memory of one key's entry. The stripe is void first; freeing may wait for ristretto's
// worker.
func (c *Cache[K, V]) EvictKey(hash uint64, key K) {
	c.epochs.bump(hash)
	c.free(c.epochs.index(hash), key)
}

// EvictUnless is EvictKey, except that the key's entry stays if keep agrees to its value and nothing else has voided
// the stripe since the entry was loaded. Loads in progress are void in either case. keep is called without locks and at
// most once; it is not called if the key has no entry whose guard holds.
func (c *Cache[K, V]) EvictUnless(hash uint64, key K, keep func(V) bool) {
	old := c.table.find(maphash.Comparable(c.seed, key))
	if old == nil || old.Key != key || old.guard.stripe != c.epochs.index(hash) || !c.epochs.holds(&old.guard) || !keep(old.Value) {
		c.EvictKey(hash, key)
		return
	}
	next, ok := c.epochs.bumpFrom(old.guard)
	if !ok {
		c.EvictKey(hash, key)
		return
	}
	// The entry is void until it is published under its new guard. Somebody who put another one meanwhile has a newer one.
	kept := &node[K, V]{hash: old.hash, Entry: old.Entry, ticket: old.ticket, cost: old.cost}
	kept.guard = next
	c.table.replace(old, kept)
}

// EvictIf frees one key's entry if drop agrees to its value. Nothing else of the stripe is void, nor a load in progress. drop is
// called without locks and at most once.
func (c *Cache[K, V]) EvictIf(key K, drop func(V) bool) {
	hash := maphash.Comparable(c.seed, key)
	n := c.table.find(hash)
	if n == nil || n.Key != key || !drop(n.Value) {
		return
	}
	c.life.RLock()
	defer c.life.RUnlock()
	if c.epochs.closed() {
		return
	}
	mu := &c.writes[hash&(putLocks-1)]
	mu.Lock()
	defer mu.Unlock()
	if c.table.remove(ticket{hash: hash, id: n.ticket}) { // else somebody has put another one meanwhile
		c.returnTicket(n)
	}
}

// Flush voids every entry and every load in progress. It moves one number, however many entries there are: a bus calls it
// while others wait. The memory is freed when its room is needed.
func (c *Cache[K, V]) Flush() { c.epochs.bumpFlush() }

// free frees the memory of a key's entry after its stripe was voided. An entry that holds all the same is newer.
func (c *Cache[K, V]) free(stripe uint32, key K) {
	hash := maphash.Comparable(c.seed, key)
	c.life.RLock()
	defer c.life.RUnlock()
	if c.epochs.closed() {
		return
	}
	mu := &c.writes[hash&(putLocks-1)]
	mu.Lock()
	defer mu.Unlock()
	n := c.table.find(hash)
	if n == nil || n.Key != key || n.guard.stripe == stripe && c.epochs.holds(&n.guard) {
		return
	}
	c.table.remove(ticket{hash: hash, id: n.ticket})
	c.returnTicket(n)
}
