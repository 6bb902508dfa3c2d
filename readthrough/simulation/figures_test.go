package simulation_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// figures are what many seeds come to.
type figures struct {
	seeds, wrong             int
	reads, old, linearizable int
	writes, messages, found  int
	took                     time.Duration
	stalest                  float64 // of B
	faults                   map[string]int
}

func (f *figures) add(s story) {
	f.seeds++
	if len(s.broken) > 0 || len(s.report.Violations) > 0 {
		f.wrong++
	}
	f.reads += s.report.Reads
	f.old += s.report.Old
	f.linearizable += s.report.Linearizable
	f.writes += s.report.Writes
	f.messages += len(s.trace)
	f.found += len(s.report.Violations)
	f.took += s.took
	f.stalest = max(f.stalest, float64(s.report.Stalest)/float64(s.plan.bound))
	for name, n := range s.faults {
		f.faults[name] += n
	}
}

// String is the figures in one line.
func (f figures) String() string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(f.faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", name, f.faults[name]))
	}
	return fmt.Sprintf("%d seeds, %s simulated, %d reads (%d old, %d linearizable), %d writes, %d messages, stalest %.2f B, %d violations; faults: %s",
		f.seeds, f.took.Round(time.Second), f.reads, f.old, f.linearizable, f.writes, f.messages, f.stalest, f.found, strings.Join(faults, ", "))
}
