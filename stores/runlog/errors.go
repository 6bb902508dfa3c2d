package runlog

import (
	"errors"
	"fmt"
)

var (
	// ErrTrimmed means that events after a cursor are not there any more, or never came: see TrimmedError.
	ErrTrimmed = errors.New("runlog: events are not available any more")
	// ErrUndecodable means that an event is there and cannot be read: see DecodeError, which readers get.
	ErrUndecodable = errors.New("runlog: undecodable")
	// ErrEnded is returned for a new event of a run that has a terminal one.
	ErrEnded = errors.New("runlog: the run has ended")
	// ErrGone means that a run that was there is not any more: deleted, expired or lost.
	ErrGone = errors.New("runlog: the run is gone")
	// ErrRestarted means that a run has lost what it held and was begun anew under its id, so that a cursor says nothing any
	// more. From an import: that the run has lost what was imported of it. Import it again.
	ErrRestarted = errors.New("runlog: the run was lost and begun anew")
	// ErrDamaged means that some of a run's keys are lost. Delete it.
	ErrDamaged = errors.New("runlog: parts of the run are lost")
	// ErrConflict is returned by an import into a run that has other events under the same numbers.
	ErrConflict = errors.New("runlog: the run has other events under the same numbers")
	// ErrFull is returned by an append beyond MaxSeq.
	ErrFull = errors.New("runlog: the run has reached the highest sequence number")
)

// TrimmedError says which events a reader cannot have: those with a number above After and below First. errors.Is makes it
// ErrTrimmed.
type TrimmedError struct {
	// After is where the reader stands.
	After uint64
	// First is the first number that is available, or that the next event will have.
	First uint64

	life string
}

// Error says so.
func (e *TrimmedError) Error() string {
	return fmt.Sprintf("%v: numbers %d to %d; the first available one is %d", ErrTrimmed, e.After+1, e.First-1, e.First)
}

// Is makes it ErrTrimmed.
func (e *TrimmedError) Is(target error) bool { return target == ErrTrimmed }

// Resume is the position before First, for a reader that goes on without what is missing.
func (e *TrimmedError) Resume() Cursor { return Cursor{Seq: e.First - 1, Life: e.life} }

// DecodeError names an event that cannot be read. errors.Is makes it ErrUndecodable.
type DecodeError struct {
	// Seq is the number of the event.
	Seq uint64
	// Err says what is wrong with it, without its content.
	Err error

	life string
}

// Error says so.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("%v: event %d: %v", ErrUndecodable, e.Seq, e.Err)
}

// Is makes it ErrUndecodable.
func (e *DecodeError) Is(target error) bool { return target == ErrUndecodable }

// Unwrap is what is wrong with the event.
func (e *DecodeError) Unwrap() error { return e.Err }

// Resume is the position after the event, for a reader that goes on without it.
func (e *DecodeError) Resume() Cursor { return Cursor{Seq: e.Seq, Life: e.life} }
