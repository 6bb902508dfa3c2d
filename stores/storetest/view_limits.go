package storetest

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

// limits are the counters as a process sees them: they can be slow and down, and never late.
type limits struct{ *view }

var _ ratelimit.Backend = limits{}

func (l limits) live() *ratelimit.Memory { return &l.world.records.limits }

// Increment implements ratelimit.Backend.
func (l limits) Increment(ctx context.Context, key string, amount int64, window time.Duration) (int64, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return l.live().Increment(ctx, key, amount, window)
}

// Current implements ratelimit.Backend.
func (l limits) Current(ctx context.Context, key string) (int64, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return l.live().Current(ctx, key)
}

// Reset implements ratelimit.Backend.
func (l limits) Reset(ctx context.Context, key string) error {
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return l.live().Reset(ctx, key)
}

// Take implements ratelimit.Backend.
func (l limits) Take(ctx context.Context, demands []ratelimit.Demand) ([]ratelimit.Answer, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return l.live().Take(ctx, demands)
}

// Lease implements ratelimit.Backend.
func (l limits) Lease(ctx context.Context, key string, r ratelimit.Request) (ratelimit.Grant, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return ratelimit.Grant{}, err
	}
	defer leave()
	return l.live().Lease(ctx, key, r)
}

// Return implements ratelimit.Backend.
func (l limits) Return(ctx context.Context, key string, window, n int64) error {
	leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return l.live().Return(ctx, key, window, n)
}
