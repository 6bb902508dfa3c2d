package l1

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// Cache is a bounded cache of guarded entries. See the package's documentation.
type Cache[K comparable, V any] struct {
	// What every hit reads comes first and is seldom written.
	seed    maphash.Seed
	epochs  epochs
	table   table[K, V]
	lanes   lanes
	policy  *ristretto.Cache[uint64, ticket]
	cost    func(K, V) int64
	maxCost int64
	unit    int64
	writes  [putLocks]struct {
		sync.Mutex          // orders the tickets of a hash, see put.go
		_          [56]byte // a line of its own
	}

	// life is held for reading by what writes to policy, and for writing by Close: ristretto's Close panics beside
	// any other call. Readers of policy are kept out by lanes instead.
	life sync.RWMutex

	tickets  atomic.Uint64
	rejected atomic.Uint64
	evicted  atomic.Uint64
}

// New makes a cache. It starts two goroutines, which Close ends.
func New[K comparable, V any](cfg Config[K, V]) (*Cache[K, V], error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Cache[K, V]{
		seed:    maphash.MakeSeed(),
		cost:    cfg.Cost,
		maxCost: cfg.MaxCost,
		unit:    cfg.unit(),
	}
	capacity := c.maxCost / c.unit
	c.epochs.init(cfg.Stripes)
	c.table.init(capacity)
	policy, err := newPolicy(c, capacity)
	if err != nil {
		return nil, err
	}
	c.policy = policy
	return c, nil
}

// Get answers the entry of a key if there is one whose guard holds at this moment and whose deadline is after now. It
// counts a hit or a miss. It takes no lock and allocates nothing.
func (c *Cache[K, V]) Get(key K, now int64) (*Entry[K, V], bool) {
	hash := maphash.Comparable(c.seed, key)
	l := c.lanes.pick()
	n := c.table.find(hash)
	if n == nil || n.Key != key || !c.epochs.holds(&n.guard) || n.Deadline <= now {
		l.misses.Add(1)
		c.touch(l, hash)
		return nil, false
	}
	if sampled(l.hits.Add(1)) {
		c.touch(l, hash)
	}
	return &n.Entry, true
}

// Miss counts a miss of a key that Peek has not found and makes the key more worth keeping, as Get does: a cache that is full takes
// in only what is asked for. It takes no lock and allocates nothing.
func (c *Cache[K, V]) Miss(key K) {
	l := c.lanes.pick()
	l.misses.Add(1)
	c.touch(l, maphash.Comparable(c.seed, key))
}

// Peek answers the entry of a key if there is one whose guard holds at this moment, whether or not its deadline has
// passed. It counts nothing and does not make the entry more worth keeping.
func (c *Cache[K, V]) Peek(key K) (*Entry[K, V], bool) {
	n := c.table.find(maphash.Comparable(c.seed, key))
	if n == nil || n.Key != key || !c.epochs.holds(&n.guard) {
		return nil, false
	}
	return &n.Entry, true
}

// Guard answers the guard of a load that is about to begin. hash is the stable 64-bit hash of the record's id, the same
// that Evict will be called with. After Close the guard does not hold.
func (c *Cache[K, V]) Guard(hash uint64) Guard { return c.epochs.guard(hash) }

// Valid tells whether a guard of this cache still holds.
func (c *Cache[K, V]) Valid(g Guard) bool { return c.epochs.holds(&g) }

// Close drops everything and ends the cache's goroutines. It may be called more than once and beside any other method.
func (c *Cache[K, V]) Close() {
	c.life.Lock()
	defer c.life.Unlock()
	if c.epochs.closed() {
		return
	}
	c.epochs.close()
	c.lanes.drain()
	c.policy.Close()
}
