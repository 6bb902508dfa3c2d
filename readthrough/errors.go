package readthrough

import (
	"errors"
	"fmt"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
)

// ErrNotFound means that the authority says there is none. A loader returns it (or sql.ErrNoRows), and callers receive it. The
// absence is cached for NegativeTTL.
var ErrNotFound = errors.New("layercache: not found")

// ErrUnavailable means that freshness cannot be established, or nobody who knows the answer can be reached. It wraps the cause. It
// never means that there is no such record.
var ErrUnavailable = errors.New("layercache: unavailable")

// ErrInvalidKey is returned, before any I/O, for a key that has no id: empty, over 1 KiB, or refused by Config.ID.
var ErrInvalidKey = errors.New("layercache: invalid key")

// ErrClosed is returned by calls on a closed cache.
var ErrClosed = invalidation.ErrClosed

// ErrBadToken is returned, before any I/O, for a token that is malformed, of another namespace, or impossible.
var ErrBadToken = invalidation.ErrBadToken

// ErrConfigMismatch means that the namespace is in use in Redis with another configuration. It is the cause that Ready reports; reads
// then go to the authority.
var ErrConfigMismatch = l2.ErrConfigMismatch

// NotInForceError is returned by a wait that ended before the change was in force everywhere. The change is committed.
type NotInForceError = invalidation.NotInForceError

// Token is a point in the life of a namespace; see AtLeast.
type Token = invalidation.Token

// Receipt is a change after its commit: Wait until it is in force, Token to read it.
type Receipt = invalidation.Receipt

// PanicError is what every waiter of a load receives, inside ErrUnavailable, when the loader panicked or ended its
// goroutine; and what a caller receives whose Config.Clone panicked. It wraps nothing: a loader that panics with
// ErrNotFound has not said that there is no record.
type PanicError struct {
	// Value is what the code panicked with; nil when it called runtime.Goexit.
	Value any
	// Stack is where, as runtime/debug.Stack prints it; nil for Goexit.
	Stack []byte
}

// Error does not show the value, which may hold data; read Value for it.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "layercache: user code ended its goroutine"
	}
	return fmt.Sprintf("layercache: user code panicked with a value of type %T", e.Value)
}
