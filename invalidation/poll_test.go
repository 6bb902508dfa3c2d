package invalidation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/telemetry"
)

// polled is a Local member whose lease is the poll of a log, in a bubble whose clock stands still between events.
type polled struct {
	*invalidation.Member
	t      *testing.T
	log    *logbook
	target *recorder
	tel    *counter
}

const localBound = 4 * time.Second

// bubble runs a story about a polled member. The first poll is over when it begins.
func bubble(t *testing.T, change func(m *invalidation.Membership), prepare func(l *logbook), story func(t *testing.T, p polled)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := polled{t: t, log: &logbook{}, target: &recorder{}, tel: newCounter()}
		if prepare != nil {
			prepare(p.log)
		}
		m := invalidation.Membership{Namespace: "ns", Target: p.target, Log: p.log, Bound: localBound}
		if change != nil {
			change(&m)
		}
		local := &invalidation.Local{Telemetry: p.tel}
		var err error
		if p.Member, err = local.Join(m); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		story(t, p)
	})
}

// after lets time pass.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// next lets the next poll pass.
func (p polled) next() {
	p.t.Helper()
	polls := p.log.polls()
	for p.log.polls() == polls {
		after(localBound / 100)
	}
}

func (p polled) want(events ...string) {
	p.t.Helper()
	if got := p.target.all(); !slices.Equal(got, events) {
		p.t.Fatalf("%v, want %v", got, events)
	}
}

func TestPollAppliesEveryRowInOrder(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		p.want()
		p.log.change("x")
		p.log.change("")
		p.log.change("y")
		p.next()
		p.want("raise x 1", "raise all 2", "raise y 3")
		p.next()
		p.want("raise x 1", "raise all 2", "raise y 3")
	})
}

func TestFirstPollReadsWhatTheLogStillHolds(t *testing.T) {
	bubble(t, nil, func(l *logbook) {
		l.head, l.trimmed = 40, 40
		l.change("x")
	}, func(t *testing.T, p polled) {
		p.want("raise x 41") // L2 may hold x from before; what was trimmed is older than anything there
	})
}

func TestLongLogIsReadInPages(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		var want []string
		for i := range 2500 {
			id := fmt.Sprint("k", i)
			want = append(want, fmt.Sprintf("raise %s %d", id, p.log.change(id)))
		}
		p.next()
		p.want(want...)
	})
}

func TestTrimmedLogRaisesEverything(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		p.log.change("x")
		p.log.change("y")
		p.log.set(func(l *logbook) { l.trimmed = 1 })
		p.next()
		p.want("raise all 2")
		p.log.change("z")
		p.next()
		p.want("raise all 2", "raise z 3")
	})
}

func TestLogTrimmedBetweenTwoPagesRaisesEverything(t *testing.T) {
	log := &trimming{logbook: &logbook{}}
	for i := range 1500 {
		log.change(fmt.Sprint("k", i))
	}
	bubble(t, func(m *invalidation.Membership) { m.Log = log }, nil, func(t *testing.T, p polled) {
		if p.target.count("raise k") != 1000 || p.target.count("raise all 1500") != 1 {
			t.Fatalf("%d rows, %d of everything", p.target.count("raise k"), p.target.count("raise all"))
		}
	})
}

// trimming loses rows after its first page.
type trimming struct{ *logbook }

func (l *trimming) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	page, err := l.logbook.Changes(ctx, after, limit)
	l.set(func(l *logbook) { l.trimmed = 1200 })
	return page, err
}

func TestAuthorityThatWentBackIsARewindAndReportedOnce(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		for range 5 {
			p.log.change("x")
		}
		p.next()
		rows := len(p.target.all())
		p.log.set(func(l *logbook) { l.head, l.rows = 2, l.rows[:2] }) // a backup is restored
		p.next()
		if got := p.target.all()[rows:]; !slices.Equal(got, []string{"rewind"}) {
			t.Fatal(got)
		}
		p.log.change("y") // version 3 for the second time
		p.next()
		p.next()
		if got := p.target.all()[rows:]; !slices.Equal(got, []string{"rewind", "raise y 3"}) {
			t.Fatal(got)
		}
		if reports := p.tel.reported(); len(reports) != 1 || !strings.Contains(reports[0], "went back") {
			t.Fatal(reports)
		}
	})
}

func TestPollIsTheServingLease(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		for range 20 {
			sent := invalidation.Now()
			if left := p.Lease(0).Until().Sub(sent); left > localBound || left < localBound*3/4-localBound/100 {
				t.Fatalf("%s are left of a lease of %s", left, localBound)
			}
			p.next()
		}
		// A poll that takes long gives a lease from its beginning.
		hold := make(chan struct{})
		p.log.set(func(l *logbook) { l.hold = hold })
		p.next()
		began := invalidation.Now()
		after(localBound / 8)
		old := p.Lease(0).Until()
		p.log.set(func(l *logbook) { l.hold = nil })
		close(hold)
		synctest.Wait()
		if until := p.Lease(0).Until(); until == old || until > began.Add(localBound) {
			t.Fatalf("until %d, the poll began by %d", until, began)
		}
	})
}

func TestALongPollIsShortenedWhereItIsTheServingLease(t *testing.T) {
	bubble(t, func(m *invalidation.Membership) { m.Poll = 10 * localBound }, nil, func(t *testing.T, p polled) {
		for range 20 {
			polls := p.log.polls()
			after(localBound / 4)
			if p.log.polls() == polls || !p.Lease(0).Valid(invalidation.Now()) {
				t.Fatalf("%d polls in a quarter of the bound", p.log.polls()-polls)
			}
		}
	})
}

func TestLeaseOfThePollIsPublishedAfterItsRowsAreApplied(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		var early bool
		old := p.Lease(0).Until()
		p.target.mu.Lock()
		p.target.before = func(string) { early = early || p.Lease(0).Until() != old }
		p.target.mu.Unlock()
		p.log.change("x")
		p.next()
		if early || p.Lease(0).Until() == old {
			t.Fatalf("published early: %t", early)
		}
	})
}

func TestLogThatCannotBeReadEndsTheLeaseAndShowsInHealth(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		after(localBound / 10)
		if h := p.Health(); h.State != invalidation.Up || h.Err != nil || h.PollAge != localBound/10 {
			t.Fatalf("%+v", h)
		}
		p.log.set(func(l *logbook) { l.err = errLog })
		p.next()
		if h := p.Health(); h.State != invalidation.Down || !errors.Is(h.Err, errLog) || p.tel.of(telemetry.PollFailed) != 1 {
			t.Fatalf("%+v", h)
		}
		after(localBound)
		if p.Lease(0).Valid(invalidation.Now()) || p.Health().Lease != 0 {
			t.Fatal("a lease without a poll")
		}
		p.log.set(func(l *logbook) { l.err = nil })
		p.next()
		if h := p.Health(); h.State != invalidation.Up || h.Err != nil || h.Lease == 0 {
			t.Fatalf("%+v", h)
		}
	})
}

func TestTelemetryOfAPollIsNotToldOfATenant(t *testing.T) {
	bubble(t, func(m *invalidation.Membership) { m.Namespace = "ns@acme" }, func(l *logbook) { l.err = errLog }, func(t *testing.T, p polled) {
		if got := p.tel.namespaces(); !slices.Equal(got, []string{"ns"}) {
			t.Fatal(got)
		}
	})
}

func TestLocalWaitSitsOutTheBoundUnlessItIsSole(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *invalidation.Membership)
		want   time.Duration
	}{
		"other processes": {nil, localBound + protocol.Margin(localBound)},
		"sole":            {func(m *invalidation.Membership) { m.Sole = true }, 0},
		"no log":          {func(m *invalidation.Membership) { m.Log = nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, c.change, nil, func(t *testing.T, p polled) {
				for _, r := range []*invalidation.Receipt{
					p.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 3), p.InvalidateAll(t.Context(), 4),
				} {
					began := time.Now()
					for range 2 { // a second wait costs nothing
						if err := r.Wait(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					// The second receipt was executed with the first, and has been sat out with it.
					if d := time.Since(began); d != c.want && d != 0 {
						t.Fatalf("waited %s, want %s", d, c.want)
					}
				}
				if c.want > 0 {
					after(0)
					began := time.Now()
					r := p.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 5)
					if err := r.Wait(t.Context()); err != nil || time.Since(began) != c.want {
						t.Fatalf("waited %s, %v", time.Since(began), err)
					}
				}
			})
		})
	}
}

func TestLocalWaitThatEndsFirstSaysUntilWhen(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		r := p.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 3)
		answered := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), localBound/2)
		defer cancel()
		err := r.Wait(ctx)
		var e *invalidation.NotInForceError
		if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || e.Pending || !e.Committed {
			t.Fatal(err)
		}
		if until := e.Until.Sub(answered); until != localBound+protocol.Margin(localBound) {
			t.Fatalf("until %s", until)
		}
	})
}

func TestLocalWaitForWhatIsInForceDoesNotLookAtItsContext(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		r := p.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 3)
		after(2 * localBound)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if err := r.Wait(ended); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestLocalWaitEndsWithTheMember(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		r := p.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 3)
		done := make(chan error, 1)
		go func() { done <- r.Wait(t.Context()) }()
		synctest.Wait()
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, invalidation.ErrClosed) {
			t.Fatal(err)
		}
	})
}

func TestLocalRenewPollsNowForAllItsCallers(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		after(localBound / 10)
		hold := make(chan struct{})
		p.log.set(func(l *logbook) { l.hold = hold })
		polls, before := p.log.polls(), p.Lease(0).Until()
		p.log.change("x")
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := p.Renew(t.Context(), 0); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		p.log.set(func(l *logbook) { l.hold = nil })
		close(hold)
		wg.Wait()
		if n := p.log.polls() - polls; n < 1 || n > 2 || p.Lease(0).Until() <= before || p.target.count("raise x 1") != 1 {
			t.Fatalf("%d polls, until %d, %v", n, p.Lease(0).Until(), p.target.all())
		}
	})
}

func TestLocalRenewFailsAtOnceWhileTheLogIsKnownToBeOut(t *testing.T) {
	bubble(t, nil, func(l *logbook) { l.err = errLog }, func(t *testing.T, p polled) {
		polls := p.log.polls()
		for range 1000 {
			if err := p.Renew(t.Context(), 0); !errors.Is(err, errLog) {
				t.Fatal(err)
			}
		}
		if n := p.log.polls() - polls; n > 0 {
			t.Fatalf("%d polls of a log that is out", n)
		}
		p.log.set(func(l *logbook) { l.err = nil })
		after(time.Second)
		if err := p.Renew(t.Context(), 0); err != nil || !p.Lease(0).Valid(invalidation.Now()) {
			t.Fatal(err)
		}
	})
}

func TestLocalRenewIsNotMadeToWaitForALogThatHangsAgainAndAgain(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		hold := make(chan struct{})
		p.log.set(func(l *logbook) { l.hold = hold })
		p.next()
		for p.Health().Err == nil {
			after(localBound / 100)
		}
		polls := p.log.polls()
		for range 1000 {
			after(localBound / 100)
			began := time.Now()
			if err := p.Renew(t.Context(), 0); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 0 {
				t.Fatalf("%v after %s", err, time.Since(began))
			}
		}
		if p.log.polls() == polls {
			t.Fatal("nobody has asked the log again")
		}
		p.log.set(func(l *logbook) { l.hold = nil })
		close(hold)
		after(localBound / 2)
		if err := p.Renew(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	})
}

func TestALogThatDoesNotHeedItsContextIsAFailure(t *testing.T) {
	log := deafLog{logbook: &logbook{}}
	bubble(t, func(m *invalidation.Membership) {
		log.release = make(chan struct{}) // in the bubble
		m.Log = log
	}, nil, func(t *testing.T, p polled) {
		if err := p.Renew(context.Background(), 0); err == nil {
			t.Fatal("renewed")
		}
		began := time.Now()
		if err := p.Renew(context.Background(), 0); err == nil || time.Since(began) > 0 {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		if h := p.Health(); h.State != invalidation.Down || h.Err == nil || p.tel.of(telemetry.PollFailed) != 1 {
			t.Fatalf("%+v", h)
		}
		close(log.release)
		synctest.Wait()
		if h := p.Health(); h.State != invalidation.Up || h.Err != nil || !p.Lease(0).Valid(invalidation.Now()) {
			t.Fatalf("%+v", h)
		}
	})
}

func TestLocalRenewEndsWithItsContextAndWithTheMember(t *testing.T) {
	bubble(t, nil, nil, func(t *testing.T, p polled) {
		hold := make(chan struct{})
		p.log.set(func(l *logbook) { l.hold = hold })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := p.Renew(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- p.Renew(context.Background(), 0) }()
		synctest.Wait()
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, invalidation.ErrClosed) {
			t.Fatal(err)
		}
		if err := p.Renew(context.Background(), 0); !errors.Is(err, invalidation.ErrClosed) {
			t.Fatal(err)
		}
	})
}

// deafLog does not heed its context.
type deafLog struct {
	*logbook
	release chan struct{}
}

func (l deafLog) Changes(_ context.Context, after uint64, limit int) (invalidation.Page, error) {
	<-l.release
	return l.logbook.Changes(context.Background(), after, limit)
}

func TestCloseDoesNotWaitForEverForALogAndNoLeaseFollows(t *testing.T) {
	log := deafLog{logbook: &logbook{}}
	bubble(t, func(m *invalidation.Membership) {
		log.release = make(chan struct{}) // in the bubble
		m.Log = log
	}, nil, func(t *testing.T, p polled) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		close(log.release)
		synctest.Wait()
		if p.Lease(0).Until() != protocol.Never {
			t.Fatal("a closed member was given a lease")
		}
	})
}

// The backstop does not trust Redis: it applies every row, delivered or not.
func TestPollAppliesRowsWhateverTheBusHasDelivered(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		log := &logbook{}
		p := join(t, client, setting{member: func(m *invalidation.Membership) { m.Log, m.Poll = log, 10*time.Millisecond }})
		q := join(t, client)
		ripe(t, p, q)
		received(t, q, p)
		for i, by := range []*process{p, q, nil} { // told here, told by the bus, told by nobody
			raw := fmt.Sprint("k", i)
			asOf := log.change(raw)
			if by != nil {
				if err := by.Invalidate(t.Context(), []l2.ID{id(t, raw)}, asOf).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			redistest.Eventually(t, patience, "row", func() bool { return p.target.count(fmt.Sprintf("raise %s %d", raw, asOf)) == 1 })
		}
		asOf := log.change("")
		redistest.Eventually(t, patience, "row", func() bool { return p.target.count(fmt.Sprintf("raise all %d", asOf)) == 1 })
	})
}

func TestPollGoesOnWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	log := &logbook{}
	p := join(t, server.Client(), setting{member: func(m *invalidation.Membership) { m.Log, m.Poll = log, 10*time.Millisecond }})
	leased(t, p)
	server.Kill()
	asOf := log.change("x")
	redistest.Eventually(t, patience, "row", func() bool { return p.target.count(fmt.Sprint("raise x ", asOf)) == 1 })
	redistest.Eventually(t, patience, "end of the lease", func() bool { return !p.Lease(0).Valid(invalidation.Now()) })
	polls := log.polls()
	redistest.Eventually(t, patience, "polls", func() bool { return log.polls() > polls+3 })
	if p.Lease(0).Valid(invalidation.Now()) {
		t.Fatal("the poll gave a lease beside Redis")
	}
}

func TestFailingPollIsAHealthState(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		log := &logbook{err: errLog}
		p := join(t, client, setting{member: func(m *invalidation.Membership) { m.Log, m.Poll = log, 10*time.Millisecond }})
		leased(t, p)
		redistest.Eventually(t, patience, "failure", func() bool { return p.Health().State == invalidation.Unpolled })
		if h := p.Health(); !errors.Is(h.Err, errLog) || h.Lease == 0 || p.tel.of(telemetry.PollFailed) == 0 {
			t.Fatalf("%+v", h)
		}
		log.set(func(l *logbook) { l.err = nil })
		redistest.Eventually(t, patience, "recovery", func() bool {
			h := p.Health()
			return h.State <= invalidation.Weak && h.Err == nil && h.PollAge > 0
		})
	})
}
