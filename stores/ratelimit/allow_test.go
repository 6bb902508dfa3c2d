package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

var (
	fixed = ratelimit.Limit{Max: 5, Window: time.Second}
	gcra  = ratelimit.Limit{Max: 5, Window: time.Second, Algorithm: ratelimit.GCRA}
)

func allow(t testing.TB, s *ratelimit.Store, key string, n int64, limit ratelimit.Limit) ratelimit.Result {
	t.Helper()
	r, err := s.Allow(t.Context(), key, n, limit)
	if err != nil {
		t.Fatalf("Allow(%q, %d): %v", key, n, err)
	}
	return r
}

func TestAnAllowIsOneCallOfTheBackend(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m})
	for n := int64(1); n <= 5; n++ {
		if r := allow(t, s, "k", 1, fixed); !r.Allowed || m.calls.Load() != n {
			t.Fatalf("%+v after %d calls", r, m.calls.Load())
		}
	}
}

// The moment at which the backend allows again is looked for from both sides, with an answer that is long under way.
func TestADeniedKeyIsDeniedFromMemoryAndNotLongerThanTheBackendWould(t *testing.T) {
	for _, limit := range []ratelimit.Limit{fixed, gcra} {
		synctest.Test(t, func(t *testing.T) {
			m := meddle(&ratelimit.Memory{})
			s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
			began := time.Now()
			if r := allow(t, s, "k", 5, limit); !r.Allowed {
				t.Fatalf("%+v", r)
			}
			m.set(func(m *meddler) { m.there = 40 * time.Millisecond })
			again := limit.Window // after began
			if limit.Algorithm == ratelimit.GCRA {
				again /= time.Duration(limit.Max)
			}
			if r := allow(t, s, "k", 1, limit); r.Allowed {
				t.Fatalf("%+v", r)
			}
			calls := m.calls.Load()
			for time.Since(began) < again-50*time.Millisecond {
				r := allow(t, s, "k", 1, limit)
				if left := again - time.Since(began); r.Allowed || r.RetryAfter < left || r.RetryAfter > left+42*time.Millisecond {
					t.Fatalf("%s before: %+v", left, r)
				}
				pass(time.Millisecond)
			}
			if n := m.calls.Load() - calls; n != 0 {
				t.Errorf("%s: %d calls while it was known to be denied", limit.Algorithm, n)
			}
			pass(again - time.Since(began))
			if r := allow(t, s, "k", 1, limit); !r.Allowed {
				t.Errorf("%s: %+v when the backend would allow", limit.Algorithm, r)
			}
		})
	}
}

func TestWhoWaitsForRetryAfterIsNotTooEarly(t *testing.T) {
	uneven := ratelimit.Limit{Max: 7, Window: 999 * time.Millisecond, Algorithm: ratelimit.GCRA, Burst: 3}
	for _, limit := range []ratelimit.Limit{fixed, gcra, uneven} {
		for _, latency := range []time.Duration{0, 130 * time.Microsecond, 7 * time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				m := meddle(&ratelimit.Memory{})
				m.there = latency
				s := open(t, ratelimit.Config{Backend: m})
				pass(123456 * time.Nanosecond)
				for range 20 {
					r := allow(t, s, "k", 1, limit)
					if r.Allowed {
						continue
					}
					if until := time.Until(r.ResetAt); until < r.RetryAfter {
						t.Fatalf("all are back in %s, and one in %s", until, r.RetryAfter)
					}
					pass(r.RetryAfter)
					if r = allow(t, s, "k", 1, limit); !r.Allowed {
						t.Fatalf("%s, %s: %+v after RetryAfter", limit.Algorithm, latency, r)
					}
				}
			})
		}
	}
}

// Its end is told in whole milliseconds, rounded down.
func TestInTheLastMillisecondOfAWindowResetAtIsStillToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, ratelimit.Config{Backend: &ratelimit.Memory{}, Remember: -1})
		allow(t, s, "k", 2, fixed)
		pass(fixed.Window - 500*time.Microsecond)
		for _, n := range []int64{1, 5} {
			r := allow(t, s, "k", n, fixed)
			if until := time.Until(r.ResetAt); r.Allowed != (n == 1) || r.Remaining != 2 || until != time.Millisecond {
				t.Errorf("%d: %+v, %s from now", n, r, until)
			}
		}
		v, err := s.AllowAll(t.Context(),
			ratelimit.Demand{Key: "k", N: 5, Limit: fixed}, ratelimit.Demand{Key: "untouched", N: 1, Limit: fixed})
		if err != nil || v.Allowed || v.Each[0].ResetAt.IsZero() || !v.Each[1].ResetAt.IsZero() {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func TestADenialIsOfAsManyPermitsAndOfThatLimit(t *testing.T) {
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.Fixed, ratelimit.GCRA} {
		limit := ratelimit.Limit{Max: 5, Window: time.Hour, Algorithm: algorithm}
		m := meddle(&ratelimit.Memory{})
		s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
		allow(t, s, "k", 3, limit)
		for _, n := range []int64{4, 4, 5} {
			if r := allow(t, s, "k", n, limit); r.Allowed || r.Remaining != 2 {
				t.Fatalf("%+v", r)
			}
		}
		if n := m.calls.Load(); n != 2 {
			t.Errorf("%d calls", n)
		}
		if r := allow(t, s, "k", 2, limit); !r.Allowed || r.Remaining != 0 {
			t.Fatalf("two of two: %+v", r)
		}
		if r := allow(t, s, "k", 1, limit); r.Allowed {
			t.Fatalf("%+v", r)
		}
		larger := limit
		larger.Max = 10
		calls, more := m.calls.Load(), algorithm == ratelimit.Fixed // GCRA has spent the hour
		if r := allow(t, s, "k", 1, larger); m.calls.Load() == calls || r.Allowed != more {
			t.Errorf("a larger limit: %+v", r)
		}
	}
}

func TestResetEndsADenialHereAtOnceAndElsewhereWithinRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, remember := &ratelimit.Memory{}, 70*time.Millisecond
		here := open(t, ratelimit.Config{Backend: shared, Remember: remember})
		there := open(t, ratelimit.Config{Backend: shared, Remember: remember})
		limit := ratelimit.Limit{Max: 5, Window: time.Hour}
		for range 10 {
			allow(t, here, "k", 5, limit)
			if allow(t, here, "k", 1, limit).Allowed || allow(t, there, "k", 1, limit).Allowed {
				t.Fatal("allowed")
			}
			if err := here.Reset(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
			if r := allow(t, here, "k", 1, limit); !r.Allowed {
				t.Fatalf("here: %+v", r)
			}
			pass(remember)
			if r := allow(t, there, "k", 1, limit); !r.Allowed {
				t.Fatalf("there, %s later: %+v", remember, r)
			}
			if err := there.Reset(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestADenialThatIsUnderWayDuringAResetIsNotRemembered(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
	limit := ratelimit.Limit{Max: 1, Window: time.Hour}
	allow(t, s, "k", 1, limit)
	release := m.hold()
	denied := make(chan ratelimit.Result)
	go func() { // ends with its answer
		r, _ := s.Allow(context.Background(), "k", 1, limit)
		denied <- r
	}()
	eventually(t, "denial under way", func() bool { return m.calls.Load() == 2 })
	m.set(func(m *meddler) { m.gate = nil }) // nobody else is held back
	if err := s.Reset(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	release()
	if r := <-denied; r.Allowed {
		t.Fatalf("%+v", r)
	}
	if r := allow(t, s, "k", 1, limit); !r.Allowed {
		t.Errorf("%+v after Reset", r)
	}
}

func TestNegativeRememberAsksEachTime(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Remember: -1})
	for range 10 {
		allow(t, s, "k", 1, ratelimit.Limit{Max: 5, Window: time.Hour})
	}
	if n := m.calls.Load(); n != 10 {
		t.Errorf("%d calls", n)
	}
}

func TestDenialsAreBounded(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour, MaxDenied: 10})
	limit := ratelimit.Limit{Max: 1, Window: time.Hour}
	for i := range 100 {
		allow(t, s, fmt.Sprint(i), 1, limit)
		allow(t, s, fmt.Sprint(i), 1, limit)
	}
	calls := m.calls.Load()
	for i := range 100 {
		if allow(t, s, fmt.Sprint(i), 1, limit).Allowed {
			t.Fatal("allowed")
		}
	}
	if n := m.calls.Load() - calls; n < 90 {
		t.Errorf("%d of 100 were remembered", 100-n)
	}
}

func TestADemandThatIsKnownToBeDeniedRefusesAllWithoutACall(t *testing.T) {
	m := meddle(&ratelimit.Memory{})
	s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
	demands := []ratelimit.Demand{
		{Key: "agent", N: 1, Limit: ratelimit.Limit{Max: 100, Window: time.Hour}},
		{Key: "team", N: 1, Limit: ratelimit.Limit{Max: 1, Window: time.Hour}},
		{Key: "tenant", N: 1, Limit: ratelimit.Limit{Max: 1, Window: 2 * time.Hour}},
	}
	for range 5 {
		v, err := s.AllowAll(t.Context(), demands...)
		if err != nil {
			t.Fatal(err)
		}
		if !v.Allowed && (v.Refused != 2 || v.RetryAfter != v.Each[2].RetryAfter || v.RetryAfter <= time.Hour) {
			t.Fatalf("%+v", v)
		}
	}
	if n := m.calls.Load(); n != 2 {
		t.Errorf("%d calls", n)
	}
	if r := allow(t, s, "agent", 99, demands[0].Limit); !r.Allowed {
		t.Errorf("%+v: the agent has paid for what the team was denied", r)
	}
}

// The fewest permits, the latest end and the longest wait need not be of one demand.
func TestAVerdictFromMemoryIsOfAllItsDemands(t *testing.T) {
	s := open(t, ratelimit.Config{Backend: &ratelimit.Memory{}, Remember: time.Hour})
	demands := []ratelimit.Demand{
		{Key: "few", N: 1, Limit: ratelimit.Limit{Max: 1, Window: time.Hour}},
		{Key: "late", N: 1, Limit: ratelimit.Limit{Max: 1, Window: 3 * time.Hour, Algorithm: ratelimit.GCRA, Burst: 3}},
		{Key: "long", N: 9, Limit: ratelimit.Limit{Max: 9, Window: 4 * time.Hour}},
	}
	for i, n := range []int64{1, 3, 2} {
		allow(t, s, demands[i].Key, n, demands[i].Limit)
	}
	var asked ratelimit.Verdict
	for i := range 2 { // the second from memory
		v, err := s.AllowAll(t.Context(), demands...)
		if err != nil || v.Allowed || v.Refused != 2 || v.Remaining != 0 || v.RetryAfter <= 3*time.Hour ||
			time.Until(v.ResetAt) <= 8*time.Hour {
			t.Errorf("%+v, %v", v, err)
		}
		if i == 0 {
			asked = v
		} else if d := v.ResetAt.Sub(asked.ResetAt); d < -time.Minute || d > time.Minute {
			t.Errorf("%+v, was %+v", v, asked)
		}
	}
}

func TestABackendThatAnswersTooLittleAllowsNothing(t *testing.T) {
	s := open(t, ratelimit.Config{Backend: short{&ratelimit.Memory{}}, OnFailure: ratelimit.AllowAny})
	if r, err := s.Allow(t.Context(), "k", 1, fixed); err == nil || r.Allowed {
		t.Errorf("%+v, %v", r, err)
	}
}

type short struct{ ratelimit.Backend }

func (short) Take(context.Context, []ratelimit.Demand) ([]ratelimit.Answer, error) { return nil, nil }

// The rate is counted over a long time, with a permit that is worth no whole number of microseconds.
func TestGCRAKeepsItsRateExactly(t *testing.T) {
	for _, limit := range []ratelimit.Limit{
		{Max: 3, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: 2},
		{Max: 7, Window: time.Millisecond, Algorithm: ratelimit.GCRA, Burst: 3},
		{Max: 1_000_003, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: 40_000},
	} {
		now := time.Unix(1_800_000_000, 0)
		m := &ratelimit.Memory{Now: func() time.Time { return now }}
		var allowed, most int64
		began := now
		for step := range int64(3000) {
			for _, n := range []int64{limit.Burst, 1 + limit.Burst/3, 1} {
				for {
					answers, err := m.Take(t.Context(), []ratelimit.Demand{{Key: "k", N: n, Limit: limit}})
					if err != nil {
						t.Fatal(err)
					}
					if !answers[0].Fits {
						break
					}
					allowed += n
				}
			}
			elapsed := now.Sub(began).Microseconds()
			if most = limit.Burst + elapsed*limit.Max/limit.Window.Microseconds(); allowed != most {
				t.Fatalf("%+v, step %d: %d allowed in %d us, want %d", limit, step, allowed, elapsed, most)
			}
			pause := limit.Window * time.Duration(min(limit.Burst-1, 1+step%7)) / time.Duration(2*limit.Max) // never long enough for all
			now = now.Add(max(time.Microsecond, pause.Truncate(time.Microsecond)))
		}
	}
}

// Lua and Go compute the same, at moments that only the test chooses.
func TestMemoryAndRedisAgreeAboutGCRA(t *testing.T) {
	client, passes := still(t)
	now := time.Unix(1_800_000_000, 0)
	memory, remote := &ratelimit.Memory{Now: func() time.Time { return now }}, onRedis(t, ratelimit.RedisConfig{Client: client})
	limits := []ratelimit.Limit{
		{Max: 3, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: 4},
		{Max: 7, Window: 100 * time.Millisecond, Algorithm: ratelimit.GCRA},
		{Max: 1 << 52, Window: 366 * 24 * time.Hour, Algorithm: ratelimit.GCRA, Burst: 3 << 50},
	}
	for step := range 600 {
		limit := limits[step/7%3] // one after the other under the same key
		demand := []ratelimit.Demand{{Key: "k", N: 1 + int64(step)*7919%limit.Max%4, Limit: limit}}
		if step%5 == 0 && step/7%3 == 2 {
			demand[0].N = 1 << 50
		}
		want, err := memory.Take(t.Context(), demand)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Take(t.Context(), demand)
		if err != nil || got[0] != want[0] {
			t.Fatalf("step %d, %+v: %+v, %v in Redis, %+v in memory", step, demand, got, err, want)
		}
		d := time.Duration(step*step%97) * 777 * time.Microsecond
		now = now.Add(d)
		passes(d)
	}
}

func TestMemoryForgetsWhatIsOver(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := &ratelimit.Memory{Now: func() time.Time { return now }}
	for i := range 100_000 {
		demands := []ratelimit.Demand{{Key: fmt.Sprint(i), N: 1, Limit: fixed}, {Key: fmt.Sprint(i), N: 1, Limit: gcra}}
		if _, err := m.Take(t.Context(), demands); err != nil {
			t.Fatal(err)
		}
		now = now.Add(10 * time.Millisecond) // a hundred in a window
	}
	if n := m.Size(); n > 2500 {
		t.Errorf("%d keys are kept", n)
	}
}

func TestClosedStoresRefuse(t *testing.T) {
	s := open(t, ratelimit.Config{Backend: &ratelimit.Memory{}, OnFailure: ratelimit.AllowAny})
	l, err := s.Lease(ratelimit.LeaseConfig{Key: "k", Limit: fixed})
	if err != nil {
		t.Fatal(err)
	}
	spent, err := s.Lease(ratelimit.LeaseConfig{Key: "spent", Limit: hour(1)})
	if err != nil || !spend(t, spent, 1) || spend(t, spent, 1) {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, errAllow := s.Allow(t.Context(), "k", 1, fixed)
	denied, errDenied := spent.Allow(t.Context(), 1)
	leased, errLeased := l.Allow(t.Context(), 1)
	_, errIncrement := s.Increment(t.Context(), "k", 1, time.Second)
	_, errCurrent := s.Current(t.Context(), "k")
	_, errLease := s.Lease(ratelimit.LeaseConfig{Key: "k", Limit: fixed})
	for _, err := range []error{
		errAllow, errLeased, errDenied, errIncrement, errCurrent, errLease, s.Reset(t.Context(), "k"), s.Ready(t.Context()),
	} {
		if !errors.Is(err, errClosed) || r.Allowed || leased.Allowed || denied.Allowed {
			t.Errorf("%v, %+v, %+v, %+v", err, r, leased, denied)
		}
	}
}
