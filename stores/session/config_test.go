package session_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/session"
)

func TestConfigFaultsAreRefusedByName(t *testing.T) {
	_, client := redistest.Mini(t)
	link := newLink(t, client)
	acme := newRedis(t, session.RedisConfig{Client: client, Tenant: "acme"})
	for field, change := range map[string]func(*session.Config){
		"Backend":          func(c *session.Config) { c.Backend = nil },
		"Link":             func(c *session.Config) { c.Link, c.Local = link, &invalidation.Local{} },
		"Name":             func(c *session.Config) { c.Name = "a:b" },
		"Tenant must":      func(c *session.Config) { c.Tenant = "a*" },
		"Tenant":           func(c *session.Config) { c.Backend = acme },
		"Tenant must be":   func(c *session.Config) { c.Backend, c.Tenant = acme, "ACME" },
		"TTL":              func(c *session.Config) { c.TTL = -time.Second },
		"TTL must":         func(c *session.Config) { c.TTL = 366 * 24 * time.Hour },
		"TTL must be":      func(c *session.Config) { c.TTL = time.Second + time.Microsecond },
		"Bound":            func(c *session.Config) { c.Bound = time.Millisecond },
		"MemoryTTL":        func(c *session.Config) { c.MemoryTTL = time.Microsecond },
		"MemoryTTL must":   func(c *session.Config) { c.MemoryTTL = 2 * time.Hour },
		"MaxEntries":       func(c *session.Config) { c.MaxEntries = -1 },
		"LoadTimeout":      func(c *session.Config) { c.LoadTimeout = time.Hour },
		"ForeignTTL":       func(c *session.Config) { c.Foreign, c.ForeignTTL = true, time.Second+1 },
		"ForeignTTL must":  func(c *session.Config) { c.Foreign, c.ForeignTTL = true, time.Millisecond-1 },
		"ForeignTTL must ": func(c *session.Config) { c.ForeignTTL = time.Second },
	} {
		cfg := session.Config{Backend: &session.Memory{}}
		change(&cfg)
		s, err := session.New(cfg)
		if err == nil {
			t.Errorf("%s: accepted", field)
			_ = s.Close(context.Background())
			continue
		}
		if !strings.HasPrefix(err.Error(), "session: Config."+field) || strings.Contains(strings.ToLower(err.Error()), "acme") {
			t.Errorf("%s is not named, or the tenant is: %v", field, err)
		}
		if again := cfg.Validate(); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: Validate says %v, New %v", field, again, err)
		}
	}
}

func TestSmallestAndLargestConfigsWork(t *testing.T) {
	for name, cfg := range map[string]session.Config{
		"zero":                    {},
		"short":                   {Bound: 10 * time.Millisecond, MaxEntries: 1, MemoryTTL: time.Millisecond},
		"long":                    {TTL: 365 * 24 * time.Hour, Bound: time.Hour, MemoryTTL: time.Hour, LoadTimeout: 10 * time.Minute},
		"re-arming a short life":  {TTL: 3 * time.Millisecond, RearmOnLoad: true},
		"foreign, bounded":        {Foreign: true, ForeignTTL: time.Millisecond},
		"foreign, memory is off":  {Foreign: true, MemoryTTL: -1, ForeignTTL: time.Second},
		"another name and tenant": {Name: "s.1", Tenant: "acme"},
	} {
		f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
		s := f.open(t, func(c *session.Config) { cfg.Backend, cfg.Local = c.Backend, c.Local; *c = cfg })
		save(t, s, of(sid(1), 1))
		if _, err := s.Load(t.Context(), sid(1)); err != nil && cfg.TTL != 3*time.Millisecond {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Delete(t.Context(), sid(1)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantAbsent(t, s, sid(1))
	}
}
