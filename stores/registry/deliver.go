package registry

import (
	"context"
	"fmt"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/sqlsource"
)

// deliverer is the cache as the relay of a SQL backend's outbox sees it, with Redis behind it.
type deliverer struct {
	cache *readthrough.Cache[string, *snapshot]
}

var _ sqlsource.Deliverer = deliverer{}

// Deliver implements sqlsource.Deliverer. Whoever changed, it is the one list that is void.
func (d deliverer) Deliver(ctx context.Context, _ []string, _ bool, asOf uint64) (epoch string, err error) {
	// While Redis is out, the outbox keeps the row: each attempt to invalidate would leave one more delivery pending.
	if _, err = d.cache.Epoch(ctx); err != nil {
		return "", fmt.Errorf("registry: relay: %w", err)
	}
	r, err := d.cache.InvalidateAsOf(ctx, asOf, everybody)
	if err != nil {
		return "", fmt.Errorf("registry: relay: %w", err)
	}
	if err := r.Err(); err != nil && !r.Executed() {
		return "", fmt.Errorf("registry: relay: %w", err)
	}
	return r.Epoch(), nil
}

// Epoch implements sqlsource.Deliverer.
func (d deliverer) Epoch(ctx context.Context) (string, error) { return d.cache.Epoch(ctx) }

// polled delivers nothing: without Redis every process reads the log for itself, and the relay only looks after its rows.
// The epoch is the same in every process, or they would deliver each other's rows again for ever.
type polled struct{}

var _ sqlsource.Deliverer = polled{}

const polledEpoch = "polled"

// Deliver implements sqlsource.Deliverer.
func (polled) Deliver(context.Context, []string, bool, uint64) (string, error) {
	return polledEpoch, nil
}

// Epoch implements sqlsource.Deliverer.
func (polled) Epoch(context.Context) (string, error) { return polledEpoch, nil }
