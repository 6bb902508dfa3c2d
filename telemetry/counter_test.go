package telemetry_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/layercache/layercache/telemetry"
)

// seriesName renders a metric and its attributes, which a Set keeps in the order of their keys.
func seriesName(metric string, attributes []attribute.KeyValue) string {
	parts := make([]string, 0, len(attributes))
	for _, a := range attributes {
		parts = append(parts, string(a.Key)+"="+a.Value.String())
	}
	return metric + "{" + strings.Join(parts, ",") + "}"
}

// eventSeries is the specification of the events' metrics: design §6 and what was added to it.
var eventSeries = map[telemetry.Event]string{
	telemetry.FillStored:              "fill{ns=policies,result=stored}",
	telemetry.FillRefusedEpoch:        "fill{ns=policies,result=refused_epoch}",
	telemetry.FillRefusedLease:        "fill{ns=policies,result=refused_lease}",
	telemetry.FillRefusedFence:        "fill{ns=policies,result=refused_fence}",
	telemetry.FillRefusedFull:         "fill{ns=policies,result=refused_full}",
	telemetry.FillFailed:              "fill{ns=policies,result=failed}",
	telemetry.InvalidationSent:        "invalidation{dir=sent,mode=keys,ns=policies}",
	telemetry.InvalidationSentAll:     "invalidation{dir=sent,mode=all,ns=policies}",
	telemetry.InvalidationReceived:    "invalidation{dir=received,mode=keys,ns=policies}",
	telemetry.InvalidationReceivedAll: "invalidation{dir=received,mode=all,ns=policies}",
	telemetry.InvalidationPending:     "invalidation{dir=pending,mode=keys,ns=policies}",
	telemetry.Flush:                   "invalidation{dir=local,mode=flush,ns=policies}",
	telemetry.BusGap:                  "bus.gap{ns=policies}",
	telemetry.BusReconnect:            "bus.reconnect{ns=policies}",
	telemetry.EpochChangeStart:        "bus.epoch_change{ns=policies,reason=start}",
	telemetry.EpochChangeLost:         "bus.epoch_change{ns=policies,reason=lost}",
	telemetry.EpochChangeReset:        "bus.epoch_change{ns=policies,reason=reset}",
	telemetry.EpochChangeExplicit:     "bus.epoch_change{ns=policies,reason=explicit}",
	telemetry.LeaseLapsed:             "lease.lapse{ns=policies}",
	telemetry.RenewFailed:             "failure{ns=policies,reason=renew}",
	telemetry.PollFailed:              "failure{ns=policies,reason=poll}",
	telemetry.PayloadRejectedCorrupt:  "payload.rejected{ns=policies,reason=corrupt}",
	telemetry.PayloadRejectedForeign:  "payload.rejected{ns=policies,reason=foreign}",
	telemetry.PayloadRejectedSchema:   "payload.rejected{ns=policies,reason=schema}",
	telemetry.PayloadRejectedOversize: "payload.rejected{ns=policies,reason=oversize}",
	telemetry.PayloadRejectedVersion:  "payload.rejected{ns=policies,reason=version}",
	telemetry.PayloadRejectedMessage:  "payload.rejected{ns=policies,reason=message}",
	telemetry.LoadPanic:               "failure{ns=policies,reason=load_panic}",
	telemetry.LoadTimeout:             "failure{ns=policies,reason=load_timeout}",
	telemetry.LoadBehind:              "failure{ns=policies,reason=load_behind}",
	telemetry.OutboxDelivered:         "outbox{ns=policies,result=delivered}",
	telemetry.OutboxResent:            "outbox{ns=policies,result=resent}",
	telemetry.OutboxTakenOver:         "outbox{ns=policies,result=taken_over}",
	telemetry.AuditFresh:              "audit{ns=policies,result=fresh}",
	telemetry.AuditStale:              "audit{ns=policies,result=stale}",
	telemetry.AuditUnknown:            "audit{ns=policies,result=unknown}",
	telemetry.StateSaved:              "state{ns=policies,result=saved}",
	telemetry.StateLoaded:             "state{ns=policies,result=loaded}",
	telemetry.StateConflict:           "state{ns=policies,result=conflict}",
	telemetry.StateSavedBytes:         "state.bytes{form=saved,ns=policies}",
	telemetry.StateStoredBytes:        "state.bytes{form=stored,ns=policies}",
	telemetry.StateLoadedBytes:        "state.bytes{form=loaded,ns=policies}",
}

func TestEachEventCountsUnderItsOwnSeries(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	want := map[string]float64{}
	for ev, name := range eventSeries {
		n := int64(ev) + 1 // different for each, so that a mix-up shows
		b.Count("policies", ev, n)
		b.Count("policies", ev, n)
		want[name] = float64(2 * n)
	}
	got := b.collect(t)
	if !maps.Equal(got.values, want) {
		t.Errorf("got %v\nwant %v", got.values, want)
	}
	for metric, monotonic := range got.monotonic {
		if !monotonic {
			t.Errorf("%s is not a counter", metric)
		}
	}
	if unit := got.units["state.bytes"]; unit != "By" {
		t.Errorf("state.bytes is in %q, want By", unit)
	}
}

func TestEachEventHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for ev := telemetry.Event(0); !strings.HasPrefix(ev.String(), "event("); ev++ {
		if seen[ev.String()] || ev.String() == "" {
			t.Errorf("event %d is named %q, which is empty or taken", ev, ev)
		}
		seen[ev.String()] = true
	}
	if len(seen) != len(eventSeries) {
		t.Errorf("%d events have names, %d have a metric in this test: %v", len(seen), len(eventSeries), slices.Sorted(maps.Keys(seen)))
	}
}

func TestCountOfNothingAddsNothing(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Count("policies", telemetry.BusGap, 0)
	b.Count("policies", telemetry.BusGap, -3)
	b.Count("policies", telemetry.Event(255), 1)
	if got := b.collect(t); len(got.values) != 0 {
		t.Errorf("got %v, want no series", got.values)
	}
}

func TestNamespacesAreCountedApartAndWithoutTheirTenant(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Count("policies", telemetry.BusGap, 1)
	b.Count("policies@acme", telemetry.BusGap, 2)
	b.Count("sessions", telemetry.BusGap, 4)
	b.Observe("policies@acme", telemetry.EntryAge, 1)
	b.Report("policies@acme", "renew", errTest)
	b.Watch("policies@acme", func() telemetry.Snapshot { return telemetry.Snapshot{L1Hits: 1} })
	_, span := b.Start(t.Context(), telemetry.Op{Name: telemetry.OpLoad, Namespace: "policies@acme"})
	span.End(telemetry.Found, nil)

	got := b.collect(t)
	got.want(t, map[string]float64{"bus.gap{ns=policies}": 3, "bus.gap{ns=sessions}": 4})
	if strings.Contains(got.all()+b.log.String(), "acme") {
		t.Errorf("the tenant is in %s or in the log %s", got.all(), b.log)
	}
}
