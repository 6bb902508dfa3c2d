package ratelimit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

// Nobody but the lease itself calls the backend.
func TestPermitsThatLieIdleInAnOutageAreKeptAndGoBackAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100, Idle: 300 * time.Millisecond})
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		m.fail(errDown)
		if _, err := s.Current(t.Context(), "other"); err == nil {
			t.Fatal("it is not down")
		}
		pass(20 * time.Second)
		if r, err := l.Allow(t.Context(), 1); err != nil || !r.Allowed || r.Degraded || r.Remaining != 98 {
			t.Errorf("%+v, %v", r, err)
		}
		m.fail(nil)
		pass(3 * time.Second)
		if n := total(t, m.Backend); n != 2 {
			t.Errorf("%d counted after 2 were spent", n)
		}
		if !spend(t, l, 1) {
			t.Error("denied")
		}
	})
}

func TestALeaseThatIsClosedInAnOutageLooksNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100, Idle: 300 * time.Millisecond})
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		m.fail(errDown)
		if _, err := s.Current(t.Context(), "other"); err == nil {
			t.Fatal("it is not down")
		}
		m.fail(nil)
		m.set(func(m *meddler) { m.there, m.lost = 100*time.Millisecond, errDown })
		for calls := m.calls.Load(); m.calls.Load() == calls; { // until it asks whether the outage is over
			pass(10 * time.Millisecond)
		}
		if err := l.Close(t.Context()); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%v: 99 are lost", err)
		}
		calls := m.calls.Load()
		pass(time.Minute)
		if n := m.calls.Load() - calls; n != 0 {
			t.Errorf("%d calls after Close", n)
		}
	})
}

// resetting lets a test in between the backend's Reset and what the store does after it.
type resetting struct {
	ratelimit.Backend
	then func()
}

func (b resetting) Reset(ctx context.Context, key string) error {
	err := b.Backend.Reset(ctx, key)
	b.then()
	return err
}

func TestABlockOfTheNewWindowThatAResetDropsGoesBack(t *testing.T) {
	m := &ratelimit.Memory{}
	var old, young *ratelimit.Lease
	s := open(t, ratelimit.Config{Backend: resetting{m, func() {
		if !spend(t, young, 1) {
			t.Error("denied after Reset")
		}
	}}})
	old = leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100})
	young = leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100})
	if !spend(t, old, 1) {
		t.Fatal("denied")
	}
	if err := s.Reset(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if n := total(t, m); n != 1 {
		t.Errorf("%d are counted, and 1 of the new window was spent", n)
	}
	if r, err := young.Allow(t.Context(), 1); err != nil || !r.Allowed {
		t.Errorf("%+v, %v", r, err)
	}
}

type panicsInReturn struct{ ratelimit.Backend }

func (panicsInReturn) Return(context.Context, string, int64, int64) error { panic("of the backend") }

func TestABackendThatPanicsInReturnEndsNoProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(panicsInReturn{&ratelimit.Memory{}})
		s := open(t, ratelimit.Config{Backend: m})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100, Idle: time.Second})
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		pass(3 * time.Second) // what lies idle
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		release := m.hold()
		answered := make(chan error)
		go func() { // ends with its answer
			_, err := l.Allow(context.Background(), 1)
			answered <- err
		}()
		synctest.Wait()
		m.set(func(m *meddler) { m.gate = nil })
		if err := s.Reset(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		release() // what arrives unwanted
		if err := <-answered; err != nil && !errors.Is(err, readthrough.ErrUnavailable) {
			t.Error(err)
		}
		pass(time.Second)
		if !spend(t, l, 1) {
			t.Error("denied")
		}
		if err := l.Close(t.Context()); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%v from Close", err)
		}
	})
}

// The backend's window ends 0.9 s before this process's clock says so.
func TestABlockEndsInTimeForABackendWhoseClockIsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := &ratelimit.Memory{Now: func() time.Time {
			since := time.Since(began)
			return began.Add(since + since*9/10_000)
		}}
		limit := ratelimit.Limit{Max: 1000, Window: 1000 * time.Second}
		l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: limit, Block: 100, Idle: -1})
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		pass(999*time.Second + 300*time.Millisecond)
		if n := total(t, m); n != 0 {
			t.Fatalf("the window is not over: %d", n)
		}
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		if n := total(t, m); n == 0 {
			t.Error("a permit is spent that no window has counted")
		}
	})
}

// A day's window goes on for 86 s when its block ends here.
func TestWhatABlockHoldsAtItsEndGoesBackToAWindowThatGoesOn(t *testing.T) {
	limit := ratelimit.Limit{Max: 100, Window: 24 * time.Hour}
	for name, late := range map[string]func(*ratelimit.Lease){
		"by its timer":        func(*ratelimit.Lease) {},
		"by the next to look": (*ratelimit.Lease).StopTimer,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meddle(&ratelimit.Memory{})
				l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: limit, Block: 40, Idle: -1})
				if !spend(t, l, 1) {
					t.Fatal("denied")
				}
				late(l)
				pass(limit.Window - time.Minute)
				allowed := int64(1)
				for spend(t, l, 1) {
					allowed++
				}
				if n := total(t, m.Backend); allowed != 100 || n != 100 {
					t.Errorf("%d of 100 allowed, %d counted", allowed, n)
				}
			})
		})
	}
	t.Run("by Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := &ratelimit.Memory{}
			l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: limit, Block: 40, Idle: -1})
			if !spend(t, l, 1) {
				t.Fatal("denied")
			}
			l.StopTimer()
			pass(limit.Window - time.Minute)
			if err := l.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := total(t, m); n != 1 {
				t.Errorf("%d counted after 1 was spent", n)
			}
		})
	})
}

func TestWhatABlockHoldsAtTheEndOfAShortWindowIsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: fixed, Block: 5, Idle: -1})
		for window := range int64(3) {
			if !spend(t, l, 1) {
				t.Fatal("denied")
			}
			pass(fixed.Window)
			if n := m.calls.Load(); n != window+1 {
				t.Errorf("%d calls in %d windows", n, window+1)
			}
		}
	})
}

func TestPermitsThatALeaseGivesBackCanBeHadHereAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, ratelimit.Config{Backend: &ratelimit.Memory{}, Remember: time.Hour})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(10), Block: 5, Idle: time.Second})
		if !spend(t, l, 1) || !allow(t, s, "k", 5, hour(10)).Allowed || allow(t, s, "k", 4, hour(10)).Allowed {
			t.Fatal("not 1 and 5 of 10, with 4 held")
		}
		pass(2 * time.Second)
		if r := allow(t, s, "k", 4, hour(10)); !r.Allowed {
			t.Errorf("%+v", r)
		}
	})
}

// What came back from elsewhere is seen with it.
func TestALeaseThatGivesBackAsksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &ratelimit.Memory{}
		here, there := open(t, ratelimit.Config{Backend: shared, Remember: time.Hour}), open(t, ratelimit.Config{Backend: shared})
		l := leaseOf(t, here, ratelimit.LeaseConfig{Limit: hour(20), Block: 5, Idle: time.Second})
		other := leaseOf(t, there, ratelimit.LeaseConfig{Limit: hour(20), Block: 5, Idle: -1})
		if !spend(t, l, 1) || !spend(t, other, 1) || !allow(t, there, "k", 10, hour(20)).Allowed || spend(t, l, 5) {
			t.Fatal("not 1, 1 and 10 of 20, with 4 held here and 4 there")
		}
		if err := other.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if !spend(t, l, 5) {
			t.Error("denied, with 8 to be had")
		}
	})
}

func TestPermitsOfAWindowThatWasResetElsewhereAreDroppedWithTheFirstBlockOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: hour(1000), Block: 100, Idle: -1})
		if !spend(t, l, 50) {
			t.Fatal("denied")
		}
		if err := m.Backend.Reset(t.Context(), "k"); err != nil { // another process
			t.Fatal(err)
		}
		for m.calls.Load() < 2 { // with 49 left
			if !spend(t, l, 1) {
				t.Fatal("denied")
			}
			synctest.Wait()
		}
		granted := total(t, m.Backend)
		r, err := l.Allow(t.Context(), 1)
		if err != nil || !r.Allowed || r.Remaining != granted-1 {
			t.Errorf("%+v, %v: the new window has counted %d", r, err, granted)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := total(t, m.Backend); n != 1 {
			t.Errorf("%d counted after 1 was spent in the new window", n)
		}
	})
}

// Who closes the backend after it would else close it under the permits on their way.
func TestWhoClosesAgainWaitsForTheFirst(t *testing.T) {
	type closer interface {
		Close(ctx context.Context) error
	}
	for name, pick := range map[string]func(*ratelimit.Store, *ratelimit.Lease) (first, again closer){
		"lease, lease": func(_ *ratelimit.Store, l *ratelimit.Lease) (first, again closer) { return l, l },
		"lease, store": func(s *ratelimit.Store, l *ratelimit.Lease) (first, again closer) { return l, s },
		"store, lease": func(s *ratelimit.Store, l *ratelimit.Lease) (first, again closer) { return s, l },
		"store, store": func(s *ratelimit.Store, _ *ratelimit.Lease) (first, again closer) { return s, s },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meddle(&ratelimit.Memory{})
				s := open(t, ratelimit.Config{Backend: m})
				l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100, Idle: -1})
				if !spend(t, l, 1) {
					t.Fatal("denied")
				}
				first, again := pick(s, l)
				release := m.hold()
				ends := make(chan error, 2)
				end := func(c closer) { ends <- c.Close(context.Background()) }
				go end(first) // ends with release
				synctest.Wait()
				go end(again) // ends with the first
				synctest.Wait()
				if len(ends) != 0 {
					t.Error("an end of Close while permits are on their way back")
				}
				short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				if err := again.Close(short); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v from a Close that waits no longer", err)
				}
				release()
				for range 2 {
					if err := <-ends; err != nil {
						t.Error(err)
					}
				}
				if err := l.Close(short); err != nil {
					t.Errorf("%v from a lease that is closed", err)
				}
			})
		})
	}
}
