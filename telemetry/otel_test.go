package telemetry_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/layercache/layercache/telemetry"
)

func TestZeroConfigReportsToTheGlobalProviders(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	before := otel.GetMeterProvider()
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	defer otel.SetMeterProvider(before)

	tel, err := telemetry.NewOTel(telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	tel.Count("policies", telemetry.BusGap, 1)
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.ScopeMetrics) != 1 || got.ScopeMetrics[0].Metrics[0].Name != "layercache.bus.gap" {
		t.Errorf("the global meter provider got %v", got.ScopeMetrics)
	}
}

var errMeter = errors.New("no more instruments")

// refusing makes meters that make every instrument but the one of a name.
type refusing struct {
	noopmetric.MeterProvider
	name string
}

func (r refusing) Meter(string, ...metric.MeterOption) metric.Meter {
	return refusingMeter{name: r.name}
}

type refusingMeter struct {
	noopmetric.Meter
	name string
}

func (r refusingMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return noopmetric.Int64Counter{}, r.check(name)
}

func (r refusingMeter) Float64Histogram(name string, _ ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return noopmetric.Float64Histogram{}, r.check(name)
}

func (r refusingMeter) Int64ObservableGauge(name string, _ ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	return noopmetric.Int64ObservableGauge{}, r.check(name)
}

func (r refusingMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return noopmetric.Registration{}, r.check("callback")
}

func (r refusingMeter) check(name string) error {
	if name == r.name {
		return errMeter
	}
	return nil
}

func TestNewOTelReturnsWhatTheMeterRefuses(t *testing.T) {
	for name, inError := range map[string]string{
		"layercache.fill":             "fill",
		"layercache.load.duration":    "load.duration",
		"layercache.degraded":         "observable",
		"callback":                    "callback",
		"layercache.background.error": "background.error",
	} {
		tel, err := telemetry.NewOTel(telemetry.Config{MeterProvider: refusing{name: name}})
		if tel != nil || !errors.Is(err, errMeter) || !strings.Contains(err.Error(), inError) {
			t.Errorf("%s refused: got %v, %v", name, tel, err)
		}
	}
	if _, err := telemetry.NewOTel(telemetry.Config{MeterProvider: refusing{}}); err != nil {
		t.Errorf("nothing refused: %v", err)
	}
}

func TestEverythingMayBeCalledAtOnce(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	const workers, rounds = 8, 50
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range rounds {
				stop := b.Watch("policies", func() telemetry.Snapshot { return telemetry.Snapshot{L1Hits: 1} })
				b.Count("policies", telemetry.BusGap, 1)
				b.Observe("policies", telemetry.EntryAge, time.Second)
				b.Report("policies", "renew", errTest)
				_, span := b.Start(t.Context(), loadOp)
				span.End(telemetry.Found, nil)
				stop()
				stop()
			}
		})
	}
	for range 20 {
		b.collect(t)
	}
	all.Wait()
	got := b.collect(t)
	got.want(t, map[string]float64{
		"bus.gap{ns=policies}":                   workers * rounds,
		"background.error{ns=policies,op=renew}": workers * rounds,
		"lookup{ns=policies,result=hit,tier=l1}": workers * rounds,
	})
	if h := got.histograms["load.duration{ns=policies,outcome=found}"]; h.count != workers*rounds {
		t.Errorf("%d loads recorded, want %d", h.count, workers*rounds)
	}
}
