package ratelimit_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

func TestBadConfigsAreRefusedByName(t *testing.T) {
	for field, change := range map[string]func(*ratelimit.Config){
		"Backend":   func(c *ratelimit.Config) { c.Backend = nil },
		"OnFailure": func(c *ratelimit.Config) { c.OnFailure = 3 },
		"Processes": func(c *ratelimit.Config) { c.Processes = -1 },
		"Timeout":   func(c *ratelimit.Config) { c.Timeout = time.Microsecond },
		"Remember":  func(c *ratelimit.Config) { c.Remember = math.MaxInt64 },
		"MaxDenied": func(c *ratelimit.Config) { c.MaxDenied = -1 },
	} {
		cfg := ratelimit.Config{Backend: &ratelimit.Memory{}}
		change(&cfg)
		if _, err := ratelimit.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: Config."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestBadLimitsAreRefusedByNameAndAllowNothing(t *testing.T) {
	s := open(t, ratelimit.Config{Backend: &ratelimit.Memory{}, OnFailure: ratelimit.AllowAny})
	for _, c := range []struct {
		field string
		limit ratelimit.Limit
	}{
		{"Max", ratelimit.Limit{}},
		{"Max", ratelimit.Limit{Max: -1, Window: time.Second}},
		{"Window", ratelimit.Limit{Max: 1}},
		{"Window", ratelimit.Limit{Max: 1, Window: time.Millisecond - 1}},
		{"Window", ratelimit.Limit{Max: 1, Window: math.MaxInt64}},
		{"Algorithm", ratelimit.Limit{Max: 1, Window: time.Second, Algorithm: 2}},
		{"Burst", ratelimit.Limit{Max: 1, Window: time.Second, Burst: 1}},
		{"Burst", ratelimit.Limit{Max: 1, Window: time.Second, Burst: -1, Algorithm: ratelimit.GCRA}},
		{"Burst", ratelimit.Limit{Max: 1, Window: time.Second, Burst: math.MaxInt64, Algorithm: ratelimit.GCRA}},
		{"Max", ratelimit.Limit{Max: 1<<52 + 1, Window: time.Second, Algorithm: ratelimit.GCRA}},
	} {
		r, err := s.Allow(t.Context(), "k", 1, c.limit)
		if err == nil || !strings.HasPrefix(err.Error(), "ratelimit: Limit."+c.field+" ") || r.Allowed {
			t.Errorf("%+v: %+v, %v", c.limit, r, err)
		}
	}
	for _, n := range []int64{0, -1, math.MinInt64, math.MaxInt64} {
		if r, err := s.Allow(t.Context(), "k", n, fixed); err == nil || r.Allowed {
			t.Errorf("%d permits: %+v, %v", n, r, err)
		}
	}
}
