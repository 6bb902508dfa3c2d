package explore_test

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/invalidation/protocol/explore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var large = flag.Bool("explore.large", false, "explore the larger sizes")

// TestNoInterleavingBreaksAnInvariant is the exploration.
func TestNoInterleavingBreaksAnInvariant(t *testing.T) {
	began := time.Now()
	worlds := explore.Worlds(*large)
	results := make([]explore.Result, len(worlds))
	took := make([]time.Duration, len(worlds))
	t.Run("worlds", func(t *testing.T) {
		for i, w := range worlds {
			if testing.Short() {
				w.MaxStates = 20_000
			}
			t.Run(w.Name, func(t *testing.T) {
				if !*large { // one large world fills the memory
					t.Parallel()
				}
				began := time.Now()
				r := w.Explore(explore.None)
				results[i], took[i] = r, time.Since(began)
				if r.Counterexample != nil {
					t.Fatalf("%v\n%v", &r, r.Counterexample)
				}
				if testing.Short() {
					return
				}
				for _, e := range w.Events.Each() {
					free := w.Budget > 0 || explore.Faults&e == 0
					// The rules let nobody join a load whose answer may be too old for him: that is what Join would show.
					if r.Happened[e] == 0 && free && e != explore.Join {
						t.Errorf("%q never happened", e)
					}
				}
				if r.Faults != w.Budget {
					t.Errorf("at most %d faults in a run, the budget is %d", r.Faults, w.Budget)
				}
			})
		}
	})
	var states, transitions int
	for i, r := range results {
		t.Logf("%v, %s", &r, took[i].Round(10*time.Millisecond))
		states, transitions = states+r.States, transitions+r.Transitions
	}
	t.Logf("%d worlds, %d states, %d transitions, no invariant broken, %s", len(worlds), states, transitions,
		time.Since(began).Round(10*time.Millisecond))
}

// TestEveryBrokenRuleHasACounterexample shows that the exploration can fail.
func TestEveryBrokenRuleHasACounterexample(t *testing.T) {
	worlds := map[string]explore.World{}
	for _, w := range explore.Worlds(false) {
		worlds[w.Name] = w
	}
	caught := map[explore.Flaw]bool{}
	for _, c := range []struct {
		flaw  explore.Flaw
		world string
		deep  bool // takes seconds
	}{
		{explore.NoNonceCheck, "fills", false},
		{explore.NoncePerClient, "fills", false},
		{explore.LeaseAndFillOfCurrentEpoch, "fills and failover", false},
		{explore.NoEpochInValue, "failover", false},
		{explore.FenceShortenedByLease, "authority behind", false},
		{explore.BusyWithoutFence, "authority behind", false},
		{explore.ValueBelowFenceReturned, "authority behind", false},
		{explore.LossOfCounterUnnoticed, "everything invalidated", false},
		{explore.LossOfAcksUnnoticed, "leases", true},
		{explore.LossOfBirthUnnoticed, "loss and failover", false},
		{explore.FailoverUnnoticed, "failover", false},
		{explore.NoGuardAtHit, "leases", false},
		{explore.LeaseReadAfterGuard, "hits in two reads", true},
		{explore.NoServingLease, "leases", false},
		{explore.TickerClock, "leases", false},
		{explore.NoGuardAtInstall, "fills", false},
		{explore.FlightNotForgotten, "joins", true},
		{explore.FlightJoinedWithoutLease, "joins", true},
		{explore.NoGapCheck, "two keys", false},
		{explore.GapWithoutFlush, "leases", false},
		{explore.GrantWithoutMessages, "leases of three ticks", false},
		{explore.EpochWithoutFlush, "failover", false},
		{explore.MessageSetsEpoch, "leases", false},
		{explore.LeaseBeforeFlush, "leases of three ticks", false},
		{explore.T0AtAnswer, "leases of three ticks", false},
		{explore.AckForServerEpoch, "acks over epochs", true},
		{explore.AckBeforeEvict, "leases of three ticks", false},
		{explore.AckOfLeftProcess, "leases", true},
		{explore.AcksUnread, "three versions", true},
		{explore.WaitWithoutYoungEpoch, "failover", false},
		{explore.WaitShorterThanLease, "leases of three ticks", false},
		{explore.WaitNotMoved, "failover", false},
		{explore.NoOwnVoid, "own writes", false},
		{explore.PollKeepsOlder, "authority polled", false},
		{explore.PollWithoutFence, "authority polled", false},
		{explore.TokenIgnored, "authority behind", false},
	} {
		caught[c.flaw] = true
		t.Run(c.flaw.String(), func(t *testing.T) {
			if c.deep && testing.Short() {
				t.Skip("takes seconds")
			}
			t.Parallel()
			r := worlds[c.world].Explore(c.flaw)
			if r.Counterexample == nil {
				t.Fatalf("not noticed: %v", &r)
			}
			t.Logf("%s, %d states, %d steps:\n%v", c.world, r.States, len(r.Counterexample.Steps), r.Counterexample)
		})
	}
	for _, f := range explore.Flaws() {
		if !caught[f] {
			t.Errorf("%q has no test", f)
		}
	}
}

func TestSameWorldIsExploredAlike(t *testing.T) {
	w := explore.Worlds(false)[0]
	w.MaxStates = 5000
	a, b := w.Explore(explore.None), w.Explore(explore.None)
	if a.States != b.States || a.Transitions != b.Transitions || a.Depth != b.Depth {
		t.Fatalf("%v, and then %v", &a, &b)
	}
}
