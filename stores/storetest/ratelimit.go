package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

// RateLimits checks a ratelimit.Backend. open makes one that shares no counter with any other.
func RateLimits(t *testing.T, open func(t testing.TB) ratelimit.Backend) {
	for name, test := range map[string]func(*testing.T, ratelimit.Backend){
		"TotalsAreExactUpToTheLargestInteger":              limitTotalsAreExact,
		"AnOverflowIsAnErrorAndChangesNothing":             limitOverflowChangesNothing,
		"AWindowBeginsWithItsFirstHitAndNoHitPushesItsEnd": limitNoHitPushesTheEnd,
		"WindowsBelowASecondEnd":                           limitShortWindowsEnd,
		"ZeroNeitherBeginsNorProlongsAWindow":              limitZeroDoesNothing,
		"CurrentAndResetOfNothing":                         limitNothingIsZero,
		"BadArgumentsAreRefused":                           limitBadArguments,
		"WhatIsDeniedSpendsNothing":                        limitDeniedSpendsNothing,
		"AllowAndIncrementCountInOneWindow":                limitOneWindow,
		"GCRAGivesABurstAndThenOneByOne":                   limitGcraOneByOne,
		"GCRASaysHowLongASmallerBurstDenies":               limitSmallerBurst,
		"TheAlgorithmsDoNotMeetUnderAnyKey":                limitAlgorithmsApart,
		"ResetIsNotAfterTheEnd":                            limitResetIsNotAfterTheEnd,
		"SeveralDemandsAreSpentTogetherOrNotAtAll":         limitAllOrNothing,
		"LeasesTakeNoMoreThanThereIs":                      limitLeasesAreCounted,
		"PermitsGoBackToTheirOwnWindowOnly":                limitReturnsToItsWindow,
		"ConcurrentCallersGetExactlyTheLimit":              limitExactUnderConcurrency,
		"ACancelledCallIsUnavailable":                      limitCancelled,
		"RandomStepsDoWhatTheModelDoes":                    limitFollowsTheModel,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

const (
	limitLongEnough = 30 * time.Second      // for what must happen
	limitSteps      = 20 * time.Millisecond // in which a backend's time may pass
)

// limitStore is a Store that asks its backend each time.
func limitStore(t testing.TB, b ratelimit.Backend) *ratelimit.Store {
	t.Helper()
	s, err := ratelimit.New(ratelimit.Config{Backend: b, Remember: -1, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func limitIncrement(t testing.TB, s *ratelimit.Store, key string, amount int64, window time.Duration, want int64) {
	t.Helper()
	if total, err := s.Increment(t.Context(), key, amount, window); total != want || err != nil {
		t.Fatalf("Increment(%q, %d): %d, %v; want %d", key, amount, total, err, want)
	}
}

func limitCurrent(t testing.TB, s *ratelimit.Store, key string, want int64) {
	t.Helper()
	if total, err := s.Current(t.Context(), key); total != want || err != nil {
		t.Fatalf("Current(%q): %d, %v; want %d", key, total, err, want)
	}
}

func limitAllow(t testing.TB, s *ratelimit.Store, key string, n int64, limit ratelimit.Limit) ratelimit.Result {
	t.Helper()
	r, err := s.Allow(t.Context(), key, n, limit)
	if err != nil {
		t.Fatalf("Allow(%q, %d): %v", key, n, err)
	}
	return r
}

// limitSoon polls until cond is true.
func limitSoon(t testing.TB, what string, cond func() bool) {
	t.Helper()
	end := time.NewTimer(limitLongEnough)
	defer end.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !cond() {
		select {
		case <-end.C:
			t.Fatalf("no %s within %s", what, limitLongEnough)
		case <-again.C:
		}
	}
}

func limitTotalsAreExact(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limitIncrement(t, s, "k", 1<<53, time.Hour, 1<<53)
	limitIncrement(t, s, "k", 1, time.Hour, 1<<53+1)
	limitIncrement(t, s, "k", 1, time.Hour, 1<<53+2)
	limitCurrent(t, s, "k", 1<<53+2)
	limitIncrement(t, s, "big", math.MaxInt64-1, time.Hour, math.MaxInt64-1)
	limitIncrement(t, s, "big", 1, time.Hour, math.MaxInt64)
	limitCurrent(t, s, "big", math.MaxInt64)
	limit := ratelimit.Limit{Max: math.MaxInt64, Window: time.Hour}
	if r := limitAllow(t, s, "most", math.MaxInt64-1, limit); !r.Allowed || r.Remaining != 1 {
		t.Fatalf("%+v", r)
	}
	if r := limitAllow(t, s, "most", 2, limit); r.Allowed || r.Remaining != 1 {
		t.Fatalf("%+v", r)
	}
	if r := limitAllow(t, s, "most", 1, limit); !r.Allowed || r.Remaining != 0 {
		t.Fatalf("%+v", r)
	}
}

func limitOverflowChangesNothing(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limitIncrement(t, s, "k", math.MaxInt64-5, time.Hour, math.MaxInt64-5)
	for _, amount := range []int64{6, math.MaxInt64} {
		if total, err := s.Increment(t.Context(), "k", amount, time.Hour); !errors.Is(err, ratelimit.ErrOverflow) || total != 0 {
			t.Fatalf("%d: %d, %v", amount, total, err)
		}
	}
	limitCurrent(t, s, "k", math.MaxInt64-5)
	limitIncrement(t, s, "k", 5, time.Hour, math.MaxInt64)
}

// Were the end pushed, the window would never end within the test.
func limitNoHitPushesTheEnd(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	if _, err := s.Increment(t.Context(), "k", 1000, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	limitSoon(t, "end of the window", func() bool {
		total, err := s.Increment(t.Context(), "k", 1, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return total < 1000
	})
	allowed, limit := 0, ratelimit.Limit{Max: 5, Window: 300 * time.Millisecond}
	limitSoon(t, "second window", func() bool {
		if limitAllow(t, s, "a", 1, limit).Allowed {
			allowed++
		}
		return allowed > 5
	})
}

func limitShortWindowsEnd(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	for _, window := range []time.Duration{time.Millisecond, 1500 * time.Microsecond, 20 * time.Millisecond} {
		if total, err := s.Increment(t.Context(), "k", 1, window); total != 1 || err != nil {
			t.Fatalf("%s: %d, %v", window, total, err)
		}
		limitSoon(t, "end of the window", func() bool {
			total, err := s.Current(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			return total == 0
		})
	}
}

func limitZeroDoesNothing(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limitIncrement(t, s, "k", 0, time.Hour, 0)
	limitIncrement(t, s, "k", 1, 50*time.Millisecond, 1) // were there a window by now, it would last an hour
	limitSoon(t, "end of the window", func() bool {
		total, err := s.Increment(t.Context(), "k", 0, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return total == 0
	})
}

func limitNothingIsZero(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limitCurrent(t, s, "k", 0)
	limitIncrement(t, s, "k", 3, time.Hour, 3)
	limitIncrement(t, s, "other", 4, time.Hour, 4)
	limitCurrent(t, s, "k", 3)
	limitCurrent(t, s, "k", 3)
	for range 2 {
		if err := s.Reset(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		limitCurrent(t, s, "k", 0)
	}
	limitCurrent(t, s, "other", 4)
}

func limitBadArguments(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	for _, key := range []string{"", strings.Repeat("k", l2.MaxID+1)} {
		if _, err := s.Increment(t.Context(), key, 1, time.Hour); err == nil {
			t.Errorf("a key of %d bytes is taken", len(key))
		}
		if _, err := b.Current(t.Context(), strings.Repeat("k", l2.MaxID)); err != nil {
			t.Errorf("the longest key: %v", err)
		}
	}
	if _, err := s.Increment(t.Context(), "k", -1, time.Hour); err == nil {
		t.Error("a negative amount is taken")
	}
	if _, err := s.Increment(t.Context(), "k", 1, 0); err == nil {
		t.Error("no window is taken")
	}
	limitCurrent(t, s, "k", 0)
}

func limitDeniedSpendsNothing(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	for _, limit := range []ratelimit.Limit{
		{Max: 5, Window: time.Hour},
		{Max: 5, Window: time.Hour, Algorithm: ratelimit.GCRA},
		{Max: 1, Window: time.Hour, Algorithm: ratelimit.GCRA, Burst: 5},
		{Max: 7, Window: time.Hour, Algorithm: ratelimit.GCRA, Burst: 5}, // 7 do not divide an hour in microseconds
	} {
		if r := limitAllow(t, s, "k", 3, limit); !r.Allowed || r.Remaining != 2 || r.RetryAfter != 0 || r.Degraded {
			t.Fatalf("%+v: %+v", limit, r)
		}
		for range 3 {
			r := limitAllow(t, s, "k", 3, limit)
			if r.Allowed || r.Remaining != 2 || r.RetryAfter <= 0 || r.RetryAfter > time.Hour+time.Millisecond || r.ResetAt.IsZero() {
				t.Fatalf("%+v: %+v", limit, r)
			}
		}
		if r := limitAllow(t, s, "k", 2, limit); !r.Allowed || r.Remaining != 0 {
			t.Fatalf("%+v: %+v", limit, r)
		}
		if r := limitAllow(t, s, "k", 1, limit); r.Allowed {
			t.Fatalf("%+v: %+v", limit, r)
		}
		if _, err := s.Allow(t.Context(), "k", 6, limit); !errors.Is(err, ratelimit.ErrNeverFits) {
			t.Fatalf("%+v: %v", limit, err)
		}
		if err := s.Reset(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if r := limitAllow(t, s, "k", 5, limit); !r.Allowed {
			t.Fatalf("%+v after Reset: %+v", limit, r)
		}
		if err := s.Reset(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
}

func limitOneWindow(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limit := ratelimit.Limit{Max: 10, Window: time.Hour}
	limitIncrement(t, s, "k", 4, time.Hour, 4)
	if r := limitAllow(t, s, "k", 6, limit); !r.Allowed || r.Remaining != 0 {
		t.Fatalf("%+v", r)
	}
	limitCurrent(t, s, "k", 10)
	limitIncrement(t, s, "k", 5, time.Hour, 15) // Increment knows no limit
	if r := limitAllow(t, s, "k", 1, limit); r.Allowed || r.Remaining != 0 {
		t.Fatalf("%+v", r)
	}
}

func limitGcraOneByOne(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limit := ratelimit.Limit{Max: 3, Window: 400 * time.Millisecond, Algorithm: ratelimit.GCRA, Burst: 2}
	began, allowed := time.Now(), int64(0)
	limitSoon(t, "permits that came back", func() bool {
		if limitAllow(t, s, "k", 1, limit).Allowed {
			allowed++
		}
		since := time.Since(began) + limitSteps
		if most := 2 + int64(since*3/(400*time.Millisecond)); allowed > most {
			t.Fatalf("%d allowed where %d may be", allowed, most)
		}
		return allowed == 6
	})
}

func limitSmallerBurst(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limit := ratelimit.Limit{Max: 100, Window: 100 * time.Hour, Algorithm: ratelimit.GCRA}
	if r := limitAllow(t, s, "k", 100, limit); !r.Allowed {
		t.Fatalf("%+v", r)
	}
	limit.Burst = 1
	r := limitAllow(t, s, "k", 1, limit)
	if r.Allowed || r.Remaining != 0 || r.RetryAfter < 99*time.Hour || r.RetryAfter > 100*time.Hour {
		t.Fatalf("%+v: all of a hundred are out, one an hour", r)
	}
}

func limitAlgorithmsApart(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	keys := []string{"gcra:k", "k:gcra", "-gcra:k", "ratelimit-gcra:k", "k%00", "k{", "*", "ü"}
	keys = slices.Concat(keys, alike(), unreadable())
	for i, key := range keys {
		limitIncrement(t, s, key, int64(i+1), time.Hour, int64(i+1))
	}
	for i, key := range keys {
		limit := ratelimit.Limit{Max: 100, Window: time.Hour, Algorithm: ratelimit.GCRA}
		if r := limitAllow(t, s, key, 50, limit); !r.Allowed || r.Remaining != 50 {
			t.Errorf("%q: %+v", key, r)
		}
		limitCurrent(t, s, key, int64(i+1))
	}
	for i, key := range keys {
		if err := s.Reset(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		for j, other := range keys[i+1:] {
			limitCurrent(t, s, other, int64(i+j+2))
		}
	}
}

// A window begins with its first hit, and of GCRA's permits each is back after its own time: so much and no more is left.
func limitResetIsNotAfterTheEnd(t *testing.T, b ratelimit.Backend) {
	const max = 10
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.Fixed, ratelimit.GCRA} {
		d := ratelimit.Demand{Key: "k", N: 3, Limit: ratelimit.Limit{Max: max, Window: time.Hour, Algorithm: algorithm}}
		for spent := d.N; spent <= max+d.N; spent += d.N {
			most, fits := d.Limit.Window, spent <= max
			if algorithm == ratelimit.GCRA {
				most = time.Duration(min(spent, max/d.N*d.N)) * d.Limit.Window / max
			}
			answers, err := b.Take(t.Context(), []ratelimit.Demand{d})
			if err != nil || len(answers) != 1 || answers[0].Fits != fits {
				t.Fatalf("%s: %+v, %v", algorithm, answers, err)
			}
			a := answers[0]
			if a.Reset <= 0 || a.Reset > most || a.Retry > a.Reset || a.Retry <= 0 != fits {
				t.Errorf("%s: %+v after %d of %d, which are back within %s", algorithm, a, spent, max, most)
			}
		}
	}
}

func limitAllOrNothing(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	demand := func(key string, n, most int64, a ratelimit.Algorithm) ratelimit.Demand {
		return ratelimit.Demand{Key: key, N: n, Limit: ratelimit.Limit{Max: most, Window: time.Hour, Algorithm: a}}
	}
	agent, team := demand("agent", 2, 10, ratelimit.Fixed), demand("team", 2, 5, ratelimit.GCRA)
	tenant := demand("tenant", 2, 6, ratelimit.Fixed)
	v, err := s.AllowAll(t.Context(), agent, team, tenant)
	if errors.Is(err, ratelimit.ErrSlots) {
		t.Skip("this backend keeps several keys apart, and says so")
	}
	if err != nil || !v.Allowed || v.Remaining != 3 || v.Refused != -1 || len(v.Each) != 3 || v.Each[0].Remaining != 8 {
		t.Fatalf("%+v, %v", v, err)
	}
	if v, err = s.AllowAll(t.Context(), agent, team, tenant); err != nil || !v.Allowed {
		t.Fatalf("%+v, %v", v, err)
	}
	for range 3 {
		v, err = s.AllowAll(t.Context(), agent, team, tenant)
		if err != nil || v.Allowed || v.Refused != 1 || !v.Each[0].Allowed || v.Each[1].Allowed || !v.Each[2].Allowed {
			t.Fatalf("%+v, %v", v, err)
		}
		if v.RetryAfter != v.Each[1].RetryAfter || v.RetryAfter <= 0 || v.Each[0].Remaining != 6 || v.Each[2].Remaining != 2 {
			t.Fatalf("%+v", v)
		}
	}
	limitCurrent(t, s, "agent", 4)
	limitCurrent(t, s, "tenant", 4)
	if r := limitAllow(t, s, "team", 1, team.Limit); !r.Allowed {
		t.Fatalf("%+v: the team has spent on what was denied", r)
	}
	if _, err := s.AllowAll(t.Context(), agent, agent); err == nil {
		t.Error("the same demand twice is taken")
	}
	if _, err := s.AllowAll(t.Context()); err == nil {
		t.Error("no demand is taken")
	}
}

func limitLeasesAreCounted(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	q := ratelimit.Request{Limit: ratelimit.Limit{Max: 100, Window: time.Hour}, Need: 1, Want: 20, Parts: 4}
	var window int64
	for i, want := range []int64{20, 20, 15, 11, 8, 6, 5, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0} {
		g, err := b.Lease(t.Context(), "k", q)
		if err != nil || g.N != want || g.Reset <= 0 || g.Reset > time.Hour {
			t.Fatalf("%d: %+v, %v; want %d", i, g, err, want)
		}
		if i > 0 && g.Window != window {
			t.Fatalf("%d: window %d, was %d", i, g.Window, window)
		}
		window = g.Window
	}
	limitCurrent(t, s, "k", 100)

	limitIncrement(t, s, "all", 90, time.Hour, 90)
	q.Need, q.Want = 11, 20
	if g, err := b.Lease(t.Context(), "all", q); err != nil || g.N != 0 || g.Remaining != 10 {
		t.Fatalf("%+v, %v", g, err)
	}
	q.Need = 10
	if g, err := b.Lease(t.Context(), "all", q); err != nil || g.N != 10 || g.Remaining != 0 {
		t.Fatalf("%+v, %v", g, err)
	}
	limitIncrement(t, s, "over", math.MaxInt64, time.Hour, math.MaxInt64)
	q.Need = 1
	if g, err := b.Lease(t.Context(), "over", q); err != nil || g.N != 0 || g.Remaining != 0 {
		t.Fatalf("%+v, %v", g, err)
	}
}

func limitReturnsToItsWindow(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	q := ratelimit.Request{Limit: ratelimit.Limit{Max: 100, Window: time.Hour}, Need: 10, Want: 10, Parts: 2}
	grant := func(key string, q ratelimit.Request) ratelimit.Grant {
		g, err := b.Lease(t.Context(), key, q)
		if err != nil || g.N != 10 {
			t.Fatalf("%+v, %v", g, err)
		}
		return g
	}
	back := func(key string, window, n, want int64) {
		t.Helper()
		if err := b.Return(t.Context(), key, window, n); err != nil {
			t.Fatal(err)
		}
		limitCurrent(t, s, key, want)
	}
	g := grant("k", q)
	back("k", g.Window, 4, 6)
	back("k", g.Window, 3, 3)
	back("k", g.Window, 5, 0) // more than it has
	limitIncrement(t, s, "k", 7, time.Hour, 7)
	back("k", g.Window, 0, 7)
	back("k", g.Window+1, 5, 7)
	back("none", g.Window, 5, 0)

	short := q
	short.Limit.Window = 20 * time.Millisecond
	g = grant("ends", short)
	limitSoon(t, "end of the window", func() bool {
		total, err := s.Current(t.Context(), "ends")
		return err == nil && total == 0
	})
	limitIncrement(t, s, "ends", 10, time.Hour, 10)
	back("ends", g.Window, 10, 10)
}

func limitExactUnderConcurrency(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	for _, limit := range []ratelimit.Limit{
		{Max: 300, Window: time.Hour},
		{Max: 300, Window: 300 * time.Hour, Algorithm: ratelimit.GCRA},
	} {
		var allowed atomic.Int64
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				for {
					r, err := s.Allow(t.Context(), "k", 1, limit)
					if err != nil {
						t.Error(err)
						return
					}
					if !r.Allowed {
						return
					}
					allowed.Add(1)
				}
			})
		}
		group.Wait()
		if allowed.Load() != limit.Max {
			t.Errorf("%s: %d allowed of %d", limit.Algorithm, allowed.Load(), limit.Max)
		}
	}
}

func limitCancelled(t *testing.T, b ratelimit.Backend) {
	s := limitStore(t, b)
	limitIncrement(t, s, "k", 1, time.Hour, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	limit := ratelimit.Limit{Max: 10, Window: time.Hour}
	_, errIncrement := b.Increment(ctx, "k", 1, time.Hour)
	_, errCurrent := b.Current(ctx, "k")
	_, errTake := b.Take(ctx, []ratelimit.Demand{{Key: "k", N: 1, Limit: limit}})
	_, errLease := b.Lease(ctx, "k", ratelimit.Request{Limit: limit, Need: 1, Want: 1, Parts: 1})
	for verb, err := range map[string]error{
		"Increment": errIncrement, "Current": errCurrent, "Take": errTake, "Lease": errLease,
		"Reset": b.Reset(ctx, "k"), "Return": b.Return(ctx, "k", 1, 1),
	} {
		if !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	limitCurrent(t, s, "k", 1)
}

// limitModel is what a Backend must do while no window ends.
type limitModel struct {
	fixed, gcra map[string]int64
}

func limitFollowsTheModel(t *testing.T, b ratelimit.Backend) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := limitModel{map[string]int64{}, map[string]int64{}}
	windows := map[string]int64{}
	for step := range 400 {
		key := fmt.Sprint("k", random.IntN(3))
		n := random.Int64N(30) + 1
		what := ""
		switch random.IntN(6) {
		case 0:
			what = fmt.Sprintf("Increment(%s, %d)", key, n-1)
			m.fixed[key] += n - 1
			if total, err := b.Increment(t.Context(), key, n-1, time.Hour); err != nil || total != m.fixed[key] {
				t.Fatalf("step %d: %s: %d, %v; want %d", step, what, total, err, m.fixed[key])
			}
		case 1:
			if random.IntN(4) > 0 {
				continue
			}
			m.fixed[key], m.gcra[key] = 0, 0
			delete(windows, key)
			if err := b.Reset(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		case 2, 3:
			m.take(t, b, random, key, n)
			delete(windows, key)
		case 4:
			q := ratelimit.Request{Limit: ratelimit.Limit{Max: 100, Window: time.Hour}, Need: n, Want: n + 10, Parts: 3}
			left := max(0, 100-m.fixed[key])
			var want int64
			if n <= left {
				want = max(n, min(n+10, left/3))
			}
			m.fixed[key] += want
			g, err := b.Lease(t.Context(), key, q)
			if err != nil || g.N != want || g.Remaining != left-want {
				t.Fatalf("step %d: Lease(%s, %d): %+v, %v; want %d of %d", step, key, n, g, err, want, left)
			}
			windows[key] = g.Window
		case 5:
			if window, ok := windows[key]; ok {
				m.fixed[key] = max(0, m.fixed[key]-n)
				if err := b.Return(t.Context(), key, window, n); err != nil {
					t.Fatal(err)
				}
			}
		}
		if total, err := b.Current(t.Context(), key); err != nil || total != m.fixed[key] {
			t.Fatalf("step %d: Current(%s) after %s: %d, %v; want %d", step, key, what, total, err, m.fixed[key])
		}
	}
}

// take demands n of a key with both algorithms, or with one where the backend takes no two.
func (m *limitModel) take(t *testing.T, b ratelimit.Backend, random *rand.Rand, key string, n int64) {
	t.Helper()
	demands := []ratelimit.Demand{
		{Key: key, N: n, Limit: ratelimit.Limit{Max: 100, Window: time.Hour}},
		{Key: key, N: 31 - n, Limit: ratelimit.Limit{Max: 7, Window: 7000 * time.Hour, Algorithm: ratelimit.GCRA, Burst: 60}},
	}
	switch random.IntN(4) {
	case 0:
		demands = demands[:1]
	case 1:
		demands = demands[1:]
	}
	answers, err := b.Take(t.Context(), demands)
	if errors.Is(err, ratelimit.ErrSlots) {
		demands = demands[:1]
		answers, err = b.Take(t.Context(), demands)
	}
	if err != nil {
		t.Fatal(err)
	}
	counts := map[ratelimit.Algorithm]map[string]int64{ratelimit.Fixed: m.fixed, ratelimit.GCRA: m.gcra}
	most := map[ratelimit.Algorithm]int64{ratelimit.Fixed: 100, ratelimit.GCRA: 60}
	all := true
	for i, d := range demands {
		fits := counts[d.Limit.Algorithm][key]+d.N <= most[d.Limit.Algorithm]
		if answers[i].Fits != fits {
			t.Fatalf("%+v of %d: %+v", d, counts[d.Limit.Algorithm][key], answers[i])
		}
		all = all && fits
	}
	for i, d := range demands {
		if all {
			counts[d.Limit.Algorithm][key] += d.N
		}
		if left := max(0, most[d.Limit.Algorithm]-counts[d.Limit.Algorithm][key]); answers[i].Remaining != left {
			t.Fatalf("%+v: %+v, want %d left", d, answers[i], left)
		}
	}
}
