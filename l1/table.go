package l1

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const tableLocks = 64

// table is a hash table with one node for each hash. Readers follow a chain of atomic pointers without a lock; writers
// hold the lock of their bucket. It never grows, because the number of entries is bounded.
type table[K comparable, V any] struct {
	mask    uint64
	buckets []atomic.Pointer[node[K, V]] // written under the bucket's lock
	_       [64]byte                     // what is above is read on every hit, what is below written on every put
	locks   [tableLocks]struct {
		sync.Mutex
		_ [56]byte // a line of its own
	}
	entries atomic.Int64
	cost    atomic.Int64
	_       [64]byte
}

func (t *table[K, V]) init(entries int64) {
	n := uint64(tableLocks)
	if entries > tableLocks {
		n = 1 << bits.Len64(uint64(entries-1))
	}
	t.mask = n - 1
	t.buckets = make([]atomic.Pointer[node[K, V]], n)
}

// find answers the node of a hash, nil if there is none. It takes no lock.
func (t *table[K, V]) find(hash uint64) *node[K, V] {
	n := t.buckets[hash&t.mask].Load()
	for n != nil && n.hash != hash {
		n = n.next.Load()
	}
	return n
}

// swap puts a node in, in place of the one of the same hash, which it answers.
func (t *table[K, V]) swap(n *node[K, V]) (old *node[K, V]) {
	mu := t.lock(n.hash)
	defer mu.Unlock()
	link, old := t.locate(n.hash)
	if old != nil {
		t.exchange(link, old, n)
		return old
	}
	head := &t.buckets[n.hash&t.mask]
	n.next.Store(head.Load())
	head.Store(n)
	t.entries.Add(1)
	t.cost.Add(n.cost)
	return nil
}

// replace puts a node in place of exactly that old one, if it is still there.
func (t *table[K, V]) replace(old, n *node[K, V]) bool {
	mu := t.lock(n.hash)
	defer mu.Unlock()
	link, cur := t.locate(n.hash)
	if cur != old || old == nil {
		return false
	}
	t.exchange(link, old, n)
	return true
}

// remove takes out the node of a ticket, if it is there.
func (t *table[K, V]) remove(k ticket) bool {
	mu := t.lock(k.hash)
	defer mu.Unlock()
	link, n := t.locate(k.hash)
	if n == nil || n.ticket != k.id {
		return false
	}
	link.Store(n.next.Load())
	t.entries.Add(-1)
	t.cost.Add(-n.cost)
	return true
}

func (t *table[K, V]) exchange(link *atomic.Pointer[node[K, V]], old, n *node[K, V]) {
	n.next.Store(old.next.Load())
	link.Store(n)
	t.cost.Add(n.cost - old.cost)
}

func (t *table[K, V]) lock(hash uint64) *sync.Mutex {
	mu := &t.locks[hash&(tableLocks-1)].Mutex
	mu.Lock()
	return mu
}

// locate answers the node of a hash and the pointer that leads to it; the caller holds the bucket's lock.
func (t *table[K, V]) locate(hash uint64) (*atomic.Pointer[node[K, V]], *node[K, V]) {
	link := &t.buckets[hash&t.mask]
	n := link.Load()
	for n != nil && n.hash != hash {
		link = &n.next
		n = link.Load()
	}
	return link, n
}
