package registry

import (
	"context"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
)

// everybody is the one key of the cache: all agents together. Any change voids it.
const everybody = "agents"

// loader reads all agents.
type loader struct {
	backend Backend
	terms   Terms
	age     time.Duration
}

var _ readthrough.Loader[string, *snapshot] = loader{}

// Load implements readthrough.Loader. What it answers ends with the first agent that may end, since a record that memory
// keeps longer than its own TTL would show an agent that is gone.
func (l loader) Load(ctx context.Context, _ string) (readthrough.Loaded[*snapshot], error) {
	listing, err := l.backend.List(ctx, l.terms)
	if err != nil {
		return readthrough.Loaded[*snapshot]{}, err
	}
	ttl := l.age
	if listing.Lasts > 0 && listing.Lasts < ttl {
		ttl = listing.Lasts.Truncate(time.Millisecond)
		if ttl == 0 {
			ttl = -1 // not to be kept
		}
	}
	return readthrough.Loaded[*snapshot]{Value: newSnapshot(listing), AsOf: listing.AsOf, TTL: ttl}, nil
}

// oneKey is a backend's change log as the cache takes it: a change of any agent is one of the one key.
type oneKey struct{ log invalidation.Log }

// Changes implements invalidation.Log.
func (l oneKey) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	page, err := l.log.Changes(ctx, after, limit)
	for i := range page.Changes {
		if page.Changes[i].ID != "" {
			page.Changes[i].ID = everybody
		}
	}
	return page, err
}
