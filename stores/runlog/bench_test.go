package runlog_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
)

var token = json.RawMessage(`{"TextDelta":{"run_id":"0197a4b2-0000-7000-8000-000000000001",` +
	`"delta":" token","timestamp":"2026-11-21T12:00:00Z"}}`)

func benchStore(b *testing.B) *runlog.Store {
	b.Helper()
	return open(b, runlog.Config{Backend: onRedis(b, redistest.Start(b).Client())})
}

// What does one token cost?
func BenchmarkAppend(b *testing.B) {
	s := benchStore(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(b.Context(), "r", runlog.Event{Body: token}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// How many times the events per second of Append does a batch of 64 store?
func BenchmarkAppendBatch64(b *testing.B) {
	s := benchStore(b)
	events := make([]runlog.Event, 64)
	for i := range events {
		events[i].Body = token
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.AppendBatch(b.Context(), "r", events); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(64*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// How many times the events per second of Append does AppendBatch of 64 store? Both by turns in one run, each for as many calls as
// take about as long, so that each is measured at its own pace and what else the machine does falls on both; the medians of what an
// event took. The promise is 15.
func BenchmarkBatchAgainstSingles(b *testing.B) {
	s := benchStore(b)
	events := make([]runlog.Event, 64)
	for i := range events {
		events[i].Body = token
	}
	var singles, batches []time.Duration
	for b.Loop() {
		began := time.Now()
		for _, e := range events {
			if _, err := s.Append(b.Context(), "r", e); err != nil {
				b.Fatal(err)
			}
		}
		singles = append(singles, time.Since(began)/64)
		began = time.Now()
		for range 16 {
			if _, err := s.AppendBatch(b.Context(), "r", events); err != nil {
				b.Fatal(err)
			}
		}
		batches = append(batches, time.Since(began)/(16*64))
	}
	b.ReportMetric(float64(median(singles))/float64(median(batches)), "times")
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// Does a page cost the same wherever it is?
func BenchmarkListAfter(b *testing.B) {
	s := benchStore(b)
	events := make([]runlog.Event, 1000)
	for i := range events {
		events[i].Body = token
	}
	for range 10 {
		if _, err := s.AppendBatch(b.Context(), "r", events); err != nil {
			b.Fatal(err)
		}
	}
	for name, after := range map[string]uint64{"beginning": 0, "middle": 5000, "end": 9900} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p, err := s.ListAfter(b.Context(), "r", runlog.Cursor{Seq: after}, 100); err != nil || len(p.Events) != 100 {
					b.Fatal(len(p.Events), err)
				}
			}
		})
	}
}

// What does the tail from memory cost?
func BenchmarkLast(b *testing.B) {
	s := open(b, runlog.Config{Backend: &runlog.Memory{}})
	if _, err := s.Append(b.Context(), "r", runlog.Event{Body: token}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Last(b.Context(), "r"); err != nil {
			b.Fatal(err)
		}
	}
}
