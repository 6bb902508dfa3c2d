package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// counterOf says which metric an event counts under, and with which attributes beside the namespace.
var counterOf = [events]struct {
	metric     string
	attributes []attribute.KeyValue
}{
	FillStored:       {"fill", result("stored")},
	FillRefusedEpoch: {"fill", result("refused_epoch")},
	FillRefusedLease: {"fill", result("refused_lease")},
	FillRefusedFence: {"fill", result("refused_fence")},
	FillRefusedFull:  {"fill", result("refused_full")},
	FillFailed:       {"fill", result("failed")},

	InvalidationSent:        {"invalidation", direction("sent", "keys")},
	InvalidationSentAll:     {"invalidation", direction("sent", "all")},
	InvalidationReceived:    {"invalidation", direction("received", "keys")},
	InvalidationReceivedAll: {"invalidation", direction("received", "all")},
	InvalidationPending:     {"invalidation", direction("pending", "keys")},
	Flush:                   {"invalidation", direction("local", "flush")},

	BusGap:       {"bus.gap", nil},
	BusReconnect: {"bus.reconnect", nil},

	EpochChangeStart:    {"bus.epoch_change", reason("start")},
	EpochChangeLost:     {"bus.epoch_change", reason("lost")},
	EpochChangeReset:    {"bus.epoch_change", reason("reset")},
	EpochChangeExplicit: {"bus.epoch_change", reason("explicit")},

	LeaseLapsed: {"lease.lapse", nil},

	RenewFailed: {"failure", reason("renew")},
	PollFailed:  {"failure", reason("poll")},
	LoadPanic:   {"failure", reason("load_panic")},
	LoadTimeout: {"failure", reason("load_timeout")},
	LoadBehind:  {"failure", reason("load_behind")},

	PayloadRejectedCorrupt:  {"payload.rejected", reason("corrupt")},
	PayloadRejectedForeign:  {"payload.rejected", reason("foreign")},
	PayloadRejectedSchema:   {"payload.rejected", reason("schema")},
	PayloadRejectedOversize: {"payload.rejected", reason("oversize")},
	PayloadRejectedVersion:  {"payload.rejected", reason("version")},
	PayloadRejectedMessage:  {"payload.rejected", reason("message")},

	OutboxDelivered: {"outbox", result("delivered")},
	OutboxResent:    {"outbox", result("resent")},
	OutboxTakenOver: {"outbox", result("taken_over")},

	AuditFresh:   {"audit", result("fresh")},
	AuditStale:   {"audit", result("stale")},
	AuditUnknown: {"audit", result("unknown")},

	StateSaved:       {"state", result("saved")},
	StateLoaded:      {"state", result("loaded")},
	StateConflict:    {"state", result("conflict")},
	StateSavedBytes:  {stateBytes, form("saved")},
	StateStoredBytes: {stateBytes, form("stored")},
	StateLoadedBytes: {stateBytes, form("loaded")},
}

var counterDescriptions = map[string]string{
	"fill":             "Values offered to L2, by what became of them.",
	"invalidation":     "Invalidated keys, by direction; mode all counts messages and flush counts drops of all of L1.",
	"bus.gap":          "Sequence numbers of the bus that did not arrive in time.",
	"bus.reconnect":    "Subscriptions that were lost and taken again.",
	"bus.epoch_change": "New epochs of a partition's Redis state, by reason.",
	"lease.lapse":      "Reads that found no valid serving lease.",
	"failure":          "Failures of background work and of loads, by reason.",
	"payload.rejected": "Values and messages from Redis that were not used, by reason.",
	"outbox":           "Rows of the authority's outbox, by what was done with them.",
	"state":            "States of threads, by what was done with them.",
	"audit":            "Hits of L1 that were compared with the authority.",
	stateBytes:         "Sizes of the states of threads: saved as given, and as stored or loaded.",
}

// stateBytes is the one counter whose unit is bytes.
const stateBytes = "state.bytes"

func result(r string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("result", r)}
}

func reason(r string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("reason", r)}
}

func form(f string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("form", f)}
}

func direction(dir, mode string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("dir", dir), attribute.String("mode", mode)}
}

// counters are the counters of events.
type counters struct {
	byMetric map[string]metric.Int64Counter
	options  series[occurrence, metric.AddOption]
}

// occurrence names one time series of events.
type occurrence struct {
	ns string
	ev Event
}

func newCounters(meter metric.Meter) (*counters, error) {
	c := &counters{byMetric: make(map[string]metric.Int64Counter, len(counterDescriptions))}
	for name, description := range counterDescriptions {
		options := []metric.Int64CounterOption{metric.WithDescription(description)}
		if name == stateBytes {
			options = append(options, metric.WithUnit("By"))
		}
		counter, err := meter.Int64Counter(prefix+name, options...)
		if err != nil {
			return nil, fmt.Errorf("counter %s: %w", name, err)
		}
		c.byMetric[name] = counter
	}
	return c, nil
}

func (c *counters) add(ns string, ev Event, n int64) {
	if ev >= events || n < 1 {
		return
	}
	of := counterOf[ev]
	options := c.options.of(occurrence{ns, ev}, func() []metric.AddOption {
		attributes := append([]attribute.KeyValue{nsAttribute(ns)}, of.attributes...)
		return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
	})
	c.byMetric[of.metric].Add(context.Background(), n, options...)
}
