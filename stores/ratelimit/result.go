package ratelimit

import "time"

// Result is what became of a call. The zero Result denies.
type Result struct {
	// Allowed says that the permits are the caller's. If not, nothing was spent.
	Allowed bool
	// Degraded says that the backend could not be asked, and Config.OnFailure decided.
	Degraded bool
	// Remaining is how many permits were left after the call; where a lease allowed, how many it still holds.
	Remaining int64
	// ResetAt is when all permits are back, on this process's clock and not too early. Zero: they are, or it is not known.
	ResetAt time.Time
	// RetryAfter is how long to wait before the same call can be allowed. 0 if it was.
	RetryAfter time.Duration
}

// Verdict is what became of several demands.
type Verdict struct {
	// Result is of all: the fewest Remaining, the latest ResetAt, the longest RetryAfter.
	Result
	// Refused is the number of the demand that refuses, and for longest; -1 if none does.
	Refused int
	// Each is the Result of each demand, in their order: Allowed says that it alone fits. Demands that did not have to be
	// looked at, because another one was known to refuse, have the zero Result.
	Each []Result
}

// together makes the Verdict of results.
func together(each []Result) Verdict {
	v := Verdict{Result: each[0], Refused: -1, Each: each}
	v.Allowed = true
	for i, r := range each {
		v.Degraded = v.Degraded || r.Degraded
		v.Remaining = min(v.Remaining, r.Remaining)
		if r.ResetAt.After(v.ResetAt) {
			v.ResetAt = r.ResetAt
		}
		if !r.Allowed && (v.Allowed || r.RetryAfter > v.RetryAfter) {
			v.Allowed, v.Refused, v.RetryAfter = false, i, r.RetryAfter
		}
	}
	return v
}
