package telemetry_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/layercache/layercache/telemetry"
)

func TestEachMeasureHasItsHistogramInSecondsFromTwentyFiveMicroseconds(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	want := map[telemetry.Measure]string{
		telemetry.LoadDuration:    "load.duration",
		telemetry.JoinDuration:    "load.join.duration",
		telemetry.L2Duration:      "l2.duration",
		telemetry.InvalidationLag: "invalidation.lag",
		telemetry.AckDuration:     "invalidation.ack.duration",
		telemetry.EntryAge:        "entry.age",
		telemetry.AuditAge:        "audit.age",
	}
	for m := range want {
		b.Observe("policies", m, 30*time.Millisecond)
	}
	got := b.collect(t)
	for m, metric := range want {
		if m.String() != metric {
			t.Errorf("measure %d is named %s, want %s", m, m, metric)
		}
		h := got.histograms[metric+"{ns=policies}"]
		if h.count != 1 || h.sum != 0.03 {
			t.Errorf("%s: count %d, sum %v, want 1 of 0.03 s", metric, h.count, h.sum)
		}
		if len(h.bounds) == 0 || h.bounds[0] != 25e-6 || !slices.IsSorted(h.bounds) {
			t.Errorf("%s: buckets %v, want them to begin at 25 µs and rise", metric, h.bounds)
		}
		if got.units[metric] != "s" {
			t.Errorf("%s is in %q, want s", metric, got.units[metric])
		}
	}
	if after := telemetry.Measure(len(want)); !strings.HasPrefix(after.String(), "measure(") {
		t.Errorf("measure %s is not in this test", after)
	}
}

func TestEachCallRecordsTheMeasureOfItsKindOnce(t *testing.T) {
	want := map[telemetry.OpName]string{
		telemetry.OpL2Get:      "l2.duration{ns=policies,op=get,outcome=ok}",
		telemetry.OpL2Fill:     "l2.duration{ns=policies,op=fill,outcome=ok}",
		telemetry.OpInvalidate: "l2.duration{ns=policies,op=invalidate,outcome=ok}",
		telemetry.OpRenew:      "l2.duration{ns=policies,op=renew,outcome=ok}",
		telemetry.OpAcks:       "l2.duration{ns=policies,op=acks,outcome=ok}",
		telemetry.OpReset:      "l2.duration{ns=policies,op=reset,outcome=ok}",
		telemetry.OpDiscard:    "l2.duration{ns=policies,op=discard,outcome=ok}",
		telemetry.OpLeave:      "l2.duration{ns=policies,op=leave,outcome=ok}",
		telemetry.OpLoad:       "load.duration{ns=policies,outcome=ok}",
		telemetry.OpJoin:       "load.join.duration{ns=policies,outcome=ok}",
		telemetry.OpInForce:    "invalidation.ack.duration{ns=policies,outcome=ok}",
	}
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, sdktrace.AlwaysSample())
		for name := range want {
			_, span := b.Start(t.Context(), telemetry.Op{Name: name, Namespace: "policies"})
			<-time.After(time.Duration(name+1) * time.Second)
			span.End(telemetry.OK, nil)
		}
		got := b.collect(t)
		for name, series := range want {
			if h := got.histograms[series]; h.count != 1 || h.sum != float64(name+1) {
				t.Errorf("%s: %s has count %d, sum %v, want 1 of %d s", name, series, h.count, h.sum, name+1)
			}
		}
		if len(got.histograms) != len(want) {
			t.Errorf("%d series, want %d: %s", len(got.histograms), len(want), got.all())
		}
	})
	if after := telemetry.OpName(len(want)); !strings.HasPrefix(after.String(), "op(") {
		t.Errorf("call %s is not in this test", after)
	}
}

func TestNegativeDurationIsRecordedAsZero(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Observe("policies", telemetry.EntryAge, -time.Hour)
	if h := b.collect(t).histograms["entry.age{ns=policies}"]; h.count != 1 || h.sum != 0 {
		t.Errorf("count %d, sum %v, want 1 and 0", h.count, h.sum)
	}
}

func TestUnknownNumbersArePrintedAndNotRecorded(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Observe("policies", telemetry.Measure(200), time.Second)
	_, span := b.Start(t.Context(), telemetry.Op{Name: telemetry.OpName(200), Namespace: "policies"})
	span.End(telemetry.OK, nil)
	if got := b.collect(t); len(got.histograms) != 0 {
		t.Errorf("recorded %s", got.all())
	}
	for got, want := range map[string]string{
		telemetry.Measure(200).String(): "measure(200)",
		telemetry.OpName(200).String():  "op(200)",
		telemetry.Outcome(200).String(): "outcome(200)",
		telemetry.Event(200).String():   "event(200)",
	} {
		if got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
	}
}

func TestEachOutcomeHasANameOfItsOwn(t *testing.T) {
	seen := map[string]telemetry.Outcome{}
	o := telemetry.Outcome(0)
	for ; !strings.HasPrefix(o.String(), "outcome("); o++ {
		if other, taken := seen[o.String()]; taken || o.String() == "" {
			t.Errorf("outcome %d is named %q as %d is", o, o, other)
		}
		seen[o.String()] = o
	}
	if o != telemetry.Failed+1 {
		t.Errorf("names end at %d, want all up to %s", o, telemetry.Failed)
	}
}
