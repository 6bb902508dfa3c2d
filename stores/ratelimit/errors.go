package ratelimit

import (
	"errors"
	"fmt"
)

// What a caller can act on. Failures of the backend are readthrough.ErrUnavailable, and calls after Close
// readthrough.ErrClosed.
var (
	// ErrNotCounter says that what is kept under a key is no counter, nor what GCRA stores: some other program wrote it. It
	// is left as it is, and nothing is allowed. Reset removes it.
	ErrNotCounter = errors.New("ratelimit: the key holds something else than a counter")
	// ErrOverflow says that a counter cannot hold the sum: it would pass 2^63-1. It is unchanged.
	ErrOverflow = errors.New("ratelimit: the counter would pass 2^63-1")
	// ErrNeverFits says that more permits are asked for than the limit ever gives at once, so that waiting is in vain.
	ErrNeverFits = errors.New("ratelimit: more permits than the limit ever gives at once")
	// ErrSlots says that one call was about several keys, which a Redis Cluster keeps in different slots.
	ErrSlots = errors.New("ratelimit: several keys in one call need RedisConfig.Tagged on a Redis Cluster")
)

// notCounter says what kind of thing is there, not the thing, and not the key: that is the caller's.
func notCounter(kind string) error {
	return fmt.Errorf("%w: it is a %s", ErrNotCounter, kind)
}
