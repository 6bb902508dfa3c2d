package l1

import (
	"hash/maphash"
	"runtime"
)

// PutAs puts a value as if key had the hash of another key: what a collision of two 64-bit hashes would do.
func (c *Cache[K, V]) PutAs(hashOf K, g Guard, key K, value V, deadline int64) bool {
	return c.put(maphash.Comparable(c.seed, hashOf), g, key, value, deadline, nil)
}

// Settle waits until ristretto has worked off its queue.
func (c *Cache[K, V]) Settle() { c.policy.Wait() }

// PolicyCost is the sum of costs as ristretto sees it.
func (c *Cache[K, V]) PolicyCost() int64 { return c.policy.MaxCost() - c.policy.RemainingCost() }

// Tickets is how many tickets were drawn, each by a Put that found its guard whole.
func (c *Cache[K, V]) Tickets() uint64 { return c.tickets.Load() }

// HoldPuts makes the Puts of a key wait, after their look at the guard, until the function answered is called.
func (c *Cache[K, V]) HoldPuts(key K) (release func()) {
	mu := &c.writes[maphash.Comparable(c.seed, key)&(putLocks-1)]
	mu.Lock()
	return mu.Unlock
}

// Stall holds ristretto's worker until the function answered is called: the worker meets a table lock, which is not
// the one of key, as it drops a ticket that no node has, which counts as rejected. What is queued afterwards waits behind it.
func (c *Cache[K, V]) Stall(key K) (release func()) {
	hash := maphash.Comparable(c.seed, key) + 1
	mu := c.table.lock(hash)
	rejected := c.rejected.Load()
	c.policy.Set(hash, ticket{hash: hash, id: 1 << 63}, c.maxCost+1)
	for c.rejected.Load() == rejected {
		runtime.Gosched()
	}
	return mu.Unlock
}

// FillQueue queues tickets that no node has until ristretto refuses one. The worker must be stalled.
func (c *Cache[K, V]) FillQueue() {
	for i := uint64(1); c.policy.Set(i, ticket{hash: i}, 1); i++ {
	}
}

// Sampled tells whether the nth hit of a lane is told to ristretto.
func Sampled(n uint64) bool { return sampled(n) }

// EnterPolicy stands where a reader stands that is in ristretto, until leave is called. get is what it does there.
func (c *Cache[K, V]) EnterPolicy() (get func(key K), leave func()) {
	c.lanes[3].inside.Add(1)
	return func(key K) { c.policy.Get(maphash.Comparable(c.seed, key)) }, func() { c.lanes[3].inside.Add(-1) }
}
