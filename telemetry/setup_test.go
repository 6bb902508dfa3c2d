package telemetry_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/layercache/layercache/telemetry"
)

// bench is a Telemetry on a workbench: all it tells can be read back.
type bench struct {
	telemetry.Telemetry
	reader *sdkmetric.ManualReader
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer // of the service around the cache
	log    *bytes.Buffer
}

func setup(t *testing.T, sampler sdktrace.Sampler) *bench {
	t.Helper()
	b := &bench{
		reader: sdkmetric.NewManualReader(),
		spans:  tracetest.NewSpanRecorder(),
		log:    &bytes.Buffer{},
	}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(b.reader))
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans), sdktrace.WithSampler(sampler))
	b.tracer = tracers.Tracer("service")
	tel, err := telemetry.NewOTel(telemetry.Config{
		TracerProvider: tracers,
		MeterProvider:  meters,
		Logger:         slog.New(slog.NewTextHandler(b.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Telemetry = tel
	return b
}

// histogram is what a test reads of one series of a histogram.
type histogram struct {
	count  uint64
	sum    float64
	bounds []float64
}

// collected is one collection, each series under its full name such as `lookup{ns=a,result=hit,tier=l1}`.
type collected struct {
	values     map[string]float64 // sums and gauges
	histograms map[string]histogram
	monotonic  map[string]bool // by metric: a counter
	units      map[string]string
}

func (b *bench) collect(t *testing.T) collected {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := b.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	c := collected{
		values:     map[string]float64{},
		histograms: map[string]histogram{},
		monotonic:  map[string]bool{},
		units:      map[string]string{},
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			c.add(t, m)
		}
	}
	return c
}

func (c collected) add(t *testing.T, m metricdata.Metrics) {
	t.Helper()
	name, ours := strings.CutPrefix(m.Name, "layercache.")
	if !ours {
		t.Errorf("metric %s is not named layercache.…", m.Name)
	}
	if m.Description == "" {
		t.Errorf("metric %s has no description", m.Name)
	}
	c.units[name] = m.Unit
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		c.monotonic[name] = data.IsMonotonic
		for _, p := range data.DataPoints {
			c.values[seriesName(name, p.Attributes.ToSlice())] = float64(p.Value)
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			c.values[seriesName(name, p.Attributes.ToSlice())] = float64(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			c.values[seriesName(name, p.Attributes.ToSlice())] = p.Value
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			c.histograms[seriesName(name, p.Attributes.ToSlice())] = histogram{p.Count, p.Sum, p.Bounds}
		}
	default:
		t.Errorf("metric %s has unexpected data %T", m.Name, m.Data)
	}
}

// want compares the values of the named series, all of which must be there.
func (c collected) want(t *testing.T, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if got, ok := c.values[name]; !ok || got != value {
			t.Errorf("%s = %v (present: %v), want %v; have %v",
				name, got, ok, value, slices.Sorted(maps.Keys(c.values)))
		}
	}
}

// all is everything a collection says, for a search of what must not be in it.
func (c collected) all() string {
	return fmt.Sprint(slices.Sorted(maps.Keys(c.values)), slices.Sorted(maps.Keys(c.histograms)))
}
