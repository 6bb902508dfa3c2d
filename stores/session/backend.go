package session

import (
	"context"
	"time"
)

// Backend keeps records until their time to live ends. Memory and Redis are backends; storetest.Sessions is what another one
// has to pass. Implementations are safe for concurrent use, every call ends with its context, and every call is one atomic
// step: nobody ever sees a record without its time to live.
//
// An error means that the outcome is unknown and wraps readthrough.ErrUnavailable, unless it is a *DecodeError. It is never
// readthrough.ErrNotFound.
type Backend interface {
	// Save makes rec the record of id, for ttl from now, whatever was there before.
	Save(ctx context.Context, id ID, rec Record, ttl time.Duration) error
	// Load answers the record and what is left of its time to live, of which nothing is rounded up; negative: it has none.
	// With rearm > 0, a record with less left gets that much, in the same step, and that is answered. Something under the id
	// that is no record is a *DecodeError; a record that lacks a field is not found. Of a field that is too long to be read, it
	// may answer the beginning, if that is too long too.
	Load(ctx context.Context, id ID, rearm time.Duration) (rec Record, left time.Duration, found bool, err error)
	// Touch gives a record with less left the time to live ttl. It never shortens one and makes none.
	Touch(ctx context.Context, id ID, ttl time.Duration) (found bool, err error)
	// Delete removes what is there, if anything.
	Delete(ctx context.Context, id ID) error
}

var (
	_ Backend = (*Memory)(nil)
	_ Backend = (*Redis)(nil)
)
