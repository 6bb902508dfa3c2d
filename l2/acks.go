package l2

import (
	"context"
	"fmt"
	"time"

	"github.com/layercache/layercache/telemetry"
)

// AckReply answers who has not applied an invalidation.
type AckReply struct {
	// Position is where the partition stands. With another epoch than the one asked about, nobody is listed and the
	// invalidation has to be made again in the new one.
	Position Position
	// LongestLease is the longest B of any process of the namespace in this epoch.
	LongestLease time.Duration
	// Degraded says that there are laggards and Redis refused to publish the request to them.
	Degraded bool
	// Laggards are the registrations of the others that have not applied it.
	Laggards []Ack
}

// Acks asks who, beside self, has not registered pos or a later one in its epoch; if anybody, it publishes an ack
// request. The registrations in drop are deleted first, each only if it is unchanged in all its fields: a caller may
// drop one that it has itself seen unchanged for longer than LongestLease, since its process has no lease left.
func (s *Store) Acks(ctx context.Context, part int, pos Position, self string, drop []Ack) (AckReply, error) {
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpAcks, Namespace: s.namespace})
	r, err := s.acks(ctx, part, pos, self, drop)
	if err != nil {
		err = fmt.Errorf("l2: acks: %w", err)
	}
	span.End(outcomeOf(err), err)
	return r, err
}

func (s *Store) acks(ctx context.Context, part int, pos Position, self string, drop []Ack) (AckReply, error) {
	if part < 0 || part >= len(s.parts) {
		return AckReply{}, fmt.Errorf("no partition %d among %d", part, len(s.parts))
	}
	args := []any{string(pos.Epoch), digits(pos.Seq), self, flagByte(flagNoInvalidation | flagAckRequest)}
	for _, ack := range drop {
		args = append(args, ack.Process, ack.registration())
	}
	a := do(ctx, s.client, []call{{script: acksScript, store: s, part: part, args: args}})[0]
	if a.err != nil {
		return AckReply{}, a.err
	}
	in := reader{values: a.values[1:]}
	r := AckReply{Position: in.position(), LongestLease: in.lease(), Degraded: in.number() != 0}
	pairs := in.list()
	for len(pairs.values) > 0 {
		r.Laggards = append(r.Laggards, parseAck(pairs.text(), pairs.text()))
	}
	if in.bad || pairs.bad {
		return AckReply{}, errReply
	}
	s.sawLease(r.LongestLease)
	if len(r.Laggards) > 0 {
		s.degraded.Store(r.Degraded)
	}
	return r, nil
}
