package l1

// Stats is a reading of a cache's counters. The counters are read one after the other, not at one instant.
type Stats struct {
	// Hits and Misses count the answers of Get since New.
	Hits, Misses uint64
	// Entries and Cost are what is held now, entries that are void or past their deadline included.
	Entries, Cost int64
	// Rejected counts what was not worth keeping or could not be kept: above MaxCost, refused by ristretto's
	// admission, or dropped because its queue was full. A Put whose guard was broken is not counted.
	Rejected uint64
	// Evicted counts entries dropped to make room.
	Evicted uint64
}

// Stats reads the counters. It takes no lock; it is meant for collecting metrics, not for every request.
func (c *Cache[K, V]) Stats() Stats {
	s := Stats{
		Entries:  c.table.entries.Load(),
		Cost:     c.table.cost.Load(),
		Rejected: c.rejected.Load(),
		Evicted:  c.evicted.Load(),
	}
	s.Hits, s.Misses = c.lanes.counts()
	return s
}
