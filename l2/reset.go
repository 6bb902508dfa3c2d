package l2

import (
	"context"
	"errors"
	"fmt"

	"github.com/layercache/layercache/telemetry"
)

// Reset replaces the epoch of a partition: what it held is void, and a message tells receivers to renew. With an old
// epoch it does so only if that one is still current; with "" always. The answer is where the partition stands after.
func (s *Store) Reset(ctx context.Context, part int, old Epoch) (Position, error) {
	if err := s.checkPart("reset", part); err != nil {
		return Position{}, err
	}
	if old != "" && !validEpoch(string(old)) {
		return Position{}, errors.New("l2: reset: the old epoch is not an epoch")
	}
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpReset, Namespace: s.namespace})
	p, err := s.reset(ctx, part, old)
	if err != nil {
		err = fmt.Errorf("l2: reset: %w", err)
	}
	span.End(outcomeOf(err), err)
	return p, err
}

func (s *Store) reset(ctx context.Context, part int, old Epoch) (Position, error) {
	a := do(ctx, s.client, []call{{
		script: resetScript, store: s, part: part,
		args: []any{string(old), flagByte(flagNoInvalidation)},
	}})[0]
	if a.err != nil {
		return Position{}, a.err
	}
	in := reader{values: a.values[1:]}
	p, longest := in.position(), in.lease()
	if in.bad {
		return Position{}, errReply
	}
	s.sawLease(longest)
	return p, nil
}
