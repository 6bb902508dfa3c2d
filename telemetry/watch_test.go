package telemetry_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/layercache/layercache/telemetry"
)

func TestReaderIsCalledOnlyAtCollection(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	reads := 0
	stop := b.Watch("policies", func() telemetry.Snapshot { reads++; return telemetry.Snapshot{} })
	defer stop()
	if reads != 0 {
		t.Errorf("read %d times before a collection", reads)
	}
	b.collect(t)
	if reads != 1 {
		t.Errorf("read %d times at one collection, want 1", reads)
	}
}

func TestLookupsAreCountedPerTierAndResult(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Watch("policies", func() telemetry.Snapshot {
		return telemetry.Snapshot{
			L1Hits: 1, L1Misses: 2, L2Hits: 3, L2Misses: 4, LoadFound: 5, LoadAbsent: 6, LoadFailed: 7,
			Stale: 8, Negative: 9, L1Entries: 10, L1Cost: 11, LeaseRemaining: 1500 * time.Millisecond, Degraded: true,
		}
	})
	want := map[string]float64{
		"lookup{ns=policies,result=hit,tier=l1}":      1,
		"lookup{ns=policies,result=miss,tier=l1}":     2,
		"lookup{ns=policies,result=hit,tier=l2}":      3,
		"lookup{ns=policies,result=miss,tier=l2}":     4,
		"lookup{ns=policies,result=found,tier=load}":  5,
		"lookup{ns=policies,result=absent,tier=load}": 6,
		"lookup{ns=policies,result=failed,tier=load}": 7,
		"served{kind=stale,ns=policies}":              8,
		"served{kind=negative,ns=policies}":           9,
		"l1.entries{ns=policies}":                     10,
		"l1.cost{ns=policies}":                        11,
		"lease.remaining{ns=policies}":                1.5,
		"degraded{ns=policies}":                       1,
	}
	got := b.collect(t)
	if !maps.Equal(got.values, want) {
		t.Errorf("got %v\nwant %v", got.values, want)
	}
	if !got.monotonic["lookup"] || !got.monotonic["served"] || got.monotonic["l1.entries"] {
		t.Errorf("counters: %v, want lookup and served only", got.monotonic)
	}
	if got.units["lease.remaining"] != "s" {
		t.Errorf("lease.remaining is in %q, want s", got.units["lease.remaining"])
	}
}

func TestTwoCachesOfANamespaceAddUp(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Watch("policies", func() telemetry.Snapshot {
		return telemetry.Snapshot{L1Hits: 10, LoadFailed: 1, L1Entries: 100, L1Cost: 7, LeaseRemaining: time.Second, Degraded: true}
	})
	b.Watch("policies", func() telemetry.Snapshot {
		return telemetry.Snapshot{L1Hits: 20, LoadFailed: 2, L1Entries: 200, L1Cost: 8, LeaseRemaining: 3 * time.Second}
	})
	b.Watch("sessions", func() telemetry.Snapshot { return telemetry.Snapshot{L1Hits: 40, LeaseRemaining: -time.Second} })
	for range 2 { // a second collection neither doubles nor loses
		b.collect(t).want(t, map[string]float64{
			"lookup{ns=policies,result=hit,tier=l1}":      30,
			"lookup{ns=policies,result=failed,tier=load}": 3,
			"l1.entries{ns=policies}":                     300,
			"l1.cost{ns=policies}":                        15,
			"lease.remaining{ns=policies}":                1, // the shortest
			"degraded{ns=policies}":                       1, // the worst
			"lookup{ns=sessions,result=hit,tier=l1}":      40,
			"lease.remaining{ns=sessions}":                0, // lapsed, not negative
			"degraded{ns=sessions}":                       0,
		})
	}
}

func TestStopEndsReadingAndKeepsTheCounts(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	reads, hits := 0, uint64(5)
	stop := b.Watch("policies", func() telemetry.Snapshot {
		reads++
		return telemetry.Snapshot{L1Hits: hits, L1Entries: 3, LeaseRemaining: time.Second}
	})
	b.collect(t)
	hits = 8 // counted after the last collection and before the stop
	stop()
	stop()
	before := reads
	hits = 1000

	got := b.collect(t)
	if reads != before {
		t.Errorf("read %d times after stop", reads-before)
	}
	got.want(t, map[string]float64{"lookup{ns=policies,result=hit,tier=l1}": 8})
	for name := range got.values {
		if strings.HasPrefix(name, "l1.entries") || strings.HasPrefix(name, "lease.remaining") || strings.HasPrefix(name, "degraded") {
			t.Errorf("%s is shown although no cache of the namespace lives", name)
		}
	}

	b.Watch("policies", func() telemetry.Snapshot { return telemetry.Snapshot{L1Hits: 2} })
	b.collect(t).want(t, map[string]float64{"lookup{ns=policies,result=hit,tier=l1}": 10})
}

func TestStopOfOneCacheLeavesItsSiblingWatched(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	stop := b.Watch("policies", func() telemetry.Snapshot { return telemetry.Snapshot{L1Hits: 1, L1Entries: 1} })
	b.Watch("policies", func() telemetry.Snapshot { return telemetry.Snapshot{L1Hits: 2, L1Entries: 2} })
	stop()
	b.collect(t).want(t, map[string]float64{"lookup{ns=policies,result=hit,tier=l1}": 3, "l1.entries{ns=policies}": 2})
}
