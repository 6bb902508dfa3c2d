package l2

import (
	"context"
	"crypto/sha1" // compares a value with what was read, in Redis, where only SHA-1 exists
	"encoding/hex"
	"fmt"

	"github.com/layercache/layercache/telemetry"
)

// Unreadable is a value that does not decode, as it was read: Epoch is the one answered with it.
type Unreadable struct {
	ID       ID
	Epoch    Epoch
	Envelope []byte
}

// Discard deletes values that do not decode, with their mirrors, if they are still the ones that were read, in one round trip per
// server. The error is that of the first it does not know of whether it is gone.
func (s *Store) Discard(ctx context.Context, values ...Unreadable) error {
	calls := make([]call, len(values))
	for i, v := range values {
		if v.ID == (ID{}) {
			return fmt.Errorf("l2: discard: %w", errZeroID)
		}
		part := s.Partition(v.ID.hash)
		sum := sha1.Sum(stored(v.Epoch, v.Envelope))
		keys := []string{s.parts[part].prefix + "d:" + v.ID.text}
		if s.mirror != "" {
			keys = append(keys, s.mirror+v.ID.text)
		}
		calls[i] = call{script: discardScript, store: s, part: part, keys: keys, args: []any{hex.EncodeToString(sum[:])}}
	}
	return s.all(ctx, telemetry.OpDiscard, "discard", calls)
}

// all makes calls of which only matters that they were made. The error is that of the first it does not know that of.
func (s *Store) all(ctx context.Context, op telemetry.OpName, name string, calls []call) error {
	if len(calls) == 0 {
		return nil
	}
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: op, Namespace: s.namespace, Keys: len(calls)})
	var err error
	for _, a := range do(ctx, s.client, calls) {
		if a.err != nil {
			err = fmt.Errorf("l2: %s: %w", name, a.err)
			break
		}
	}
	span.End(outcomeOf(err), err)
	return err
}
