package checkpoint

import (
	"errors"
	"fmt"
	"strconv"
)

// Version names one state of a thread, for SaveIf. No two states that are saved here have the same one, also if the thread expired
// or was deleted between them, the server's clock was set back, or Redis was emptied; one that is saved later has a higher one. (A
// Redis that was emptied, or lost both the index and the thread, while its clock is behind cannot know.)
//
// With Config.Foreign, and without it for a state that another program saved or whose mark was lost, a version stands for the bytes:
// states with the same bytes have the same one, and it says nothing of the order. Without Config.Foreign, a state that another program
// put in place of one as long has the version of that one.
//
// 0 is the version of a thread that does not exist. What a number says beyond that is the backend's own affair.
type Version uint64

// foreign marks a version that stands for the bytes of a state that another program may have written: the other 60 bits
// that are used are the first ones of its SHA-1.
const foreign Version = 1 << 63

// String is the version as a decimal number.
func (v Version) String() string { return strconv.FormatUint(uint64(v), 10) }

// ErrConflict says that SaveIf has saved nothing, because the thread no longer has the version that was given. Errors of
// this kind are *ConflictError. Load the thread, bring the change into what it holds now, and try again.
var ErrConflict = errors.New("checkpoint: the thread was saved by somebody else")

// ConflictError is the ErrConflict of one thread.
type ConflictError struct {
	// Current is the version that the thread has, 0 if it does not exist.
	Current Version
}

// Error names the current version.
func (e *ConflictError) Error() string {
	if e.Current == 0 {
		return "checkpoint: the thread does not exist (any more)"
	}
	return fmt.Sprintf("%v: it has version %d", ErrConflict, uint64(e.Current))
}

// Is makes it an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
