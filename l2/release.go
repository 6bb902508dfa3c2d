package l2

import (
	"context"
	"fmt"

	"github.com/layercache/layercache/telemetry"
)

// Release gives the fill lease of a Get back without filling, so that nobody waits for a load that failed. A lease that is
// no longer held is left alone.
func (s *Store) Release(ctx context.Context, id ID, nonce Nonce) error {
	if id == (ID{}) {
		return fmt.Errorf("l2: release: %w", errZeroID)
	}
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpL2Fill, Namespace: s.namespace, Keys: 1})
	part := s.Partition(id.hash)
	err := do(ctx, s.client, []call{{
		script: releaseScript, store: s, part: part,
		keys: []string{s.parts[part].prefix + "l:" + id.text},
		args: []any{string(nonce)},
	}})[0].err
	if err != nil {
		err = fmt.Errorf("l2: release: %w", err)
	}
	span.End(outcomeOf(err), err)
	return err
}

var releaseScript = load("release")
