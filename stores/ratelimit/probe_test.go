package ratelimit_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

// together makes n calls at once and waits for them.
func together(n int, call func()) {
	var group sync.WaitGroup
	for range n {
		group.Go(call)
	}
	group.Wait()
}

// They were all under way when nobody knew of the outage.
func TestCallsThatFailTogetherPauseAsLongAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: 100 * time.Millisecond})
		m.set(func(m *meddler) { m.there = time.Hour }) // hangs
		together(20, func() {
			if _, err := s.Allow(t.Context(), "k", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
				t.Error(err)
			}
		})
		m.set(func(m *meddler) { m.there = 0 })
		pass(49 * time.Millisecond)
		if _, err := s.Allow(t.Context(), "k", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%v before the pause was over", err)
		}
		pass(time.Millisecond)
		if r := allow(t, s, "k", 1, fixed); !r.Allowed {
			t.Errorf("%+v", r)
		}
	})
}

func TestOfManyCallersExactlyOneProbesAndItsFailureDoublesThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: 100 * time.Millisecond})
		m.set(func(m *meddler) { m.there = time.Hour })
		refused := func() {
			if _, err := s.Allow(t.Context(), "k", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
				t.Error(err)
			}
		}
		calls := func(want int64) {
			t.Helper()
			if n := m.calls.Load(); n != want {
				t.Errorf("%d calls, want %d", n, want)
			}
		}
		together(20, refused)
		for i, ms := range []int{50, 100, 200, 400, 800, 1000, 1000} {
			pass(time.Duration(ms-1) * time.Millisecond)
			together(20, refused)
			calls(20 + int64(i))
			pass(time.Millisecond)
			var probing sync.WaitGroup
			probing.Go(func() { together(20, refused) })
			pass(50 * time.Millisecond)
			together(20, refused)
			calls(21 + int64(i))
			probing.Wait()
		}
	})
}

func TestNoTwoCallersThatComeAtTheSameMomentProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m})
		m.fail(errDown)
		_, _ = s.Allow(t.Context(), "k", 1, fixed)
		for round := range int64(20_000) {
			pass(time.Second)
			before := m.calls.Load()
			var here atomic.Int32
			together(2, func() {
				for here.Add(1); here.Load() < 2; {
					runtime.Gosched()
				}
				_, _ = s.Allow(t.Context(), "k", 1, fixed)
			})
			if n := m.calls.Load() - before; n != 1 {
				t.Fatalf("round %d: %d calls", round, n)
			}
		}
	})
}

func TestAProbeWhoseCallerCancelsLeavesTheNextCallerToProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: time.Minute})
		m.fail(errDown)
		if _, err := s.Allow(t.Context(), "k", 1, fixed); err == nil {
			t.Fatal("it is not down")
		}
		m.fail(nil)
		pass(50 * time.Millisecond)
		m.set(func(m *meddler) { m.there = 10 * time.Millisecond })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := s.Allow(ctx, "k", 1, fixed); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if h := s.Health(); h.State != invalidation.Down || !errors.Is(h.Err, errDown) {
			t.Errorf("%+v: the probe has found out nothing", h)
		}
		if r := allow(t, s, "k", 1, fixed); !r.Allowed || r.Degraded {
			t.Errorf("%+v", r)
		}
	})
}

// down makes a backend known to be out, and lets it answer again when the pause, of 50 ms, is over.
func down(t *testing.T, m *meddler, s *ratelimit.Store) {
	t.Helper()
	m.fail(errDown)
	if _, err := s.Current(t.Context(), "k"); err == nil {
		t.Fatal("it is not down")
	}
	m.fail(nil)
	pass(50 * time.Millisecond)
}

func TestACallerInHasteNeitherHoldsTheProbeNorDoublesThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.AllowAny, Timeout: 100 * time.Millisecond})
		down(t, m, s)
		m.set(func(m *meddler) { m.there = 20 * time.Millisecond })
		for range 10 {
			outOfTime(t, s, 5*time.Millisecond)
		}
		var hasty sync.WaitGroup
		hasty.Go(func() { together(20, func() { outOfTime(t, s, 5*time.Millisecond) }) })
		synctest.Wait()
		if r := allow(t, s, "patient", 1, fixed); !r.Allowed || r.Degraded {
			t.Errorf("%+v beside callers in haste", r)
		}
		hasty.Wait()
		if h := s.Health(); h.State != invalidation.Up {
			t.Errorf("%+v", h)
		}
	})
}

func TestACallerInHasteWhoIsAnsweredEndsTheOutageAndOneWhoIsRefusedLengthensIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: 100 * time.Millisecond})
		down(t, m, s)
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			defer cancel()
			_, err := s.Current(ctx, "k")
			return err
		}
		m.fail(errDown)
		together(20, func() {
			if err := ask(); !errors.Is(err, errDown) {
				t.Error(err)
			}
		})
		m.fail(nil)
		pass(99 * time.Millisecond)
		if err := ask(); !errors.Is(err, errDown) {
			t.Errorf("%v before the pause of 100 ms was over", err)
		}
		pass(time.Millisecond)
		if err := ask(); err != nil || s.Health().State != invalidation.Up {
			t.Errorf("%v", err)
		}
	})
}

// A call from before the outage has succeeded while the probe was under way.
func TestAProbeThatIsCancelledAfterTheRecoveryEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m})
		var group sync.WaitGroup
		early := m.hold()
		group.Go(func() { allow(t, s, "early", 1, fixed) })
		synctest.Wait()
		m.fail(errDown)
		if _, err := s.Allow(t.Context(), "k", 1, fixed); err == nil {
			t.Fatal("it is not down")
		}
		m.fail(nil)
		pass(50 * time.Millisecond)
		probe := m.hold()
		ctx, cancel := context.WithCancel(t.Context())
		group.Go(func() {
			if _, err := s.Allow(ctx, "probe", 1, fixed); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		early()
		synctest.Wait()
		if h := s.Health(); h.State != invalidation.Up {
			t.Fatalf("%+v after a success", h)
		}
		cancel()
		group.Wait()
		probe()
		if h := s.Health(); h.State != invalidation.Up {
			t.Errorf("%+v", h)
		}
	})
}

func TestACallFromBeforeAnOutageThatFailsAfterTheRecoveryBeginsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: 250 * time.Millisecond})
		var straggler sync.WaitGroup
		m.set(func(m *meddler) { m.there = time.Hour }) // hangs
		straggler.Go(func() {
			if _, err := s.Allow(t.Context(), "early", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
				t.Error(err)
			}
		})
		synctest.Wait()
		m.set(func(m *meddler) { m.there, m.err = 0, errDown })
		if _, err := s.Allow(t.Context(), "k", 1, fixed); err == nil {
			t.Fatal("it is not down")
		}
		m.fail(nil)
		pass(50 * time.Millisecond)
		allow(t, s, "probe", 1, fixed)
		straggler.Wait()
		if h := s.Health(); h.State != invalidation.Up {
			t.Errorf("%+v", h)
		}
		allow(t, s, "k", 1, fixed)
		m.fail(errDown)
		if _, err := s.Allow(t.Context(), "k", 1, fixed); err == nil || s.Health().State != invalidation.Down {
			t.Error("another outage is not noticed")
		}
	})
}

// A call from before the outage has succeeded while the probe was under way.
func TestAProbeThatFailsAfterTheRecoveryBeginsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: 250 * time.Millisecond})
		var group sync.WaitGroup
		early := m.hold()
		group.Go(func() { allow(t, s, "early", 1, fixed) })
		synctest.Wait()
		m.fail(errDown)
		if _, err := s.Allow(t.Context(), "k", 1, fixed); err == nil {
			t.Fatal("it is not down")
		}
		m.set(func(m *meddler) { m.there, m.err = time.Hour, nil })
		pass(50 * time.Millisecond)
		group.Go(func() {
			if _, err := s.Allow(t.Context(), "probe", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
				t.Error(err)
			}
		})
		synctest.Wait()
		early()
		group.Wait()
		if h := s.Health(); h.State != invalidation.Up {
			t.Errorf("%+v", h)
		}
	})
}

// The deadlines pass at the moment when the request brings one permit for all of them.
func TestACallerWhoseTimeEndsWhileALeaseAsksIsAnsweredAsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			m := meddle(&ratelimit.Memory{})
			m.set(func(m *meddler) { m.there = 10 * time.Millisecond })
			s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.AllowAny})
			l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 1})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			together(20, func() {
				if r, err := l.Allow(ctx, 1); err != nil || !r.Allowed {
					t.Errorf("%+v, %v", r, err)
				}
			})
			cancel()
		}
	})
}

func TestACallerWhoIsGoneBeforehandIsDeniedWhateverTheConfig(t *testing.T) {
	for _, policy := range []ratelimit.Failure{ratelimit.Deny, ratelimit.AllowAny, ratelimit.LocalShare} {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, OnFailure: policy})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(5)})
		late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for _, ctx := range []context.Context{late, gone} {
			r, err := s.Allow(ctx, "k", 1, fixed)
			v, errAll := s.AllowAll(ctx, ratelimit.Demand{Key: "k", N: 1, Limit: fixed}, ratelimit.Demand{Key: "l", N: 1, Limit: gcra})
			leased, errLeased := l.Allow(ctx, 1)
			for _, err := range []error{err, errAll, errLeased} {
				if !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, ctx.Err()) {
					t.Errorf("%d: %v", policy, err)
				}
			}
			if r.Allowed || v.Allowed || leased.Allowed {
				t.Errorf("%d: %+v, %+v, %+v", policy, r, v, leased)
			}
		}
		if n := m.calls.Load(); n != 0 {
			t.Errorf("%d calls", n)
		}
	}
}

// What is known here needs no backend, and nobody's time.
func TestWhatALeaseHoldsAndWhatMemoryKnowsIsAnsweredToWhomeverAsks(t *testing.T) {
	s := open(t, ratelimit.Config{Backend: &ratelimit.Memory{}, Remember: time.Hour})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1000), Block: 100})
	if !spend(t, l, 1) || !allow(t, s, "spent", 5, fixed).Allowed || allow(t, s, "spent", 5, fixed).Allowed {
		t.Fatal("not one, and five of five")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := l.Allow(ctx, 1); err != nil || !r.Allowed || r.Remaining != 98 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := s.Allow(ctx, "spent", 5, fixed); err != nil || r.Allowed || r.Degraded {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAResetDuringAnOutageFreesTheLocalShareToo(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	m.fail(errDown)
	s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.LocalShare, Processes: 2})
	for range 2 {
		for n := range 6 {
			if r := allow(t, s, "k", 1, hour(10)); r.Allowed != (n < 5) || !r.Degraded {
				t.Fatalf("%d of five: %+v", n, r)
			}
		}
		if err := s.Reset(t.Context(), "k"); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

// Permits that are dropped, and cannot be given back, are lost to their window.
func TestAResetThatIsNotSentLeavesALeaseWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(100), Block: 40, Idle: -1})
		if !spend(t, l, 1) {
			t.Fatal("denied")
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Reset(gone, "k"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		m.fail(errDown)
		if _, err := s.Current(t.Context(), "other"); err == nil {
			t.Fatal("it is not down")
		}
		if err := s.Reset(t.Context(), "k"); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		if r, err := l.Allow(t.Context(), 1); err != nil || !r.Allowed || r.Degraded || r.Remaining != 38 {
			t.Errorf("%+v, %v", r, err)
		}
		m.fail(nil)
		pass(50 * time.Millisecond)
		allowed := 2
		for spend(t, l, 1) {
			allowed++
		}
		if allowed != 100 {
			t.Errorf("%d of 100", allowed)
		}
	})
}

func TestAResetThatIsNotSentLetsALeaseAskAnewAllTheSame(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(1), Idle: -1})
	if !spend(t, l, 1) || spend(t, l, 1) {
		t.Fatal("not one of one")
	}
	if err := m.Backend.Reset(t.Context(), "k"); err != nil { // another process
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Reset(gone, "k"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if !spend(t, l, 1) {
		t.Error("denied from memory")
	}
}
