package l2

import (
	"errors"
	"fmt"
)

// ErrConfigMismatch says that the namespace in Redis was made with another protocol version, number of partitions or
// id encoding, or with a shorter staleness bound. Errors of this kind are *ConfigMismatchError.
var ErrConfigMismatch = errors.New("l2: the namespace in Redis has another configuration")

// ErrReplica says that a script reached a replica. Everything here must run on a primary.
var ErrReplica = errors.New("l2: the client talks to a replica; every script must run on a primary")

// ErrRejected says that an envelope cannot be used: to the cache it is a miss. Errors of this kind are *RejectError.
var ErrRejected = errors.New("l2: envelope rejected")

// ConfigMismatchError names what differs. It is ErrConfigMismatch.
type ConfigMismatchError struct {
	// Field is "protocol", "partitions", "encoding", "lease" (in milliseconds), or "mirror", which refuses fills alone.
	Field string
	// Ours is this process's setting and Stored the one in Redis.
	Ours, Stored string
}

// Error says which setting differs and how.
func (e *ConfigMismatchError) Error() string {
	return fmt.Sprintf("%v: %s is %q here and %q in Redis", ErrConfigMismatch, e.Field, e.Ours, e.Stored)
}

// Is reports that this is an ErrConfigMismatch.
func (e *ConfigMismatchError) Is(target error) bool { return target == ErrConfigMismatch }

// OversizeError says that something is too long to be stored.
type OversizeError struct {
	// What is "id", "value" or "mirror".
	What string
	// Size and Max are in bytes.
	Size, Max int
}

// Error says what is too long and by how much.
func (e *OversizeError) Error() string {
	return fmt.Sprintf("l2: the %s is %d bytes long, at most %d are allowed", e.What, e.Size, e.Max)
}
