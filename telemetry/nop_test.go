package telemetry_test

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/layercache/layercache/telemetry"
)

func TestNopCostsNoAllocation(t *testing.T) {
	tel, ctx := telemetry.Nop, t.Context()
	reads := uint64(0)
	read := func() telemetry.Snapshot { reads++; return telemetry.Snapshot{L1Hits: reads} }
	allocs := testing.AllocsPerRun(100, func() {
		callCtx, span := tel.Start(ctx, telemetry.Op{Name: telemetry.OpLoad, Namespace: "policies", Keys: 1})
		span.Link(callCtx)
		span.End(telemetry.Failed, errTest)
		tel.Count("policies", telemetry.FillStored, 1)
		tel.Observe("policies", telemetry.EntryAge, time.Second)
		tel.Report("policies", "renew", errTest)
		tel.Watch("policies", read)()
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
	if reads != 0 {
		t.Errorf("a watched cache was read %d times", reads)
	}
}

func TestNopLeavesTheContextAlone(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	ctx, _ := b.tracer.Start(t.Context(), "request")
	if got, _ := telemetry.Nop.Start(ctx, loadOp); got != ctx {
		t.Error("Nop changed the context")
	}
}

// What does a round trip pay for being watched when nobody traces it?
func BenchmarkStartEndWithoutAParent(b *testing.B) {
	tel, err := telemetry.NewOTel(telemetry.Config{
		MeterProvider: metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_, span := tel.Start(ctx, loadOp)
		span.End(telemetry.Found, nil)
	}
}

// And an event?
func BenchmarkCount(b *testing.B) {
	tel, err := telemetry.NewOTel(telemetry.Config{
		MeterProvider: metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tel.Count("policies", telemetry.FillStored, 1)
	}
}
