package protocol

// Outcome is what the L2 lookup of a load came to.
type Outcome uint8

const (
	// Unreachable means that L2 gave no answer, or may not be asked.
	Unreachable Outcome = iota
	// Hit is a value of the current epoch.
	Hit
	// Leased is no value, and the right to fill.
	Leased
	// Busy is no value, and somebody else has the right to fill.
	Busy
	// Bare is no value and no right to fill.
	Bare
)

// Lookup is the part of an L2 answer that the rules look at.
type Lookup struct {
	Outcome Outcome
	// AsOf is the version of the value of a Hit.
	AsOf uint64
	// Behind: the value of a Hit was there before the position the reader asks for.
	Behind bool
	// Fence is the version below which the server refuses to store, as answered by Leased and Busy.
	Fence uint64
}

// Step is what a load does next.
type Step uint8

const (
	// AnswerL2 answers with the value of the lookup.
	AnswerL2 Step = iota + 1
	// AskAgain looks up once more and takes the fill lease although a value is there: that value is below what is needed.
	AskAgain
	// AwaitOther waits a little and looks up once more: another process is loading.
	AwaitOther
	// AskAuthority loads from the authority, without the right to fill.
	AskAuthority
	// AskAuthorityAndFill loads from the authority and stores the value behind the caller.
	AskAuthorityAndFill
	// AnswerLoaded answers with the value of the authority.
	AnswerLoaded
	// GiveUp answers that freshness cannot be established: the authority is behind what has been promised.
	GiveUp
)

// Load decides what one load does with what it is told. The zero Load has been told nothing.
type Load struct {
	fence     uint64 // highest fence answered by L2
	refreshed bool   // a value below need was seen; the next lookup refreshes
	reloaded  bool   // the authority answered below need once
	filling   bool
}

// Looked judges an L2 answer. need is the version below which nothing may be answered, as known now: the token's and the
// id's local fence. waited says that the time for waiting on another process's load is used up.
func (l *Load) Looked(a Lookup, need uint64, waited bool) Step {
	l.fence = max(l.fence, a.Fence)
	switch a.Outcome {
	case Hit:
		if !a.Behind && a.AsOf >= max(need, l.fence) {
			return AnswerL2
		}
		if l.refreshed {
			return AskAuthority
		}
		l.refreshed = true
		return AskAgain
	case Leased:
		l.filling = true
		return AskAuthorityAndFill
	case Busy:
		if waited {
			return AskAuthority
		}
		return AwaitOther
	default:
		return AskAuthority
	}
}

// Loaded judges the authority's answer. A value below the fence that L2 answered, or below need, is neither returned nor
// kept: one retry, then the load gives up. An authority without versions answers 0, which fences say nothing about: it has the
// lease, the sequence and the epoch alone, and its caller passes a need of its token only.
func (l *Load) Loaded(asOf, need uint64) Step {
	if asOf >= need && (asOf == 0 || asOf >= l.fence) {
		return AnswerLoaded
	}
	if l.reloaded {
		return GiveUp
	}
	l.reloaded = true
	if l.filling {
		return AskAuthorityAndFill
	}
	return AskAuthority
}
