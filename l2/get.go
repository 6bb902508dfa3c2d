package l2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/telemetry"
)

var errZeroID = errors.New("the zero ID is no id")

// Outcome is what a Lookup met.
type Outcome uint8

// The outcomes. The zero Outcome is none: the reply holds an error.
const (
	// Hit means that the value is there and belongs to the current epoch.
	Hit Outcome = iota + 1
	// Leased means a miss, and the Lookup's Nonce now holds the right to fill it.
	Leased
	// Busy means a miss that somebody else is about to fill; with Refresh, that somebody else is refreshing already.
	Busy
	// Bare means a miss without the right to fill it: Redis has no memory for it, or the Lookup had no Nonce.
	Bare
)

var outcomeNames = [...]string{"none", "hit", "leased", "busy", "bare"}

// String names the outcome in lower case.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

var outcomeTelemetry = [...]telemetry.Outcome{
	telemetry.Failed, telemetry.Hit, telemetry.Leased, telemetry.Busy, telemetry.Bare,
}

// Lookup asks for one value.
type Lookup struct {
	ID ID
	// Nonce, from NewNonce, asks for the fill lease on a miss. Empty asks for none.
	Nonce Nonce
	// Refresh asks for the lease although a value may be there, and for no value.
	Refresh bool
}

// Reply answers a Lookup.
type Reply struct {
	Outcome Outcome
	// Envelope is the value of a Hit, without its epoch. It is the caller's own.
	Envelope []byte
	// TTL is what remains of a Hit's life in Redis, in whole milliseconds. 0 means that it is ending now.
	TTL time.Duration
	// Busy is how long the lease of somebody else lasts at most.
	Busy time.Duration
	// Fence is the lowest as-of that may be returned or filled on any outcome but Hit. 0 means no fence.
	Fence uint64
	// Oversize says that a value longer than MaxWire is there and was not sent. The Outcome is Leased.
	Oversize bool
	// Position is where the partition stood. Only a renewal sets a process's epoch; this is a hint.
	Position Position
	// Err is why there is no outcome.
	Err error
}

// Get looks one value up. The error is the Reply's, with the call's name.
func (s *Store) Get(ctx context.Context, l Lookup) (Reply, error) {
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpL2Get, Namespace: s.namespace, Keys: 1})
	var r Reply
	if l.ID == (ID{}) {
		r.Err = fmt.Errorf("l2: get: %w", errZeroID)
	} else {
		r = lookedUp(do(ctx, s.client, []call{s.lookup(l)})[0])
	}
	span.End(outcomeTelemetry[r.Outcome], r.Err)
	return r, r.Err
}

// GetMany looks values up in one pipeline, of one round trip to each node concerned. The replies are in the order of
// the lookups and each has its own Err; the error is the first of them if no lookup was answered.
func (s *Store) GetMany(ctx context.Context, lookups []Lookup) ([]Reply, error) {
	if len(lookups) == 0 {
		return nil, nil
	}
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpL2Get, Namespace: s.namespace, Keys: len(lookups)})
	calls := make([]call, len(lookups))
	for i, l := range lookups {
		if l.ID == (ID{}) {
			err := fmt.Errorf("l2: get: %w", errZeroID)
			span.End(telemetry.Failed, err)
			return nil, err
		}
		calls[i] = s.lookup(l)
	}
	replies := make([]Reply, len(lookups))
	failed := 0
	for i, a := range do(ctx, s.client, calls) {
		replies[i] = lookedUp(a)
		if replies[i].Err != nil {
			failed++
		}
	}
	if failed == len(replies) {
		span.End(telemetry.Failed, replies[0].Err)
		return replies, replies[0].Err
	}
	span.End(telemetry.OK, nil)
	return replies, nil
}

func (s *Store) lookup(l Lookup) call {
	part := s.Partition(l.ID.hash)
	prefix := s.parts[part].prefix
	refresh := "0"
	if l.Refresh {
		refresh = "1"
	}
	return call{
		script: getScript, store: s, part: part,
		keys: []string{prefix + "d:" + l.ID.text, prefix + "l:" + l.ID.text},
		args: []any{string(l.Nonce), millis(s.fillLease()), refresh, s.maxWire + epochLen},
	}
}

func lookedUp(a answer) Reply {
	if a.err != nil {
		return Reply{Err: fmt.Errorf("l2: get: %w", a.err)}
	}
	in := reader{values: a.values}
	kind := in.number()
	r := Reply{Position: in.position()}
	switch kind {
	case 1:
		r.Outcome, r.Envelope, r.TTL = Hit, in.envelope(), in.millis()
	case 2, 5:
		r.Outcome, r.Fence, r.Oversize = Leased, in.uint(), kind == 5
	case 3:
		r.Outcome, r.Fence, r.Busy = Busy, in.uint(), in.millis()
	case 4:
		r.Outcome, r.Fence = Bare, in.uint()
	default:
		in.bad = true
	}
	if in.bad {
		return Reply{Err: fmt.Errorf("l2: get: %w", errReply)}
	}
	return r
}
