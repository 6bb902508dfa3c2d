package l1

import "sync/atomic"

// Entry is what a hit answers. It is immutable once published and shared between all readers, and so is what Value
// points to.
type Entry[K comparable, V any] struct {
	// Key is the entry's key as it was put.
	Key K
	// Deadline is when the entry ends, in nanoseconds of the clock whose readings Get is given.
	Deadline int64
	guard    Guard
	// Value is the value as it was put.
	Value V
}

// node is an entry in the table. Everything but next is immutable once the node is published.
type node[K comparable, V any] struct {
	hash uint64                     // of Key, with the cache's seed
	next atomic.Pointer[node[K, V]] // stays as it was when the node is unlinked, for the readers that stand on it
	Entry[K, V]
	ticket uint64
	cost   int64
}

// ticket is what ristretto holds in an entry's place. It names the entry rather than points to it: EvictUnless may put
// a new node in the place of the old one, and a ticket that ristretto still has must not keep a value in memory.
// The zero ticket names nothing; ristretto makes some up.
type ticket struct {
	hash uint64
	id   uint64 // from 1, never used twice
}
