package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the tracer and of the meter.
const scope = "github.com/layercache/layercache/telemetry"

// prefix stands before every metric's and span's name.
const prefix = "layercache."

// Config says where telemetry goes. Nothing in it is ever closed or shut down.
type Config struct {
	TracerProvider trace.TracerProvider // nil: OpenTelemetry's global one
	MeterProvider  metric.MeterProvider // nil: OpenTelemetry's global one
	Logger         *slog.Logger         // for Report; nil: slog.Default()
}

func (c Config) withDefaults() Config {
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// openTelemetry is the Telemetry of a process that is watched.
type openTelemetry struct {
	tracer    trace.Tracer
	counts    *counters
	durations *histograms
	watched   *watchers
	reports   *reports
}

var _ Telemetry = (*openTelemetry)(nil)

// NewOTel returns a Telemetry that reports to OpenTelemetry. Make one per MeterProvider and share it between all
// caches of the process: the same namespace reported twice to one meter has its gauges overwritten. An error names
// the instrument that the meter refused.
func NewOTel(cfg Config) (Telemetry, error) {
	cfg = cfg.withDefaults()
	meter := cfg.MeterProvider.Meter(scope)

	counts, err := newCounters(meter)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	durations, err := newHistograms(meter)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	watched, err := newWatchers(meter)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	reports, err := newReports(meter, cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	return &openTelemetry{
		tracer:    cfg.TracerProvider.Tracer(scope),
		counts:    counts,
		durations: durations,
		watched:   watched,
		reports:   reports,
	}, nil
}

func (t *openTelemetry) Count(ns string, ev Event, n int64) {
	t.counts.add(withoutTenant(ns), ev, n)
}

func (t *openTelemetry) Observe(ns string, m Measure, d time.Duration) {
	t.durations.record(context.Background(), timing{ns: withoutTenant(ns), measure: m}, d)
}

func (t *openTelemetry) Watch(ns string, read func() Snapshot) (stop func()) {
	return t.watched.add(withoutTenant(ns), read)
}

func (t *openTelemetry) Report(ns, op string, err error) {
	t.reports.add(withoutTenant(ns), op, err)
}

// withoutTenant drops a tenant that a caller left on the namespace: '@' parts the two and is in neither.
func withoutTenant(ns string) string {
	ns, _, _ = strings.Cut(ns, "@")
	return ns
}

// nsAttribute is the one attribute that every metric has.
func nsAttribute(ns string) attribute.KeyValue { return attribute.String("ns", ns) }
