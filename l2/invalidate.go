package l2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/telemetry"
)

// Invalidation says what changed.
type Invalidation struct {
	// IDs are what changed, all of one partition, at least one. Above MaxNamed the message tells receivers to drop
	// everything; the values in Redis still go one by one.
	IDs []ID
	// AsOf is the authority's version from which on they are current. 0 means that it knows none, and raises no fence.
	AsOf uint64
	// WantAck makes the message an ack request too.
	WantAck bool
}

// Invalidated answers an Invalidation.
type Invalidated struct {
	// Position is where the partition stands with the invalidation executed.
	Position Position
	// Degraded says that Redis refused to publish it: processes learn of it at their next renewal.
	Degraded bool
}

// errMovedBetween: no one position stands for all chunks.
var errMovedBetween = errors.New("l2: invalidate: the epoch changed between two chunks of ids")

// chunk is how many ids one run of the script takes: enough for any sane write, few enough that others are not kept waiting.
const chunk = 500

// Invalidate deletes the values, voids the fill leases, raises the fences, counts and publishes, in one step for up to
// 500 ids and one round trip for any number. After an error some of it may have been executed: call it again.
func (s *Store) Invalidate(ctx context.Context, part int, inv Invalidation) (Invalidated, error) {
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpInvalidate, Namespace: s.namespace, Keys: len(inv.IDs)})
	answered, err := s.invalidate(ctx, part, inv)
	span.End(outcomeOf(err), err)
	return answered, err
}

func (s *Store) invalidate(ctx context.Context, part int, inv Invalidation) (Invalidated, error) {
	if err := s.checkPart("invalidate", part); err != nil {
		return Invalidated{}, err
	}
	if len(inv.IDs) == 0 {
		return Invalidated{}, errors.New("l2: invalidate: Invalidation.IDs must not be empty")
	}
	for _, id := range inv.IDs {
		switch {
		case id == (ID{}):
			return Invalidated{}, fmt.Errorf("l2: invalidate: %w", errZeroID)
		case s.Partition(id.hash) != part:
			return Invalidated{}, fmt.Errorf("l2: invalidate: an id of partition %d among those of %d", s.Partition(id.hash), part)
		}
	}
	var calls []call
	for ids := inv.IDs; len(ids) > 0; {
		n := min(chunk, len(ids))
		calls = append(calls, s.invalidation(part, ids[:n], inv, n == len(ids)))
		ids = ids[n:]
	}
	var last Invalidated
	for _, a := range do(ctx, s.client, calls) {
		if a.err != nil {
			return Invalidated{}, fmt.Errorf("l2: invalidate: %w", a.err)
		}
		in := reader{values: a.values[1:]}
		position, refused, longest := in.position(), in.number(), in.lease()
		if in.bad {
			return Invalidated{}, fmt.Errorf("l2: invalidate: %w", errReply)
		}
		s.sawLease(longest)
		if last.Position.Epoch != "" && position.Epoch != last.Position.Epoch {
			return Invalidated{}, errMovedBetween
		}
		// A chunk whose script the server did not know is sent again after the others: the last answer need not be the highest.
		position.Seq = max(position.Seq, last.Position.Seq)
		last = Invalidated{Position: position, Degraded: last.Degraded || refused != 0}
	}
	s.degraded.Store(last.Degraded)
	return last, nil
}

func (s *Store) invalidation(part int, ids []ID, inv Invalidation, last bool) call {
	prefix := s.parts[part].prefix
	keys := make([]string, 0, 3*len(ids))
	for _, id := range ids {
		keys = append(keys, prefix+"d:"+id.text)
	}
	if s.mirror != "" {
		for _, id := range ids {
			keys = append(keys, s.mirror+id.text)
		}
	}
	for _, id := range ids {
		keys = append(keys, prefix+"l:"+id.text)
	}
	flags := byte(flagSent)
	tail := binary.BigEndian.AppendUint64(make([]byte, 0, 8+8*min(len(ids), MaxNamed)), uint64(time.Now().UnixMicro()))
	if len(ids) > MaxNamed {
		flags |= flagAll
	} else {
		for _, id := range ids {
			tail = binary.BigEndian.AppendUint64(tail, id.hash)
		}
	}
	if inv.WantAck && last {
		flags |= flagAckRequest
	}
	args := []any{digits(inv.AsOf), millis(s.fenceLife()), flagByte(flags), tail}
	if s.mirror != "" {
		args = append(args, s.mirror)
	}
	return call{script: invalidateScript, store: s, part: part, keys: keys, args: args}
}

func (s *Store) checkPart(op string, part int) error {
	if part < 0 || part >= len(s.parts) {
		return fmt.Errorf("l2: %s: no partition %d among %d", op, part, len(s.parts))
	}
	return nil
}

func outcomeOf(err error) telemetry.Outcome {
	if err != nil {
		return telemetry.Failed
	}
	return telemetry.OK
}
