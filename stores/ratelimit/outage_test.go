package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

func TestByDefaultAnOutageDeniesWithAnError(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	m.fail(errDown)
	s := open(t, ratelimit.Config{Backend: m})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: fixed})
	r, err := s.Allow(t.Context(), "k", 1, fixed)
	leased, errLeased := l.Allow(t.Context(), 1)
	for _, err := range []error{err, errLeased} {
		if !errors.Is(err, readthrough.ErrUnavailable) {
			t.Error(err)
		}
	}
	for _, r := range []ratelimit.Result{r, leased} {
		if r.Allowed || !r.Degraded {
			t.Errorf("%+v", r)
		}
	}
}

func TestAllowAnyAllowsAndSaysSo(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	m.fail(errDown)
	s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.AllowAny})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: fixed})
	for range 20 {
		r, err := s.Allow(t.Context(), "k", 1, fixed)
		leased, errLeased := l.Allow(t.Context(), 1)
		if err != nil || errLeased != nil || !r.Allowed || !r.Degraded || !leased.Allowed || !leased.Degraded {
			t.Fatalf("%+v, %v; %+v, %v", r, err, leased, errLeased)
		}
	}
}

func TestLocalShareAllowsEachProcessItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		m.fail(errDown)
		s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.LocalShare, Processes: 4})
		limit := ratelimit.Limit{Max: 43, Window: time.Second}
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: limit})
		for range 3 {
			allowed := 0
			for range 30 {
				r, err := s.Allow(t.Context(), "k", 1, limit)
				leased, errLeased := l.Allow(t.Context(), 1)
				if err != nil || errLeased != nil || !r.Degraded || !leased.Degraded {
					t.Fatalf("%+v, %v; %+v, %v", r, err, leased, errLeased)
				}
				for _, r := range []ratelimit.Result{r, leased} {
					if r.Allowed {
						allowed++
					} else if r.RetryAfter <= 0 {
						t.Errorf("%+v", r)
					}
				}
			}
			if allowed != 10 {
				t.Errorf("%d allowed, want a fourth of 43", allowed)
			}
			pass(time.Second)
		}
		for _, d := range []ratelimit.Demand{
			{Key: "few", N: 1, Limit: ratelimit.Limit{Max: 3, Window: time.Second}}, // less than one for each
			{Key: "burst", N: 1, Limit: ratelimit.Limit{Max: 100, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: 3}},
			{Key: "many", N: 20, Limit: limit},
		} {
			v, err := s.AllowAll(t.Context(), ratelimit.Demand{Key: "ok", N: 1, Limit: hour(100)}, d)
			if err != nil || v.Allowed || v.Refused != 1 || v.RetryAfter <= 0 || !v.Degraded {
				t.Errorf("%s: %+v, %v", d.Key, v, err)
			}
		}
	})
}

// Else the keys of a long outage would fill the memory.
func TestTheLocalShareCountsSoManyKeysAndDeniesOthersUntilSomeAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		m.fail(errDown)
		s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.LocalShare, MaxDenied: 10})
		for _, limit := range []ratelimit.Limit{fixed, gcra} {
			for range 3 {
				for i := range 20 {
					r := allow(t, s, fmt.Sprint(i), 1, limit)
					if r.Allowed != (i < 10) || !r.Degraded || !r.Allowed && r.RetryAfter <= 0 {
						t.Errorf("key %d: %+v", i, r)
					}
				}
				if r := allow(t, s, "0", 4, limit); !r.Allowed {
					t.Errorf("%+v of a key that is counted", r)
				}
				pass(limit.Window + time.Millisecond)
			}
		}
		two := []ratelimit.Demand{{Key: "a", N: 1, Limit: fixed}, {Key: "b", N: 1, Limit: fixed}}
		for i := range 9 {
			allow(t, s, fmt.Sprint(i), 1, fixed)
		}
		if v, err := s.AllowAll(t.Context(), two...); err != nil || v.Allowed || v.Refused != 1 {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func TestTheLocalShareCountsNoMoreKeysThatComeAtTheSameMoment(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	m.fail(errDown)
	s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.LocalShare, MaxDenied: 1})
	for round := range 20_000 {
		var here, allowed atomic.Int32
		together(2, func() {
			key := fmt.Sprint(here.Add(1))
			for here.Load() < 2 {
				runtime.Gosched()
			}
			if r, err := s.Allow(t.Context(), key, 1, hour(5)); err != nil {
				t.Error(err)
			} else if r.Allowed {
				allowed.Add(1)
			}
		})
		if n := allowed.Load(); n != 1 {
			t.Fatalf("round %d: %d keys are counted, want 1", round, n)
		}
		_, _ = s.Reset(t.Context(), "1"), s.Reset(t.Context(), "2") // they fail, and free the share
	}
}

func TestNothingIsCountedAsZeroWhileTheBackendIsOut(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		b := onRedis(t, ratelimit.RedisConfig{Client: client})
		s := open(t, ratelimit.Config{Backend: b, OnFailure: ratelimit.AllowAny})
		if n, err := s.Increment(t.Context(), "k", 7, time.Hour); n != 7 || err != nil {
			t.Fatal(n, err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		n, errCurrent := s.Current(t.Context(), "k")
		m, errIncrement := s.Increment(t.Context(), "k", 1, time.Hour)
		_, errRaw := b.Current(t.Context(), "k")
		for verb, err := range map[string]error{
			"Current": errCurrent, "Increment": errIncrement, "raw": errRaw,
			"Reset": s.Reset(t.Context(), "k"), "Ready": s.Ready(t.Context()),
		} {
			if !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) {
				t.Errorf("%s: %v", verb, err)
			}
		}
		if n != 0 || m != 0 {
			t.Errorf("totals %d and %d beside an error", n, m)
		}
	})
}

// Its clients stay with it where its address is fixed, and it may be behind without any limit.
func TestADemotedPrimarySaysNothingOfALimit(t *testing.T) {
	server := redistest.Start(t)
	b := onRedis(t, ratelimit.RedisConfig{Client: server.Client()})
	for key, n := range map[string]int64{"full": 10, "largest": math.MaxInt64} {
		if _, err := b.Increment(t.Context(), key, n, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	calls := map[string]func() error{
		"Current of nothing": func() error { _, err := b.Current(t.Context(), "none"); return err },
		"Current":            func() error { _, err := b.Current(t.Context(), "full"); return err },
		"Increment by 0":     func() error { _, err := b.Increment(t.Context(), "full", 0, time.Hour); return err },
		"an overflow":        func() error { _, err := b.Increment(t.Context(), "largest", 1, time.Hour); return err },
		"a denial": func() error {
			_, err := b.Take(t.Context(), []ratelimit.Demand{{Key: "full", N: 1, Limit: hour(10)}})
			return err
		},
		"an empty lease": func() error {
			_, err := b.Lease(t.Context(), "full", ratelimit.Request{Limit: hour(10), Need: 1, Want: 1, Parts: 1})
			return err
		},
	}
	for verb, call := range calls {
		if err := call(); errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%s, before: %v", verb, err)
		}
	}
	server.Do("REPLICAOF", "127.0.0.1", "1")
	for verb, call := range calls {
		if err := call(); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// Frozen, the server keeps connections open and answers nothing: only the first call waits.
func TestWhileRedisIsKnownToBeOutCallsFailAtOnceAndOneProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: 100 * time.Millisecond})
		m.set(func(m *meddler) { m.there = time.Hour }) // hangs
		began, waits := time.Now(), 0
		for time.Since(began) < 20*time.Second {
			call := time.Now()
			if _, err := s.Allow(t.Context(), "k", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
				t.Fatal(err)
			}
			if took := time.Since(call); took > 100*time.Millisecond {
				t.Fatalf("a call took %s", took)
			} else if took > 0 {
				waits++
			}
			pass(time.Millisecond)
		}
		// After 50, 100, 200, 400, 800 ms and each second from then on.
		if n := m.calls.Load(); n < 15 || n > 25 || int64(waits) != n {
			t.Errorf("%d calls in 20 s, %d of which waited", n, waits)
		}
		if h := s.Health(); h.State != invalidation.Down || h.Err == nil {
			t.Errorf("%+v", h)
		}
		m.set(func(m *meddler) { m.there = 0 })
		pass(time.Second)
		for range 3 {
			if r, err := s.Allow(t.Context(), "k", 1, fixed); err != nil || !r.Allowed || r.Degraded {
				t.Fatalf("%+v, %v after it came back", r, err)
			}
		}
		if h := s.Health(); h.State != invalidation.Up || h.Err != nil {
			t.Errorf("%+v", h)
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestACallersOwnEndSaysNothingOfTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.AllowAny, Timeout: 100 * time.Millisecond})
		m.set(func(m *meddler) { m.there = 40 * time.Millisecond })
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if r, err := s.Allow(ctx, "k", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) || r.Allowed {
				t.Fatalf("cancelled: %+v, %v", r, err)
			}
		}
		for range 2 {
			outOfTime(t, s, 25*time.Millisecond)
			if h := s.Health(); h.State != invalidation.Up {
				t.Fatalf("%+v", h)
			}
		}
		outOfTime(t, s, 25*time.Millisecond)
		if h := s.Health(); h.State != invalidation.Down {
			t.Errorf("%+v after the third deadline in a row", h)
		}
	})
}

// outOfTime is a call of a store that allows any, whose deadline passes before the backend answers.
func outOfTime(t *testing.T, s *ratelimit.Store, in time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), in)
	defer cancel()
	if r, err := s.Allow(ctx, "k", 1, fixed); err != nil || !r.Allowed || !r.Degraded {
		t.Fatalf("out of time: %+v, %v", r, err)
	}
}

func TestDeadlinesThatAreTooSoonNeverMakeABackendKnownToBeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.AllowAny, Timeout: 100 * time.Millisecond})
		m.set(func(m *meddler) { m.there = 20 * time.Millisecond })
		for range 100 {
			outOfTime(t, s, 6*time.Millisecond)
		}
		if h := s.Health(); h.State != invalidation.Up {
			t.Errorf("%+v", h)
		}
		if r := allow(t, s, "patient", 1, fixed); !r.Allowed || r.Degraded {
			t.Errorf("%+v", r)
		}
	})
}

// unaware is a context that does not know yet that its deadline has passed.
type unaware struct {
	context.Context
	end time.Time
}

func (c unaware) Deadline() (time.Time, bool) { return c.end, true }

// A client's socket fails at the deadline, a moment before the context does.
func TestADeadlineOfWhichTheContextDoesNotKnowYetIsTheCallersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Timeout: 100 * time.Millisecond})
		m.set(func(m *meddler) { m.there, m.lost = 25*time.Millisecond, errDown })
		for n := range 3 {
			ctx := unaware{t.Context(), time.Now().Add(25 * time.Millisecond)}
			if _, err := s.Allow(ctx, "k", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
				t.Fatal(err)
			}
			if h := s.Health(); (h.State == invalidation.Down) != (n == 2) {
				t.Errorf("%+v after %d deadlines", h, n+1)
			}
		}
	})
}

func TestARefusalIsNoOutage(t *testing.T) {
	client, _ := still(t)
	client.Set(t.Context(), "aa:ratelimit:k", "words", 0)
	for _, policy := range []ratelimit.Failure{ratelimit.Deny, ratelimit.AllowAny, ratelimit.LocalShare} {
		s := open(t, ratelimit.Config{Backend: onRedis(t, ratelimit.RedisConfig{Client: client}), OnFailure: policy})
		l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: fixed})
		r, err := s.Allow(t.Context(), "k", 1, fixed)
		leased, errLeased := l.Allow(t.Context(), 1)
		if !errors.Is(err, ratelimit.ErrNotCounter) || !errors.Is(errLeased, ratelimit.ErrNotCounter) || r.Allowed || leased.Allowed {
			t.Errorf("%d: %+v, %v; %+v, %v", policy, r, err, leased, errLeased)
		}
		if h := s.Health(); h.State != invalidation.Up {
			t.Errorf("%+v", h)
		}
	}
}

func TestALeaseSpendsWhatItHoldsBeforeItIsDegraded(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, OnFailure: ratelimit.LocalShare, Processes: 2})
	l := leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(100), Block: 10})
	if !spend(t, l, 1) {
		t.Fatal("denied")
	}
	m.fail(errDown)
	sound, degraded := 1, 0
	for range 200 {
		r, err := l.Allow(t.Context(), 1)
		switch {
		case err != nil:
			t.Fatal(err)
		case r.Allowed && !r.Degraded:
			sound++
		case r.Allowed:
			degraded++
		}
	}
	if sound != 10 || degraded != 50 {
		t.Errorf("%d of a block of 10, %d of a share of 50", sound, degraded)
	}
	if n := m.calls.Load(); n > 10 {
		t.Errorf("%d calls of a backend that is known to be out", n)
	}
}

func TestAServerThatFreezesDelaysNoCallBeyondItsTimeout(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, ratelimit.Config{Backend: onRedis(t, ratelimit.RedisConfig{Client: server.Client()}), Timeout: 50 * time.Millisecond})
	server.Stop()
	defer server.Cont()
	ctx, cancel := context.WithTimeout(t.Context(), patience) // the client's own timeouts are 5 s
	defer cancel()
	for range 1000 {
		if _, err := s.Allow(ctx, "k", 1, fixed); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if ctx.Err() != nil {
		t.Errorf("1000 calls took %s", patience)
	}
}
