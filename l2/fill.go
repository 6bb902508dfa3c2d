package l2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/telemetry"
)

// Fill offers a loaded value to Redis.
type Fill struct {
	ID ID
	// Epoch is the one answered by the Get that gave the lease, never the process's current one.
	Epoch Epoch
	// Nonce is that Get's.
	Nonce Nonce
	// Envelope is the value; it is not kept after the call.
	Envelope []byte
	// Mirror is the value of its mirror, stored and deleted together with it. nil: it has none, and one of an earlier value is
	// deleted. Only with Config.Mirror.
	Mirror []byte
	// TTL is the value's life in Redis, in whole milliseconds, at least one.
	TTL time.Duration
	// AsOf is the authority's version the value was read at. 0 means that the loader knows none.
	AsOf uint64
}

// FillResult is what became of a Fill.
type FillResult uint8

// The results. The zero FillResult is none: the call failed, and whether the value is stored is unknown.
const (
	// Stored means that Redis has the value.
	Stored FillResult = iota + 1
	// RefusedEpoch means that the partition's state was replaced since the Get.
	RefusedEpoch
	// RefusedLease means that the lease ran out, was given to somebody else, or was voided by an invalidation.
	RefusedLease
	// RefusedFence means that the value is older than an invalidation of its id.
	RefusedFence
	// RefusedFull means that Redis has no memory for it.
	RefusedFull
)

var fillNames = [...]string{"none", "stored", "refused: epoch", "refused: lease", "refused: fence", "refused: full"}

// String names the result in lower case.
func (r FillResult) String() string {
	if int(r) < len(fillNames) {
		return fillNames[r]
	}
	return fmt.Sprintf("fill result(%d)", uint8(r))
}

// event is what the result counts as.
var fillEvents = [...]telemetry.Event{
	telemetry.FillFailed, telemetry.FillStored, telemetry.FillRefusedEpoch, telemetry.FillRefusedLease,
	telemetry.FillRefusedFence, telemetry.FillRefusedFull,
}

// Fill stores one value under its lease. A refusal is a result and not an error. An envelope or a mirror above MaxWire is an
// *OversizeError and is not sent.
func (s *Store) Fill(ctx context.Context, f Fill) (FillResult, error) {
	results, err := s.FillMany(ctx, []Fill{f})
	if err != nil {
		return 0, err
	}
	return results[0], nil
}

// FillMany stores values in one pipeline. A Fill that failed alone has the zero result; the error joins them. A Fill that
// is not valid fails the whole call before anything is sent.
func (s *Store) FillMany(ctx context.Context, fills []Fill) ([]FillResult, error) {
	if len(fills) == 0 {
		return nil, nil
	}
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpL2Fill, Namespace: s.namespace, Keys: len(fills)})
	calls := make([]call, len(fills))
	for i, f := range fills {
		if err := s.checkFill(f); err != nil {
			span.End(telemetry.Failed, err)
			return nil, err
		}
		calls[i] = s.fill(f)
	}
	results := make([]FillResult, len(fills))
	var errs []error
	outcome := telemetry.Stored
	for i, a := range do(ctx, s.client, calls) {
		var err error
		results[i], err = filled(a)
		if err != nil {
			errs = append(errs, err)
		}
		if results[i] != Stored {
			outcome = telemetry.Refused
		}
		s.tel.Count(s.namespace, fillEvents[results[i]], 1)
	}
	err := errors.Join(errs...)
	if err != nil {
		outcome = telemetry.Failed
	}
	span.End(outcome, err)
	return results, err
}

func (s *Store) checkFill(f Fill) error {
	switch {
	case f.ID == (ID{}):
		return fmt.Errorf("l2: fill: %w", errZeroID)
	case !validEpoch(string(f.Epoch)):
		return errors.New("l2: fill: Fill.Epoch must be the epoch of the Get that gave the lease")
	case f.Nonce == "":
		return errors.New("l2: fill: Fill.Nonce must be the nonce of the Get that gave the lease")
	case len(f.Mirror) > 0 && s.mirror == "":
		return errors.New("l2: fill: Fill.Mirror needs Config.Mirror")
	case f.TTL < time.Millisecond:
		return fmt.Errorf("l2: fill: Fill.TTL must be at least 1ms, got %s", f.TTL)
	case len(f.Envelope) > s.maxWire:
		return fmt.Errorf("l2: fill: %w", &OversizeError{What: "value", Size: len(f.Envelope), Max: s.maxWire})
	case len(f.Mirror) > s.maxWire:
		return fmt.Errorf("l2: fill: %w", &OversizeError{What: "mirror", Size: len(f.Mirror), Max: s.maxWire})
	}
	return nil
}

func (s *Store) fill(f Fill) call {
	part := s.Partition(f.ID.hash)
	prefix := s.parts[part].prefix
	c := call{
		script: fillScript, store: s, part: part,
		keys: []string{prefix + "d:" + f.ID.text, prefix + "l:" + f.ID.text},
		args: []any{string(f.Nonce), stored(f.Epoch, f.Envelope), f.TTL.Milliseconds(), digits(f.AsOf)},
	}
	if s.mirror != "" {
		c.keys = append(c.keys, s.mirror+f.ID.text)
		c.args = append(c.args, f.Mirror, s.mirror)
	}
	return c
}

// stored is a value as Redis keeps it: bound to the life of the state it was read under.
func stored(epoch Epoch, envelope []byte) []byte {
	value := make([]byte, 0, len(epoch)+len(envelope))
	value = append(value, epoch...)
	return append(value, envelope...)
}

func filled(a answer) (FillResult, error) {
	if a.err != nil {
		return 0, fmt.Errorf("l2: fill: %w", a.err)
	}
	in := reader{values: a.values}
	n := in.number()
	if in.bad || n < int64(Stored) || n > int64(RefusedFull) {
		return 0, fmt.Errorf("l2: fill: %w", errReply)
	}
	return FillResult(n), nil
}
