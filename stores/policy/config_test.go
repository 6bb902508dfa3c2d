package policy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/policy"
)

func TestConfigFaultsAreRefusedByName(t *testing.T) {
	_, client := redistest.Mini(t)
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close(context.Background())
	for field, change := range map[string]func(*policy.Config){
		"Authority":                  func(c *policy.Config) { c.Authority = nil },
		"Link":                       func(c *policy.Config) { c.Redis, c.Link = client, link },
		"Local":                      func(c *policy.Config) { c.Redis, c.Local = client, &invalidation.Local{} },
		"Sole":                       func(c *policy.Config) { c.Redis, c.Sole = client, true },
		"Name":                       func(c *policy.Config) { c.Name = "a:b" },
		"Tenant":                     func(c *policy.Config) { c.Tenant = "a*" },
		"Bound":                      func(c *policy.Config) { c.Bound = time.Millisecond },
		"Poll":                       func(c *policy.Config) { c.Poll = -time.Second },
		"TTL":                        func(c *policy.Config) { c.TTL = 25 * time.Hour },
		"NegativeTTL":                func(c *policy.Config) { c.NegativeTTL = 25 * time.Hour },
		"MaxEntries":                 func(c *policy.Config) { c.MaxEntries = -1 },
		"MaxBytes":                   func(c *policy.Config) { c.MaxBytes = -1 },
		"MaxBytes must be from 1 to": func(c *policy.Config) { c.MaxBytes = 1<<50 + 1 },
		"LoadTimeout":                func(c *policy.Config) { c.LoadTimeout = time.Hour },
		"Relay":                      func(c *policy.Config) { c.Relay = time.Millisecond },
		"Settle":                     func(c *policy.Config) { c.Settle = -1 },
	} {
		cfg := policy.Config{Authority: &policy.Memory{}}
		change(&cfg)
		s, err := policy.New(cfg)
		if err == nil {
			t.Errorf("%s: accepted", field)
			_ = s.Close(t.Context())
			continue
		}
		if !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s is not named: %v", field, err)
		}
		if again := cfg.Validate(); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: Validate says %v, New %v", field, again, err)
		}
	}
}

func TestSmallestConfigsAreAccepted(t *testing.T) {
	for name, cfg := range map[string]policy.Config{
		"zero":                        {},
		"a short load timeout":        {LoadTimeout: time.Millisecond},
		"a ttl below the negative":    {TTL: time.Second},
		"no negative cache":           {NegativeTTL: -1},
		"the smallest of all bounds":  {Bound: 10 * time.Millisecond, MaxEntries: 1, MaxBytes: 1, TTL: time.Millisecond},
		"the longest of all lifetime": {Bound: time.Hour, TTL: 24 * time.Hour, NegativeTTL: 24 * time.Hour, Settle: 24 * time.Hour},
	} {
		cfg.Authority = &policy.Memory{}
		s := open(t, cfg)
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		put(t, s, agent(1), policy.Allow)
		if d, err := s.Decide(t.Context(), agent(1), "tool:shell"); err != nil && name != "a short load timeout" || err == nil && !d.Allowed() {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}
