package telemetry

import "time"

// Snapshot is what one cache has counted since it began, and its state now. Counts never go down.
type Snapshot struct {
	L1Hits   uint64 // reads answered from memory
	L1Misses uint64 // reads that were not
	L2Hits   uint64 // L2 reads that brought a value or a remembered absence
	L2Misses uint64 // L2 reads that answered without one

	LoadFound  uint64 // loads that brought a value
	LoadAbsent uint64 // loads that were told there is none
	LoadFailed uint64 // loads that failed; never counted as absent

	Stale    uint64 // answers served past their lease (ServeStale); also counted in the lookup that failed to do better
	Negative uint64 // answers "absent" served from a tier; also counted in that tier's hits

	L1Entries int64 // entries in memory now
	L1Cost    int64 // their cost now, in the unit of the cache's cost function

	LeaseRemaining time.Duration // how long L1 may still be answered from; 0 or less: not at all. The least of all partitions in use
	Degraded       bool          // the cache knows that it works with less than it was configured for, such as no Redis
}

// addCounts adds the counts of other.
func (s Snapshot) addCounts(other Snapshot) Snapshot {
	s.L1Hits += other.L1Hits
	s.L1Misses += other.L1Misses
	s.L2Hits += other.L2Hits
	s.L2Misses += other.L2Misses
	s.LoadFound += other.LoadFound
	s.LoadAbsent += other.LoadAbsent
	s.LoadFailed += other.LoadFailed
	s.Stale += other.Stale
	s.Negative += other.Negative
	return s
}

// addState joins the states of two caches of one namespace: entries and cost add up, the shorter lease and the worse
// health win.
func (s Snapshot) addState(other Snapshot) Snapshot {
	s.L1Entries += other.L1Entries
	s.L1Cost += other.L1Cost
	s.LeaseRemaining = min(s.LeaseRemaining, other.LeaseRemaining)
	s.Degraded = s.Degraded || other.Degraded
	return s
}
