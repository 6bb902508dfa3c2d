package telemetry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// watchers read the caches' own counters when somebody collects metrics, and at no other time.
type watchers struct {
	lookup    metric.Int64ObservableCounter
	served    metric.Int64ObservableCounter
	entries   metric.Int64ObservableGauge
	cost      metric.Int64ObservableGauge
	remaining metric.Float64ObservableGauge
	degraded  metric.Int64ObservableGauge

	mu      sync.Mutex            // guards live, retired
	live    map[*watcher]struct{} // those whose stop was not called yet
	retired map[string]Snapshot   // by namespace: counts of stopped watchers, kept so that no sum goes down
}

type watcher struct {
	ns   string
	read func() Snapshot
}

func newWatchers(meter metric.Meter) (*watchers, error) {
	w := &watchers{live: make(map[*watcher]struct{}), retired: make(map[string]Snapshot)}
	var errs [6]error
	w.lookup, errs[0] = meter.Int64ObservableCounter(prefix+"lookup",
		metric.WithDescription("Lookups per tier (l1, l2, load) and result."))
	w.served, errs[1] = meter.Int64ObservableCounter(prefix+"served",
		metric.WithDescription("Answers of a kind: stale or negative. Each is also in lookup."))
	w.entries, errs[2] = meter.Int64ObservableGauge(prefix+"l1.entries",
		metric.WithDescription("Entries in memory."))
	w.cost, errs[3] = meter.Int64ObservableGauge(prefix+"l1.cost",
		metric.WithDescription("Cost of the entries in memory, in the unit of the cache's cost function."))
	w.remaining, errs[4] = meter.Float64ObservableGauge(prefix+"lease.remaining",
		metric.WithUnit("s"),
		metric.WithDescription("How long L1 may still be answered from; the least of all caches of the namespace."))
	w.degraded, errs[5] = meter.Int64ObservableGauge(prefix+"degraded",
		metric.WithDescription("1 if a cache works with less than it was configured for, else 0."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("observable instruments: %w", err)
	}

	// Registered once for all namespaces and never unregistered: it ends with the process, as Telemetry does.
	_, err := meter.RegisterCallback(w.collect, w.lookup, w.served, w.entries, w.cost, w.remaining, w.degraded)
	if err != nil {
		return nil, fmt.Errorf("metrics callback: %w", err)
	}
	return w, nil
}

func (w *watchers) add(ns string, read func() Snapshot) (stop func()) {
	watcher := &watcher{ns: ns, read: read}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[watcher] = struct{}{}
	return sync.OnceFunc(func() { w.retire(watcher) })
}

// retire reads a watcher for the last time, outside the lock.
func (w *watchers) retire(watcher *watcher) {
	last := watcher.read()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.live, watcher)
	w.retired[watcher.ns] = w.retired[watcher.ns].addCounts(last)
}

func (w *watchers) collect(_ context.Context, o metric.Observer) error {
	w.mu.Lock()
	live := make([]*watcher, 0, len(w.live))
	for watcher := range w.live {
		live = append(live, watcher)
	}
	counts := make(map[string]Snapshot, len(w.retired))
	for ns, s := range w.retired {
		counts[ns] = s
	}
	w.mu.Unlock()

	states := make(map[string]Snapshot, len(live))
	for _, watcher := range live {
		s := watcher.read()
		counts[watcher.ns] = counts[watcher.ns].addCounts(s)
		if state, ok := states[watcher.ns]; ok {
			s = state.addState(s)
		}
		states[watcher.ns] = s
	}
	for ns, s := range counts {
		w.observeCounts(o, ns, s)
	}
	for ns, s := range states {
		w.observeState(o, ns, s)
	}
	return nil
}

func (w *watchers) observeCounts(o metric.Observer, ns string, s Snapshot) {
	lookup := func(tier, result string, n uint64) {
		o.ObserveInt64(w.lookup, int64(n), metric.WithAttributes(nsAttribute(ns),
			attribute.String("tier", tier), attribute.String("result", result)))
	}
	lookup("l1", "hit", s.L1Hits)
	lookup("l1", "miss", s.L1Misses)
	lookup("l2", "hit", s.L2Hits)
	lookup("l2", "miss", s.L2Misses)
	lookup("load", "found", s.LoadFound)
	lookup("load", "absent", s.LoadAbsent)
	lookup("load", "failed", s.LoadFailed)

	served := func(kind string, n uint64) {
		o.ObserveInt64(w.served, int64(n), metric.WithAttributes(nsAttribute(ns), attribute.String("kind", kind)))
	}
	served("stale", s.Stale)
	served("negative", s.Negative)
}

func (w *watchers) observeState(o metric.Observer, ns string, s Snapshot) {
	of := metric.WithAttributes(nsAttribute(ns))
	o.ObserveInt64(w.entries, s.L1Entries, of)
	o.ObserveInt64(w.cost, s.L1Cost, of)
	o.ObserveFloat64(w.remaining, max(s.LeaseRemaining, 0).Seconds(), of)
	degraded := int64(0)
	if s.Degraded {
		degraded = 1
	}
	o.ObserveInt64(w.degraded, degraded, of)
}
