package l2

import (
	"context"
	"fmt"

	"github.com/layercache/layercache/telemetry"
)

// FillLease is the right to fill that a Get with this nonce was given.
type FillLease struct {
	ID    ID
	Nonce Nonce
}

// Release gives fill leases back without filling, in one round trip per server, so that nobody waits for loads that failed. One that
// is no longer held is left alone. The error is that of the first it does not know of whether it is given back.
func (s *Store) Release(ctx context.Context, leases ...FillLease) error {
	calls := make([]call, len(leases))
	for i, l := range leases {
		if l.ID == (ID{}) {
			return fmt.Errorf("l2: release: %w", errZeroID)
		}
		part := s.Partition(l.ID.hash)
		calls[i] = call{
			script: releaseScript, store: s, part: part,
			keys: []string{s.parts[part].prefix + "l:" + l.ID.text},
			args: []any{string(l.Nonce)},
		}
	}
	return s.all(ctx, telemetry.OpL2Fill, "release", calls)
}

var releaseScript = load("release")
