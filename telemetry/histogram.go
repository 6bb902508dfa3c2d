package telemetry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// callBuckets are the upper bounds in seconds for calls and waits: from a Redis on the same host (25 µs) to the
// longest a load may last.
var callBuckets = []float64{
	25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
	1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10, 30,
}

// ageBuckets are those for ages of entries, which reach up to a TTL.
var ageBuckets = []float64{
	25e-6, 250e-6, 2.5e-3, 25e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86400,
}

var histogramOf = [measures]struct {
	description string
	buckets     []float64
}{
	LoadDuration:    {"Loads from the authority.", callBuckets},
	JoinDuration:    {"Waits for a load that another caller began.", callBuckets},
	L2Duration:      {"Calls of Redis, one round trip or one pipeline each.", callBuckets},
	InvalidationLag: {"From a change to its application in this process.", callBuckets},
	AckDuration:     {"From an executed invalidation until it is in force in every process.", callBuckets},
	EntryAge:        {"Age of entries, since their creation, when they were read.", ageBuckets},
	AuditAge:        {"Age of hits, since the authority was read, when they were audited.", ageBuckets},
}

// histograms are the histograms of durations.
type histograms struct {
	byMeasure [measures]metric.Float64Histogram
	options   series[timing, metric.RecordOption]
}

// timing names one time series of durations. The zero op and outcome are "not known" in it.
type timing struct {
	ns      string
	measure Measure
	op      string
	outcome string
}

func newHistograms(meter metric.Meter) (*histograms, error) {
	h := &histograms{}
	for m, of := range histogramOf {
		name := measureNames[m]
		histogram, err := meter.Float64Histogram(prefix+name,
			metric.WithUnit("s"),
			metric.WithDescription(of.description),
			metric.WithExplicitBucketBoundaries(of.buckets...))
		if err != nil {
			return nil, fmt.Errorf("histogram %s: %w", name, err)
		}
		h.byMeasure[m] = histogram
	}
	return h, nil
}

// record takes ctx only for an exemplar's trace.
func (h *histograms) record(ctx context.Context, t timing, d time.Duration) {
	if t.measure >= measures {
		return
	}
	options := h.options.of(t, func() []metric.RecordOption {
		return []metric.RecordOption{metric.WithAttributeSet(t.attributes())}
	})
	h.byMeasure[t.measure].Record(ctx, max(d, 0).Seconds(), options...)
}

// attributes has op for L2 only: each other measure has one operation.
func (t timing) attributes() attribute.Set {
	attributes := []attribute.KeyValue{nsAttribute(t.ns)}
	if t.measure == L2Duration && t.op != "" {
		attributes = append(attributes, attribute.String("op", strings.TrimPrefix(t.op, "l2.")))
	}
	if t.outcome != "" {
		attributes = append(attributes, attribute.String("outcome", t.outcome))
	}
	return attribute.NewSet(attributes...)
}
