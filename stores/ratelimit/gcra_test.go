package ratelimit_test

import (
	"cmp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

// eachStill runs a test on Memory and on miniredis, whose time only the test moves.
func eachStill(t *testing.T, f func(t *testing.T, b ratelimit.Backend, pass func(time.Duration))) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		now := time.Unix(1_800_000_000, 0)
		f(t, &ratelimit.Memory{Now: func() time.Time { return now }}, func(d time.Duration) { now = now.Add(d) })
	})
	t.Run("miniredis", func(t *testing.T) {
		client, pass := still(t)
		f(t, onRedis(t, ratelimit.RedisConfig{Client: client}), pass)
	})
}

func takeOne(t *testing.T, b ratelimit.Backend, n int64, limit ratelimit.Limit) ratelimit.Answer {
	t.Helper()
	answers, err := b.Take(t.Context(), []ratelimit.Demand{{Key: "k", N: n, Limit: limit}})
	if err != nil {
		t.Fatal(err)
	}
	return answers[0]
}

// deniedFor holds that what was answered is the truth: denied until then, and not a microsecond longer.
func deniedFor(t *testing.T, b ratelimit.Backend, pass func(time.Duration), limit ratelimit.Limit, retry, reset time.Duration) {
	t.Helper()
	t.Helper()
	if a := takeOne(t, b, 1, limit); a != (ratelimit.Answer{Retry: retry, Reset: reset}) {
		t.Fatalf("%+v, want %s and %s", a, retry, reset)
	}
	pass(retry - time.Microsecond)
	if a := takeOne(t, b, 1, limit); a.Fits || a.Retry != time.Microsecond {
		t.Fatalf("%+v a microsecond too early", a)
	}
	pass(time.Microsecond)
	if a := takeOne(t, b, 1, limit); !a.Fits {
		t.Fatalf("%+v after Retry", a)
	}
}

func TestAClockThatGoesBackDeniesForAsLongAndSaysSo(t *testing.T) {
	eachStill(t, func(t *testing.T, b ratelimit.Backend, pass func(time.Duration)) {
		const back = 24 * time.Hour
		pass(back) // Memory counts from the first call
		if a := takeOne(t, b, 5, gcra); !a.Fits {
			t.Fatalf("%+v", a)
		}
		pass(-back)
		deniedFor(t, b, pass, gcra, back+gcra.Window/5, back+gcra.Window)
	})
}

func TestALimitThatShrinksOnALiveKeySaysHowLongItDenies(t *testing.T) {
	large := ratelimit.Limit{Max: 100, Window: time.Hour, Algorithm: ratelimit.GCRA}
	for name, small := range map[string]ratelimit.Limit{
		"burst": {Max: 100, Window: time.Hour, Algorithm: ratelimit.GCRA, Burst: 1},
		"max":   {Max: 2, Window: time.Minute, Algorithm: ratelimit.GCRA},
	} {
		t.Run(name, func(t *testing.T) {
			eachStill(t, func(t *testing.T, b ratelimit.Backend, pass func(time.Duration)) {
				if a := takeOne(t, b, 100, large); !a.Fits {
					t.Fatalf("%+v", a)
				}
				retry := time.Hour
				if name == "max" {
					retry -= 30 * time.Second // a second permit may be out
				}
				deniedFor(t, b, pass, small, retry, time.Hour)
			})
		})
	}
}

// No time is so far off that it overflows.
func TestWhatIsFarAheadIsALongTime(t *testing.T) {
	limit := ratelimit.Limit{Max: 1 << 52, Window: 366 * 24 * time.Hour, Algorithm: ratelimit.GCRA, Burst: 10 << 52}
	t.Run("redis", func(t *testing.T) {
		client, _ := still(t)
		client.Set(t.Context(), "aa:ratelimit-gcra:k", "9999999999999999:4503599627370495/4503599627370496", 0)
		s := onStore(t, client)
		for _, l := range []ratelimit.Limit{gcra, limit} {
			r := allow(t, s, "k", l.Max, l)
			if r.Allowed || r.Remaining != 0 || r.RetryAfter < 36600*time.Hour || time.Until(r.ResetAt) < 36600*time.Hour {
				t.Errorf("%+v", r)
			}
		}
	})
	t.Run("memory", func(t *testing.T) {
		now := time.Unix(0, 0)
		m := &ratelimit.Memory{Now: func() time.Time { return now }}
		if a := takeOne(t, m, 1, gcra); !a.Fits {
			t.Fatalf("%+v", a)
		}
		now = now.AddDate(280, 0, 0)
		if a := takeOne(t, m, limit.Burst, limit); !a.Fits {
			t.Fatalf("%+v", a)
		}
		now = now.AddDate(-560, 0, 0)
		for _, l := range []ratelimit.Limit{gcra, limit} {
			if a := takeOne(t, m, l.Max, l); a.Fits || a.Remaining != 0 || a.Retry < 36600*time.Hour || a.Reset < 36600*time.Hour {
				t.Errorf("%+v", a)
			}
		}
	})
}

func TestADenialFromMemoryOfMorePermitsIsNotTooEarly(t *testing.T) {
	for _, limit := range []ratelimit.Limit{
		{Max: 100, Window: 1000 * time.Second, Algorithm: ratelimit.GCRA},
		{Max: 7, Window: 999 * time.Millisecond, Algorithm: ratelimit.GCRA, Burst: 90},
	} {
		for _, n := range []int64{2, 50, 90} {
			synctest.Test(t, func(t *testing.T) {
				m := meddle(&ratelimit.Memory{})
				s := open(t, ratelimit.Config{Backend: m, Remember: time.Hour})
				asked := open(t, ratelimit.Config{Backend: m.Backend, Remember: -1})
				allow(t, s, "k", cmp.Or(limit.Burst, limit.Max), limit)
				if allow(t, s, "k", 1, limit).Allowed {
					t.Fatal("allowed")
				}
				calls := m.calls.Load()
				r := allow(t, s, "k", n, limit)
				v, err := s.AllowAll(t.Context(), ratelimit.Demand{Key: "k", N: n, Limit: limit}, ratelimit.Demand{Key: "o", N: 1, Limit: fixed})
				if err != nil || v.RetryAfter != r.RetryAfter || m.calls.Load() != calls {
					t.Errorf("%+v, %v, %d calls", v, err, m.calls.Load()-calls)
				}
				if late := r.RetryAfter - allow(t, asked, "k", n, limit).RetryAfter; late < 0 || late > time.Microsecond {
					t.Errorf("%d permits: %s later than the backend says", n, late)
				}
				pass(r.RetryAfter)
				if r := allow(t, s, "k", n, limit); !r.Allowed {
					t.Errorf("%+v after RetryAfter", r)
				}
			})
		}
	}
}
