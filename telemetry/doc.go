// Package telemetry is what happened in a cache, told to OpenTelemetry.
//
// The layers report to a Telemetry; Nop is the one that listens to nothing. NewOTel makes one that reports to the
// tracer and meter providers the service already has:
//
//	tel, err := telemetry.NewOTel(telemetry.Config{TracerProvider: tracers, MeterProvider: meters, Logger: logger})
//	if err != nil {
//		return err
//	}
//	stop := tel.Watch("policies", cache.snapshot) // read when metrics are collected
//	defer stop()
//
//	ctx, span := tel.Start(ctx, telemetry.Op{Name: telemetry.OpL2Get, Namespace: "policies", Keys: 1})
//	reply, err := get(ctx)
//	span.End(telemetry.Hit, err)
//	tel.Count("policies", telemetry.FillStored, 1)
//
// A hit in L1 reports nothing: the cache counts it in an atomic of its own, which Watch reads at collection. A span is
// opened only if the caller's context carries one that is being recorded, so an unsampled request pays for a clock
// read and a histogram, and background work never begins a trace.
//
// # Metrics
//
// All names begin with "layercache."; every metric has the attribute ns, the namespace.
//
//	lookup{tier,result}          counter    l1: hit miss; l2: hit miss; load: found absent failed
//	served{kind}                 counter    stale, negative; each is also in lookup
//	load.duration{outcome}       histogram  loads from the authority
//	load.join.duration{outcome}  histogram  waits for another caller's load
//	l2.duration{op,outcome}      histogram  calls of Redis
//	fill{result}                 counter    stored, refused_epoch _lease _fence _full, failed
//	invalidation{dir,mode}       counter    dir sent received pending local; mode keys all flush
//	invalidation.lag             histogram  from a change to its application here
//	invalidation.ack.duration    histogram  until an invalidation is in force everywhere; {outcome} when a Span timed it
//	bus.gap, bus.reconnect       counter
//	bus.epoch_change{reason}     counter    start lost reset explicit
//	lease.remaining              gauge      seconds L1 may still be answered from
//	lease.lapse                  counter    reads that found no valid serving lease
//	degraded                     gauge      0 or 1
//	payload.rejected{reason}     counter    corrupt foreign schema oversize version message
//	failure{reason}              counter    renew poll load_panic load_timeout load_behind
//	outbox{result}               counter    delivered resent taken_over
//	state{result}                counter    saved loaded conflict
//	state.bytes{form}            counter    saved stored loaded, in bytes
//	background.error{op}         counter    failures given to Report
//	audit{result}                counter    fresh stale unknown; an alert belongs on stale
//	audit.age                    histogram
//	entry.age                    histogram
//	l1.entries, l1.cost          gauge
//
// Durations are in seconds, with buckets from 25 µs.
//
// # Concurrency and failure
//
// Every method may be called from any goroutine and none waits for an exporter. Nothing here can fail after NewOTel.
// Two caches of one namespace add up: counts, entries and cost are summed, the shorter lease and the worse health are
// shown. The counts of a cache that was closed stay in the sum, so a counter never goes down.
//
// # What it refuses to do
//
// No attribute and no span holds a key, a tenant or a value. The text of an error is not recorded in spans, only its
// type; a log line has the text that was given to Report. Providers are used and never shut down. Attribute values come from constants and from namespaces, so the
// number of time series is bounded by the program, not by its traffic.
package telemetry
