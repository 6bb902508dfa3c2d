package telemetry_test

import (
	"context"
	"fmt"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/layercache/layercache/telemetry"
)

// A cache counts its own hits; they are read when somebody collects.
func ExampleNewOTel() {
	reader := sdkmetric.NewManualReader()
	tel, err := telemetry.NewOTel(telemetry.Config{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	stop := tel.Watch("policies", func() telemetry.Snapshot { return telemetry.Snapshot{L1Hits: 41, L1Misses: 1} })
	defer stop()

	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range all.ScopeMetrics[0].Metrics {
		if m.Name == "layercache.lookup" {
			fmt.Println(m.Name, "has", len(m.Data.(metricdata.Sum[int64]).DataPoints), "series")
		}
	}
	// Output: layercache.lookup has 7 series
}

// Nop is what a cache without telemetry reports to.
func ExampleTelemetry() {
	tel := telemetry.Nop
	_, span := tel.Start(context.Background(), telemetry.Op{Name: telemetry.OpLoad, Namespace: "policies"})
	span.End(telemetry.Found, nil)
	tel.Count("policies", telemetry.LoadTimeout, 1)
	fmt.Println(telemetry.OpLoad, telemetry.Found, telemetry.LoadTimeout)
	// Output: load found load_timeout
}
