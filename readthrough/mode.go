package readthrough

import "time"

// Mode says what a cache does when neither Redis nor the authority can establish that an answer is fresh.
type Mode struct {
	stale time.Duration
}

// FailClosed answers ErrUnavailable: the mode of everything that grants rights. It is the zero Mode.
var FailClosed = Mode{}

// ServeStale answers with an entry that is at most maxStale past its lease or its end, marked Stale, where a load fails or has not
// ended by the caller's deadline. An entry that was invalidated is not served, and that there is no record is not answered either:
// it is ErrUnavailable. Such answers are outside the guarantee that an invalidation which was waited for is in force.
func ServeStale(maxStale time.Duration) Mode { return Mode{stale: maxStale} }
