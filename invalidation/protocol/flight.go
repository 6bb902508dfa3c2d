package protocol

import "time"

// Flight is a load that others may join.
type Flight struct {
	// Begun: it has taken its guard and may have read something. Until then its answer is newer than any caller.
	Begun bool
	// Started is when it began.
	Started Instant
	// Sound: its guard is unchanged, nothing it may have read was invalidated since.
	Sound bool
}

// Joinable says whether a caller that begins now may be answered by f. Under a lease that is valid now, every
// invalidation that was in force before the caller began is applied here and has broken the guard of the flights begun
// before it; without one, an invalidation may have been waited for without this process. The age bounds what is left to
// chance by half the staleness bound.
func Joinable(f Flight, now, validUntil Instant, bound time.Duration) bool {
	if !f.Begun {
		return true
	}
	return f.Sound && now < validUntil && now.Sub(f.Started) < bound/2
}
