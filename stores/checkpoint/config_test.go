package checkpoint_test

import (
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/checkpoint"
)

func TestAConfigThatIsWrongIsRefusedWithTheFieldNamed(t *testing.T) {
	const secret = "se:cret"
	_, client := redistest.Mini(t)
	for want, change := range map[string]change{
		"Config.Backend is required":   func(c *checkpoint.Config) { c.Backend = nil },
		"Config.Link and Config.Local": func(c *checkpoint.Config) { c.Link, c.Local = &invalidation.Link{}, &invalidation.Local{} },
		"Config.Name may hold":         func(c *checkpoint.Config) { c.Name = "a:b" },
		"Config.Tenant may hold":       func(c *checkpoint.Config) { c.Tenant = secret },
		"Config.Tenant must be the Backend's": func(c *checkpoint.Config) {
			c.Backend = onRedis(t, checkpoint.RedisConfig{Client: client, Tenant: "acme"})
		},
		"Config.TTL must be from 1ms":     func(c *checkpoint.Config) { c.TTL = time.Millisecond - 1 },
		"Config.TTL must be from":         func(c *checkpoint.Config) { c.TTL = -time.Second },
		"Config.Bound must be from 10ms":  func(c *checkpoint.Config) { c.Bound = time.Millisecond },
		"Config.L1TTL must be from 1ms":   func(c *checkpoint.Config) { c.L1TTL = 1 },
		"Config.LoadTimeout must be from": func(c *checkpoint.Config) { c.LoadTimeout = time.Hour },
		"Config.ForeignTTL must be from 1ms to 1s": func(c *checkpoint.Config) {
			c.Foreign, c.ForeignTTL = true, time.Second+1
		},
		"Config.ForeignTTL must be from 1ms":     func(c *checkpoint.Config) { c.Foreign, c.ForeignTTL = true, time.Millisecond-1 },
		"Config.ForeignTTL needs Config.Foreign": func(c *checkpoint.Config) { c.ForeignTTL = time.Second },
		"Config.RefreshOnLoad needs Config.TTL":  func(c *checkpoint.Config) { c.RefreshOnLoad = true },
		"Config.MaxEntries must be from 1":       func(c *checkpoint.Config) { c.MaxEntries = -1 },
		"Config.MaxBytes must be from 1":         func(c *checkpoint.Config) { c.MaxBytes = -1 },
		"Config.MaxState must be from 1":         func(c *checkpoint.Config) { c.MaxState = 1 << 30 },
		"Config.CompressAbove must be from 0":    func(c *checkpoint.Config) { c.CompressAbove = -1 },
	} {
		cfg := checkpoint.Config{Backend: &checkpoint.Memory{}}
		change(&cfg)
		s, err := checkpoint.New(cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "checkpoint: "+want) || strings.Contains(err.Error(), secret) || s != nil {
			t.Errorf("%s: %v", want, err)
		}
		if again := cfg.Validate(); again == nil || again.Error() != err.Error() {
			t.Errorf("Validate says %v", again)
		}
	}
	if err := (checkpoint.Config{Backend: &checkpoint.Memory{}, TTL: time.Millisecond, RefreshOnLoad: true, Local: &invalidation.Local{}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheLeastTTLWorksWithL1(t *testing.T) {
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{}, TTL: time.Millisecond, RefreshOnLoad: true, Local: &invalidation.Local{}})
	save(t, s, "t", "x")
	eventually(t, "end", func() bool {
		absent(t, s, "t")
		page, err := s.List(t.Context(), "", 1)
		return err == nil && len(page.Threads) == 0
	})
}
