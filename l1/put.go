package l1

import "hash/maphash"

const putLocks = 64

// Put publishes a value that was loaded under a guard. deadline is in nanoseconds of the clock whose readings Get is
// given. When it answers true, a Get that begins afterwards sees the entry, until it is evicted, replaced or dropped to
// make room, be it at once because ristretto deems the others more worth keeping.
//
// It answers false, and keeps nothing, if the guard no longer holds, if the entry costs more than MaxCost, if
// ristretto's queue is full, or if the cache is closed. An entry that was there for the key stays then, except in the
// case of the full queue.
//
// It may wait for ristretto's worker, microseconds as a rule: when the key's last Put is still queued, or when evictions
// lag behind.
func (c *Cache[K, V]) Put(g Guard, key K, value V, deadline int64) bool {
	return c.put(maphash.Comparable(c.seed, key), g, key, value, deadline, nil)
}

// PutUnless is Put, except that it answers false and changes nothing if stays agrees to the value of the key's entry. stays is
// called at most once, with a lock held, and must not call the cache; it is not called if the key has no entry whose guard holds.
func (c *Cache[K, V]) PutUnless(g Guard, key K, value V, deadline int64, stays func(V) bool) bool {
	return c.put(maphash.Comparable(c.seed, key), g, key, value, deadline, stays)
}

// put keeps one rule about tickets: a node in the table has its ticket in ristretto or in ristretto's queue, so that what
// ristretto drops leaves the table and nothing else stays there. Therefore the node goes in before its ticket (the
// ticket may be dropped at once), and ristretto is never given a ticket for a hash it already has one for: it would
// keep the first of two that are still queued, and would raise the cost of one in place beyond MaxCost. The locks make
// the tickets of a hash enter the queue in the order of the nodes.
func (c *Cache[K, V]) put(hash uint64, g Guard, key K, value V, deadline int64, stays func(V) bool) bool {
	cost := c.unit
	if c.cost != nil {
		cost = max(cost, c.cost(key, value))
	}
	if !c.Valid(g) {
		return false
	}
	if cost > c.maxCost {
		c.rejected.Add(1)
		return false
	}
	c.life.RLock()
	defer c.life.RUnlock()
	if c.epochs.closed() {
		return false
	}
	n := &node[K, V]{
		hash:   hash,
		Entry:  Entry[K, V]{Key: key, Value: value, Deadline: deadline, guard: g},
		ticket: c.tickets.Add(1),
		cost:   cost,
	}
	if !c.admit(n, stays) {
		return false
	}
	if c.table.cost.Load() > c.maxCost+c.maxCost/8 {
		c.policy.Wait() // evictions lag; let them catch up
	}
	return true
}

func (c *Cache[K, V]) admit(n *node[K, V], stays func(V) bool) bool {
	mu := &c.writes[n.hash&(putLocks-1)]
	mu.Lock()
	defer mu.Unlock()
	if stays != nil {
		old := c.table.find(n.hash)
		if old != nil && old.Key == n.Key && c.epochs.holds(&old.guard) && stays(old.Value) {
			return false
		}
	}
	if old := c.table.swap(n); old != nil {
		c.returnTicket(old)
	}
	k := ticket{hash: n.hash, id: n.ticket}
	if !c.policy.Set(n.hash, k, n.cost) {
		c.table.remove(k)
		c.rejected.Add(1)
		return false
	}
	return true
}

// returnTicket takes a node's ticket out of ristretto. A ticket that is still queued is waited for: deleted while queued,
// it would be applied after the deletion's first half and be met by the next Set. The caller holds the hash's lock.
func (c *Cache[K, V]) returnTicket(n *node[K, V]) {
	if k, _ := c.policy.Get(n.hash); k.id != n.ticket {
		c.policy.Wait()
	}
	c.policy.Del(n.hash)
}
