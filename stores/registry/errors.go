package registry

import (
	"errors"
	"fmt"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

// Code is what kind of failure an Error is: the original system's numbers.
type Code int

// The codes.
const (
	// BadInput: the call was refused before anything was read or written.
	BadInput Code = 400
	// Unknown: there is no such agent. The error is readthrough.ErrNotFound too.
	Unknown Code = 404
	// Failed: the backend, or the telling of other processes, failed. What is there is unknown, and the error is
	// readthrough.ErrUnavailable too, unless it is a *readthrough.NotInForceError (the change is committed), ErrClosed or
	// ErrBadToken.
	Failed Code = 500
)

// ErrUnchanged says, beside the failure of a write, that it has changed nothing but perhaps a heartbeat: what others have in
// memory is as good as it was. Without it the outcome is unknown.
var ErrUnchanged = errors.New("registry: nothing has changed")

// Error is the error of every verb of a Store. errors.As finds it, and its cause behind it.
type Error struct {
	// Code is BadInput, Unknown or Failed.
	Code Code
	// Err is the cause; nil for bad input.
	Err error

	text string // if not empty, all that is said
}

// Error is what the original system says: "agent ID is required", "agent not found: <id>".
func (e *Error) Error() string {
	if e.text != "" {
		return e.text
	}
	return fmt.Sprintf("registry: %v", e.Err)
}

// Unwrap is Err.
func (e *Error) Unwrap() error { return e.Err }

func refused(format string, args ...any) error {
	return &Error{Code: BadInput, text: fmt.Sprintf(format, args...)}
}

var errStatus = refused("agent status must be available, busy or offline")

func notFound(id string) error {
	return &Error{Code: Unknown, Err: readthrough.ErrNotFound, text: "agent not found: " + id}
}

// coded gives an error of a backend, a cache or a receipt its code. id is the agent that was asked for.
func coded(op, id string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if errors.Is(err, readthrough.ErrNotFound) && !errors.Is(err, readthrough.ErrUnavailable) {
		return notFound(id)
	}
	_, committed := errors.AsType[*readthrough.NotInForceError](err)
	if !committed && !errors.Is(err, readthrough.ErrClosed) && !errors.Is(err, readthrough.ErrBadToken) {
		err = layout.Unavailable(err)
	}
	return &Error{Code: Failed, Err: fmt.Errorf("%s: %w", op, err)}
}

func isFailed(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == Failed
}

// errFaulty is the cause of a failure to read a record that some program stored.
// Whatever was to be done to it was not.
var errFaulty = errors.New("the stored record is not the document of an agent")
