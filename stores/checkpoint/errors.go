package checkpoint

import (
	"errors"
	"fmt"
)

// ErrCorrupt says that what is stored of a thread is no state: cut, changed, or written by something that does not know
// the form. It is not an absence, and the thread stays as it is until somebody saves or deletes it. From Load it is inside
// readthrough.ErrUnavailable.
var ErrCorrupt = errors.New("checkpoint: what is stored is not a state")

// corrupt is an ErrCorrupt that says why.
func corrupt(why string) error { return fmt.Errorf("%w: %s", ErrCorrupt, why) }

// TooLargeError says that a state is larger than Config.MaxState. From Save nothing was written; from Load, where it is inside
// readthrough.ErrUnavailable, no more than MaxState was read.
type TooLargeError struct {
	// Size of the state or of what is stored of it, and Limit, in bytes.
	Size, Limit int64
}

// Error names both.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("checkpoint: a state of %d bytes, the limit is %d", e.Size, e.Limit)
}
