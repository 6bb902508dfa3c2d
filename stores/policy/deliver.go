package policy

import (
	"context"
	"fmt"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/sqlsource"
)

// deliverer is the cache as the relay of the authority's outbox sees it, with Redis behind it.
type deliverer struct {
	cache *readthrough.Cache[AgentID, *Document]
}

var _ sqlsource.Deliverer = deliverer{}

// Deliver implements sqlsource.Deliverer. An id that is no agent's names nothing that could be cached.
func (d deliverer) Deliver(ctx context.Context, ids []string, all bool, asOf uint64) (epoch string, err error) {
	// While Redis is out, the outbox keeps the row: each attempt to invalidate would leave one more delivery pending.
	if epoch, err = d.cache.Epoch(ctx); err != nil {
		return "", fmt.Errorf("policy: relay: %w", err)
	}
	var r *readthrough.Receipt
	if all {
		r, err = d.cache.InvalidateAllAsync(ctx, asOf)
	} else {
		agents := make([]AgentID, 0, len(ids))
		for _, id := range ids {
			if agent, err := ParseAgentID(id); err == nil {
				agents = append(agents, agent)
			}
		}
		if len(agents) == 0 {
			return epoch, nil
		}
		r, err = d.cache.InvalidateAsOf(ctx, asOf, agents...)
	}
	if err != nil {
		return "", fmt.Errorf("policy: relay: %w", err)
	}
	if err := r.Err(); err != nil && !r.Executed() {
		return "", fmt.Errorf("policy: relay: %w", err)
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
