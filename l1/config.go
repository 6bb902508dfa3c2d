package l1

import "fmt"

const (
	defaultMaxEntries = 65536
	maxMaxEntries     = 1 << 28
	minStripes        = 4096
	maxStripes        = 1 << 24
	maxMaxCost        = 1 << 50 // far enough from the end of int64 for sums
)

// Config configures a [Cache]. The zero value is a cache of 65,536 entries.
type Config[K comparable, V any] struct {
	// MaxCost bounds the sum of the entries' costs, in the unit of Cost. 0 means MaxEntries; at most 2^50.
	MaxCost int64
	// MaxEntries bounds the number of entries. 0 means 65,536; at most 2^28. Some 40 to 80 bytes are allocated for each at
	// the start (table and frequency counters), entries not included.
	MaxEntries int64
	// Cost tells what an entry costs, in any unit as long as MaxCost has the same. Nil means 1 for each entry. An answer
	// below MaxCost/MaxEntries, rounded up, is charged as that. It runs without locks, once for each Put.
	Cost func(key K, value V) int64
	// Stripes is the number of key epochs. An Evict voids all entries of a stripe, so with n entries about n/Stripes
	// go together. 0 means 4096; a power of two from 4096 to 2^24. 8 bytes each.
	Stripes int
}

func (c Config[K, V]) withDefaults() Config[K, V] {
	if c.MaxEntries == 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.MaxCost == 0 {
		c.MaxCost = c.MaxEntries
	}
	if c.Stripes == 0 {
		c.Stripes = minStripes
	}
	return c
}

func (c Config[K, V]) validate() error {
	if c.MaxEntries < 0 || c.MaxEntries > maxMaxEntries {
		return fmt.Errorf("l1: Config.MaxEntries must be from 0 to %d, got %d", maxMaxEntries, c.MaxEntries)
	}
	if c.MaxCost < 0 || c.MaxCost > maxMaxCost {
		return fmt.Errorf("l1: Config.MaxCost must be from 0 to %d, got %d", int64(maxMaxCost), c.MaxCost)
	}
	if c.Stripes < minStripes || c.Stripes > maxStripes || c.Stripes&(c.Stripes-1) != 0 {
		return fmt.Errorf("l1: Config.Stripes must be 0 or a power of two from %d to %d, got %d", minStripes, maxStripes, c.Stripes)
	}
	return nil
}

// unit is the least an entry is charged: with it, MaxCost admits no more than MaxEntries entries.
func (c Config[K, V]) unit() int64 {
	u := c.MaxCost / c.MaxEntries
	if c.MaxCost%c.MaxEntries != 0 {
		u++
	}
	return u
}
