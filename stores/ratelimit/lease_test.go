package ratelimit_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

func leaseOf(t testing.TB, s *ratelimit.Store, cfg ratelimit.LeaseConfig) *ratelimit.Lease {
	t.Helper()
	if cfg.Key == "" {
		cfg.Key = "k"
	}
	l, err := s.Lease(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(context.Background()) })
	return l
}

// spend takes n permits and answers whether they were given.
func spend(t testing.TB, l *ratelimit.Lease, n int64) bool {
	t.Helper()
	r, err := l.Allow(t.Context(), n)
	if err != nil {
		t.Fatalf("Allow(%d): %v", n, err)
	}
	return r.Allowed
}

func total(t testing.TB, b ratelimit.Backend) int64 {
	t.Helper()
	n, err := b.Current(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func hour(max int64) ratelimit.Limit { return ratelimit.Limit{Max: max, Window: time.Hour} }

func TestALeaseDecidesWithoutTheBackendAndWithoutAllocating(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1 << 40), Block: 1 << 30})
	if !spend(t, l, 1) {
		t.Fatal("denied")
	}
	ctx := t.Context()
	allocs := testing.AllocsPerRun(10_000, func() {
		if r, err := l.Allow(ctx, 1); !r.Allowed || err != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
	if n := m.calls.Load(); allocs != 0 || n != 1 {
		t.Errorf("%v allocations each, %d calls", allocs, n)
	}
	spent := leaseOf(t, s, ratelimit.LeaseConfig{Key: "spent", Limit: hour(1)})
	if !spend(t, spent, 1) || spend(t, spent, 1) {
		t.Fatal("not one of one")
	}
	calls := m.calls.Load()
	allocs = testing.AllocsPerRun(10_000, func() {
		if r, err := spent.Allow(ctx, 1); r.Allowed || err != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
	if n := m.calls.Load() - calls; allocs != 0 || n != 0 {
		t.Errorf("denied: %v allocations each, %d calls", allocs, n)
	}
}

func TestMoreIsAskedForBeforeTheLastPermitIsGone(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: hour(1_000_000), Block: 100})
	if !spend(t, l, 1) {
		t.Fatal("denied")
	}
	release := m.hold() // whoever waits for the backend waits for ever
	for range 98 {
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
	}
	eventually(t, "second request", func() bool { return m.calls.Load() == 2 })
	release()
	for range 10_000 {
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
	}
}

func TestManyCallersShareOneRequest(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: hour(1 << 40), Block: 1000})
	release := m.hold()
	var group sync.WaitGroup
	var allowed, begun atomic.Int64
	for range 100 {
		group.Go(func() {
			begun.Add(1)
			if r, err := l.Allow(t.Context(), 1); err == nil && r.Allowed {
				allowed.Add(1)
			}
		})
	}
	eventually(t, "request", func() bool { return m.calls.Load() == 1 && begun.Load() == 100 })
	release()
	group.Wait()
	if n := m.calls.Load(); n != 1 || allowed.Load() != 100 {
		t.Errorf("%d calls, %d allowed", n, allowed.Load())
	}
}

// What is requested less what is spent is what the process holds.
func TestALeaseNeverHoldsMoreThanItsBlock(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Processes: 2})
	const block = 64
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(20_000), Block: block})
	var spent atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				r, err := l.Allow(t.Context(), 1)
				if err != nil {
					t.Error(err)
				}
				if err != nil || !r.Allowed {
					return
				}
				spent.Add(1)
				requested := m.requested.Load()                       // before spent, which only grows
				if held := requested - spent.Load(); held > block+8 { // 8 may not have counted yet
					t.Errorf("%d are held", held)
					return
				}
			}
		})
	}
	group.Wait()
	if spent.Load() != 20_000 || total(t, m.Backend) != 20_000 {
		t.Errorf("%d spent, %d counted", spent.Load(), total(t, m.Backend))
	}
}

func TestBlocksShrinkNearTheLimit(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Processes: 4})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 250})
	if !spend(t, l, 1) {
		t.Fatal("denied")
	}
	if n := m.requested.Load(); n != 125 { // an eighth
		t.Errorf("%d permits of 1000 for one of four processes", n)
	}
	m.largest.Store(0)
	if _, err := m.Backend.Increment(t.Context(), "k", 875-16, time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 124 {
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
	}
	eventually(t, "block of what is left", func() bool { return m.requested.Load() > 125 })
	if n := m.largest.Load(); n > 2 { // there may have been several requests
		t.Errorf("%d permits at once of the last 16 for one of four processes", n)
	}
}

func TestASpentWindowIsAskedForOnceAndAgainWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: ratelimit.Limit{Max: 4, Window: time.Second}})
		for window := range 5 {
			for range 4 {
				if !spend(t, l, 1) {
					t.Fatalf("window %d: denied", window)
				}
			}
			if spend(t, l, 1) {
				t.Fatal("a fifth of four")
			}
			calls := m.calls.Load()
			for range 9 {
				r, err := l.Allow(t.Context(), 1)
				if err != nil || r.Allowed || r.RetryAfter <= 0 || r.RetryAfter > time.Second+time.Millisecond {
					t.Fatalf("%+v, %v", r, err)
				}
				pass(100 * time.Millisecond)
			}
			if n := m.calls.Load() - calls; n != 0 {
				t.Errorf("window %d: %d calls while it was known to be spent", window, n)
			}
			pass(100 * time.Millisecond)
		}
	})
}

// The backend's windows are those of its own clock; each permit that is spent is of the one that is open at that moment.
func TestPermitsAreNeverSpentInAnotherWindow(t *testing.T) {
	for _, there := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond, 90 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			m := meddle(&ratelimit.Memory{})
			m.there = there
			s := open(t, ratelimit.Config{Backend: m})
			limit := ratelimit.Limit{Max: 1000, Window: 200 * time.Millisecond}
			l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: limit, Block: 500})
			for range 300 {
				r, err := l.Allow(t.Context(), 1)
				if err != nil || !r.Allowed {
					t.Fatalf("%+v, %v", r, err)
				}
				// A window that is open has counted what is spent in it: with one that has just begun, or with none, the
				// counter would say less.
				if n := total(t, m.Backend); n < 1 {
					t.Fatalf("%s: a permit is spent, and the window has counted %d", there, n)
				}
				if until := time.Until(r.ResetAt); until <= 0 {
					t.Fatalf("%s: spent %s after the window's end", there, -until)
				}
				pass(7 * time.Millisecond)
			}
		})
	}
}

// A process that was stopped over the end of a window may find that the timer has not run yet.
func TestPermitsThatAreSpentLateAreFewerThanFour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		limit := ratelimit.Limit{Max: 1000, Window: time.Second}
		l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: limit, Block: 400})
		for n := range int64(20) {
			for range 1 + n {
				if !spend(t, l, 1) {
					t.Fatal("denied")
				}
			}
			l.StopTimer()
			pass(time.Second)
			calls, late := m.calls.Load(), 0
			for m.calls.Load() == calls {
				if !spend(t, l, 1) {
					t.Fatal("denied")
				}
				late++
			}
			if late--; late > 3 { // the last one was of the next window
				t.Errorf("%d late", late)
			}
			pass(time.Second)
		}
	})
}

func TestUnusedPermitsGoBackWhenTheyLieIdleAndAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100, Idle: 50 * time.Millisecond})
		for range 20 { // busy: one in each Idle
			if !spend(t, l, 1) {
				t.Fatal("denied")
			}
			pass(40 * time.Millisecond)
		}
		if n := m.returned.Load(); n != 0 {
			t.Errorf("%d went back from a busy lease", n)
		}
		pass(100 * time.Millisecond)
		if n := total(t, m.Backend); n != 20 {
			t.Errorf("%d counted after 20 were spent", n)
		}
		calls := m.calls.Load()
		pass(time.Minute)
		if n := m.calls.Load() - calls; n != 0 {
			t.Errorf("%d calls of a lease that holds nothing", n)
		}
		for range 3 { // it wakes up again
			if !spend(t, l, 2) {
				t.Fatal("denied")
			}
			pass(100 * time.Millisecond)
		}
		if n := total(t, m.Backend); n != 26 {
			t.Errorf("%d counted after 26 were spent", n)
		}
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := total(t, m.Backend); n != 27 {
			t.Errorf("%d counted after 27 were spent and the lease closed", n)
		}
		if _, err := l.Allow(t.Context(), 1); !errors.Is(err, readthrough.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestPermitsWhoseReturnIsUncertainAreNotSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(10), Block: 5, Idle: 50 * time.Millisecond})
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		m.set(func(m *meddler) { m.lost = errDown })
		pass(time.Second)
		m.set(func(m *meddler) { m.lost = nil })
		pass(2 * time.Second)
		allowed := 1
		for spend(t, l, 1) {
			allowed++
		}
		if allowed > 10 {
			t.Errorf("%d of 10", allowed)
		}
	})
}

func TestACloseWhileABlockIsUnderWayGivesItBack(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100})
	release := m.hold()
	answered := make(chan error)
	go func() { // ends with its answer
		_, err := l.Allow(context.Background(), 1)
		answered <- err
	}()
	eventually(t, "request", func() bool { return m.requested.Load() == 100 })
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }() // ends with its answer
	eventually(t, "closed lease", func() bool {
		_, err := s.Lease(ratelimit.LeaseConfig{Key: "k", Limit: hour(1)})
		return errors.Is(err, readthrough.ErrClosed)
	})
	release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil && !errors.Is(err, readthrough.ErrClosed) {
		t.Error(err)
	}
	if n := total(t, m.Backend); n > 1 {
		t.Errorf("%d are counted and nobody has them", n)
	}
}

func TestResetDropsWhatIsHeldHere(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
	limit := hour(10)
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: limit, Block: 10})
	for round := range 3 {
		for n := range 10 {
			if !spend(t, l, 1) {
				t.Fatalf("round %d: %d", round, n)
			}
			if n == 1 && round == 1 {
				break // with some held
			}
		}
		if round != 1 && spend(t, l, 1) {
			t.Fatal("11 of 10")
		}
		if err := s.Reset(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	if !spend(t, l, 1) {
		t.Fatal("denied after Reset")
	}
	allowed := int64(1)
	for allow(t, s, "k", 1, limit).Allowed || spend(t, l, 1) {
		allowed++
	}
	if allowed != 10 {
		t.Errorf("%d of 10 after Reset", allowed)
	}
}

func TestABlockFromBeforeAResetIsNotSpentAfterIt(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(10), Block: 5})
	release := m.hold()
	answered := make(chan ratelimit.Result)
	go func() { // ends with its answer
		r, _ := l.Allow(context.Background(), 1)
		answered <- r
	}()
	eventually(t, "request", func() bool { return m.requested.Load() == 5 })
	m.set(func(m *meddler) { m.gate = nil }) // nobody else is held back
	if err := s.Reset(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	release()
	allowed := 0
	if r := <-answered; r.Allowed {
		allowed++
	}
	for spend(t, l, 1) {
		allowed++
	}
	if allowed != 10 {
		t.Errorf("%d of 10 after Reset", allowed)
	}
}

func TestACallMayWantMoreThanABlock(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Processes: 10})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(100), Block: 5})
	if !spend(t, l, 60) || spend(t, l, 60) || !spend(t, l, 40) || spend(t, l, 1) {
		t.Error("not 60 and 40 of 100")
	}
	if _, err := l.Allow(t.Context(), 101); !errors.Is(err, ratelimit.ErrNeverFits) {
		t.Error(err)
	}
	if _, err := l.Allow(t.Context(), 0); err == nil {
		t.Error("no permits are taken")
	}
}

// Such windows are over when their block arrives. The caller is told something all the same.
func TestAWindowShorterThanARoundTripEndsNobodysPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		m.there = 20 * time.Millisecond
		limit := ratelimit.Limit{Max: 10, Window: time.Millisecond}
		l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: limit})
		if !spend(t, l, 1) {
			t.Error("denied")
		}
	})
}

// A window begins when the request arrives, and ends by this process's clock as if it had when the request was sent.
func TestPermitsThatArriveTooLateHereGoBackAndCanBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		m.there = 60 * time.Millisecond
		limit := ratelimit.Limit{Max: 10, Window: 100 * time.Millisecond}
		l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: limit})
		time.AfterFunc(70*time.Millisecond, func() { m.set(func(m *meddler) { m.there = 0 }) })
		if !spend(t, l, 10) {
			t.Error("denied")
		}
		if n, back := total(t, m.Backend), m.returned.Load(); n != 10 || back != 10 {
			t.Errorf("%d counted after 10 were spent, %d went back", n, back)
		}
	})
}

func TestNobodyIsDeniedForPermitsThatAreOnTheirWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		m.there = 60 * time.Millisecond
		limit := ratelimit.Limit{Max: 10, Window: 100 * time.Millisecond}
		l := leaseOf(t, open(t, ratelimit.Config{Backend: m}), ratelimit.LeaseConfig{Limit: limit})
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { // ends with its answer
			_, err := l.Allow(ctx, 10)
			left <- err
		}()
		pass(70 * time.Millisecond)
		m.set(func(m *meddler) { m.there = 10 * time.Millisecond })
		pass(52 * time.Millisecond) // they are on their way back for 2 ms
		m.set(func(m *meddler) { m.there = 0 })
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if !spend(t, l, 5) {
			t.Error("denied")
		}
	})
}

func TestALeasesCallerLeavesWithItsContext(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	l := leaseOf(t, open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.AllowAny}), ratelimit.LeaseConfig{Limit: hour(10)})
	release := m.hold()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error)
	go func() { // ends with its answer
		_, err := l.Allow(ctx, 1)
		answered <- err
	}()
	eventually(t, "request", func() bool { return m.calls.Load() == 1 })
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) || !errors.Is(err, readthrough.ErrUnavailable) {
		t.Error(err)
	}
}

func TestABackendThatPanicsIsAFailureAndWedgesNothing(t *testing.T) {
	l := leaseOf(t, open(t, ratelimit.Config{Backend: panics{&ratelimit.Memory{}}}), ratelimit.LeaseConfig{Limit: hour(10)})
	for range 3 {
		if _, err := l.Allow(t.Context(), 1); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

type panics struct{ ratelimit.Backend }

func (panics) Lease(context.Context, string, ratelimit.Request) (ratelimit.Grant, error) {
	panic("of the backend")
}

// overshoot runs leases of several stores against one limit, loses all counters in the middle, and answers how much was
// allowed.
func overshoot(t *testing.T, stores []*ratelimit.Store, limit ratelimit.Limit, block int64, lose func()) int64 {
	t.Helper()
	var allowed atomic.Int64
	var group sync.WaitGroup
	half := make(chan struct{})
	var once sync.Once
	for _, s := range stores {
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: limit, Block: block})
		for range 4 {
			group.Go(func() {
				for {
					r, err := l.Allow(t.Context(), 1)
					if err != nil {
						t.Error(err)
						return
					}
					if !r.Allowed {
						return
					}
					if allowed.Add(1) >= limit.Max/2 {
						once.Do(func() { close(half) })
					}
				}
			})
		}
	}
	<-half
	lose()
	group.Wait()
	return allowed.Load()
}

func TestAfterFLUSHALLLeasesExceedTheNewWindowByAtMostABlockEach(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		const processes, block = 4, 50
		limit := hour(20_000)
		var stores []*ratelimit.Store
		for range processes {
			stores = append(stores, open(t, ratelimit.Config{
				Backend: onRedis(t, ratelimit.RedisConfig{Client: client}), Processes: processes, Remember: time.Hour,
			}))
		}
		var spent int64
		allowed := overshoot(t, stores, limit, block, func() {
			n, err := client.Get(t.Context(), "aa:ratelimit:k").Int64()
			if err != nil {
				t.Error(err)
			}
			spent = n
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%d counted before FLUSHALL, %d allowed", spent, allowed)
		if allowed < limit.Max || allowed > 2*limit.Max+processes*block {
			t.Errorf("%d allowed, want from %d to %d", allowed, limit.Max, 2*limit.Max+processes*block)
		}
	})
}

func TestLeasesAndAllowShareOneWindowExactly(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, real bool) {
		if !real { // whose windows' ends, by which they are told apart, move with the time
			client, _ = still(t)
		}
		limit := hour(5000)
		var allowed atomic.Int64
		var group sync.WaitGroup
		for range 3 {
			s := open(t, ratelimit.Config{Backend: onRedis(t, ratelimit.RedisConfig{Client: client}), Processes: 3, Remember: time.Hour})
			l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: limit})
			for range 5 {
				group.Go(func() {
					for spend(t, l, 1) {
						allowed.Add(1)
					}
				})
			}
			group.Go(func() {
				for allow(t, s, "k", 1, limit).Allowed {
					allowed.Add(1)
				}
			})
		}
		group.Wait()
		if allowed.Load() != limit.Max {
			t.Errorf("%d of %d", allowed.Load(), limit.Max)
		}
	})
}

func TestLeasesRefuseWhatTheyCannotKeep(t *testing.T) {
	s := open(t, ratelimit.Config{Backend: &ratelimit.Memory{}, Processes: 3})
	for field, cfg := range map[string]ratelimit.LeaseConfig{
		"the key":                     {Limit: hour(1)},
		"Limit.Max must be > 0":       {Key: "k"},
		"LeaseConfig.Limit must":      {Key: "k", Limit: gcra},
		"LeaseConfig.Limit.Max must":  {Key: "k", Limit: hour(1 << 53)},
		"LeaseConfig.Block must be":   {Key: "k", Limit: hour(10), Block: 11},
		"LeaseConfig.Block must be f": {Key: "k", Limit: hour(10), Block: -1},
		"LeaseConfig.Idle must":       {Key: "k", Limit: hour(10), Idle: 367 * 24 * time.Hour},
	} {
		if _, err := s.Lease(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
