package telemetry

import (
	"context"
	"time"
)

// Telemetry is what the layers report to. Every method is safe for concurrent use and returns without waiting for
// anything. ns is the namespace alone: never a tenant, a key or a value.
type Telemetry interface {
	// Start begins a timed call: an L2 round trip, a load, a wait. The returned context carries a span if ctx already
	// carries one that is being recorded, else it is ctx itself. End of the returned Span records the duration under
	// the measure of the operation (Op documents which), span or no span.
	Start(ctx context.Context, op Op) (context.Context, Span)

	// Count adds n to the counter of an event. An n below 1 adds nothing.
	Count(ns string, ev Event, n int64)

	// Observe records a duration that no Span has timed. A negative duration is recorded as 0.
	Observe(ns string, m Measure, d time.Duration)

	// Watch registers a reader of a cache's own counters. It is called only while metrics are collected, from the
	// collecting goroutine, so that a hit in L1 records nothing; it must not block. Readers of one namespace add up.
	// stop unregisters it after one last read, whose counts are kept so that a sum never goes down: call stop when
	// nothing is counted any more, without holding a lock that read takes. stop may be called more than once.
	Watch(ns string, read func() Snapshot) (stop func())

	// Report tells of a background failure that no caller can be told of, once per failure. op is a constant that
	// says what was tried, such as "renew" or "outbox". The text of err is logged: it must hold no key, value or secret.
	// Each failure counts; the log has one line per operation and type of error in ten seconds. A nil err is none.
	Report(ns string, op string, err error)
}

// Span is a call begun by Start. It belongs to the goroutine that began it.
type Span interface {
	// Link ties this call to the one whose context Start returned, such as a waiter to the load it joined.
	Link(ctx context.Context)

	// End ends the call. err only decides that it failed and of which type it was: its text is not recorded,
	// since a loader's error may name a key. A second End does nothing.
	End(outcome Outcome, err error)
}
