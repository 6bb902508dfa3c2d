package protocol_test

import (
	"testing"

	"github.com/layercache/layercache/invalidation/protocol"
)

func look(l *protocol.Load, outcome protocol.Outcome, asOf, fence, need uint64) protocol.Step {
	return l.Looked(protocol.Lookup{Outcome: outcome, AsOf: asOf, Fence: fence}, need, false)
}

func wantSteps(t *testing.T, steps ...protocol.Step) {
	t.Helper()
	for i := 0; i < len(steps); i += 2 {
		if steps[i] != steps[i+1] {
			t.Fatalf("step %d of the load: %d, want %d", i/2+1, steps[i], steps[i+1])
		}
	}
}

func TestFirstLook(t *testing.T) {
	for name, c := range map[string]struct {
		lookup protocol.Lookup
		need   uint64
		waited bool
		want   protocol.Step
	}{
		"hit":                       {protocol.Lookup{Outcome: protocol.Hit, AsOf: 5}, 5, false, protocol.AnswerL2},
		"hit without versions":      {protocol.Lookup{Outcome: protocol.Hit}, 0, false, protocol.AnswerL2},
		"hit below need":            {protocol.Lookup{Outcome: protocol.Hit, AsOf: 4}, 5, false, protocol.AskAgain},
		"hit before the position":   {protocol.Lookup{Outcome: protocol.Hit, AsOf: 9, Behind: true}, 5, false, protocol.AskAgain},
		"lease":                     {protocol.Lookup{Outcome: protocol.Leased}, 0, false, protocol.AskAuthorityAndFill},
		"busy":                      {protocol.Lookup{Outcome: protocol.Busy}, 0, false, protocol.AwaitOther},
		"busy, waited long enough":  {protocol.Lookup{Outcome: protocol.Busy}, 0, true, protocol.AskAuthority},
		"miss without a lease":      {protocol.Lookup{Outcome: protocol.Bare}, 0, false, protocol.AskAuthority},
		"no answer":                 {protocol.Lookup{}, 0, false, protocol.AskAuthority},
		"hit below a need of later": {protocol.Lookup{Outcome: protocol.Hit, AsOf: 5}, 6, true, protocol.AskAgain},
	} {
		var l protocol.Load
		if got := l.Looked(c.lookup, c.need, c.waited); got != c.want {
			t.Errorf("%s: step %d, want %d", name, got, c.want)
		}
	}
}

func TestOldValueIsAskedForAgainOnceThenTheAuthority(t *testing.T) {
	var l protocol.Load
	wantSteps(t,
		look(&l, protocol.Hit, 4, 0, 5), protocol.AskAgain,
		look(&l, protocol.Hit, 4, 0, 5), protocol.AskAuthority, // somebody else refreshes it
	)
}

func TestRefreshTakesTheLeaseAndFills(t *testing.T) {
	var l protocol.Load
	wantSteps(t,
		look(&l, protocol.Hit, 4, 0, 5), protocol.AskAgain,
		look(&l, protocol.Leased, 0, 0, 5), protocol.AskAuthorityAndFill,
		l.Loaded(5, 5), protocol.AnswerLoaded,
	)
}

func TestValueFilledByAnotherIsTaken(t *testing.T) {
	var l protocol.Load
	wantSteps(t,
		look(&l, protocol.Busy, 0, 7, 0), protocol.AwaitOther,
		look(&l, protocol.Hit, 7, 0, 0), protocol.AnswerL2,
	)
}

func TestValueOfAnotherBelowTheFenceOfBusyIsNotTaken(t *testing.T) {
	var l protocol.Load
	wantSteps(t,
		look(&l, protocol.Busy, 0, 7, 0), protocol.AwaitOther,
		look(&l, protocol.Hit, 6, 0, 0), protocol.AskAgain,
	)
}

func TestAuthorityBelowTheFenceIsAskedOnceMoreThenGivenUp(t *testing.T) {
	for _, outcome := range []protocol.Outcome{protocol.Leased, protocol.Busy} {
		var l protocol.Load
		l.Looked(protocol.Lookup{Outcome: outcome, Fence: 7}, 0, true)
		again := protocol.AskAuthority
		if outcome == protocol.Leased {
			again = protocol.AskAuthorityAndFill
		}
		wantSteps(t, l.Loaded(6, 0), again, l.Loaded(6, 0), protocol.GiveUp)
	}
}

func TestAuthorityThatCatchesUpIsAnswered(t *testing.T) {
	var l protocol.Load
	look(&l, protocol.Leased, 0, 7, 0)
	wantSteps(t, l.Loaded(6, 0), protocol.AskAuthorityAndFill, l.Loaded(7, 0), protocol.AnswerLoaded)
}

func TestAuthorityBelowNeedIsNotAnswered(t *testing.T) {
	var l protocol.Load
	wantSteps(t,
		look(&l, protocol.Unreachable, 0, 0, 9), protocol.AskAuthority,
		l.Loaded(8, 9), protocol.AskAuthority, // need is what is known at the answer
		l.Loaded(9, 10), protocol.GiveUp,
	)
}

func TestFenceOnceToldHoldsForTheWholeLoad(t *testing.T) {
	var l protocol.Load
	look(&l, protocol.Busy, 0, 7, 0)
	look(&l, protocol.Leased, 0, 3, 0)
	wantSteps(t, l.Loaded(6, 0), protocol.AskAuthorityAndFill)
}
