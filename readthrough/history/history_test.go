package history_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/readthrough/history"
)

// story is one way through a history, in a bubble whose clock moves when told.
func story(t *testing.T, tell func(h *history.History, after func(time.Duration)), promises ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := history.New()
		tell(h, func(d time.Duration) { <-time.After(d) })
		report := h.Check(time.Second)
		var got []string
		for _, v := range report.Violations {
			got = append(got, v.Promise)
		}
		if len(got) != len(promises) {
			t.Fatalf("%v broken, want %v\n%s", got, promises, report)
		}
		for i := range got {
			if got[i] != promises[i] {
				t.Fatalf("%v broken, want %v\n%s", got, promises, report)
			}
		}
	})
}

func write(h *history.History, version uint64) *history.Writing {
	w := h.Write("k", version)
	w.Committed()
	return w
}

func read(h *history.History, version uint64, r history.Read) { h.Read("k", r).Answered(version) }

func TestAnAnswerOlderThanTheBoundIsFound(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1).Executed()
		write(h, 2).Executed()
		after(time.Second + 1)
		read(h, 1, history.Read{})
	}, "bound")
}

func TestAnAnswerWithinTheBoundIsNone(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1).Executed()
		write(h, 2).Executed()
		after(time.Second)
		read(h, 1, history.Read{})
		read(h, 2, history.Read{})
	})
}

func TestAReadThatBeganInTimeMayEndLate(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1).Executed()
		r := h.Read("k", history.Read{})
		w := write(h, 2)
		w.Executed()
		w.InForce()
		after(time.Hour)
		r.Answered(1)
	})
}

func TestAnAnswerFromBeforeAWaitIsFound(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1).Executed()
		w := write(h, 2)
		w.Executed()
		read(h, 1, history.Read{})
		w.InForce()
		after(1)
		read(h, 1, history.Read{})
	}, "in force")
}

func TestAnAbsenceAfterAWaitIsFound(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		w := write(h, 1)
		w.InForce()
		after(1)
		read(h, 0, history.Read{})
	}, "in force")
}

func TestAnAnswerBelowItsTokenIsFound(t *testing.T) {
	story(t, func(h *history.History, _ func(time.Duration)) {
		write(h, 1)
		write(h, 2)
		read(h, 1, history.Read{Floor: 2})
		read(h, 2, history.Read{Floor: 2})
	}, "token")
}

func TestAnAnswerFromTheFutureIsFound(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1)
		read(h, 2, history.Read{})
		after(1)
		write(h, 2)
	}, "future")
}

func TestLinearizableReadsThatGoBackAreFound(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1)
		after(1)
		w := h.Write("k", 2) // under way: either order is right, but only one
		after(1)
		read(h, 2, history.Read{Linearizable: true})
		after(1)
		read(h, 1, history.Read{Linearizable: true})
		after(1)
		w.Committed()
	}, "linearizable")
}

func TestLinearizableReadsMayDifferWhileAWriteIsUnderWay(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1)
		after(1)
		h.Write("k", 2) // never known to be committed
		after(1)
		read(h, 1, history.Read{Linearizable: true})
		after(1)
		read(h, 2, history.Read{Linearizable: true})
		after(1)
		read(h, 2, history.Read{Linearizable: true})
	})
}

func TestALinearizableReadOfAnOverwrittenVersionIsFound(t *testing.T) {
	story(t, func(h *history.History, after func(time.Duration)) {
		write(h, 1)
		after(1)
		write(h, 2)
		after(1)
		read(h, 1, history.Read{Linearizable: true})
	}, "linearizable")
}

func TestFailuresPromiseNothingAndAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history.New()
		w := write(h, 1)
		w.Executed()
		w.InForce()
		h.Read("k", history.Read{Floor: 9})
		h.Read("k", history.Read{Linearizable: true})
		h.Read("other", history.Read{}).Answered(0)
		if r := h.Check(0); r.Failed != 2 || r.Reads != 3 || r.Linearizable != 0 || len(r.Violations) != 0 {
			t.Fatal(r)
		}
	})
}

func TestTheReportMeasuresTheWorst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history.New()
		write(h, 1).Executed()
		<-time.After(time.Second)
		w := write(h, 2)
		<-time.After(time.Millisecond)
		w.Executed()
		<-time.After(300 * time.Millisecond)
		read(h, 1, history.Read{})
		read(h, 2, history.Read{Linearizable: true})
		<-time.After(50 * time.Millisecond)
		w.InForce()
		r := h.Check(time.Second)
		if r.Stalest != 300*time.Millisecond || r.LongestWait != 351*time.Millisecond || r.Old != 1 || r.Linearizable != 1 || len(r.Violations) != 0 {
			t.Fatal(r)
		}
	})
}
