package stores

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

// RateLimitConfig tunes the rate limits. The meaning and defaults of its fields are those of ratelimit.Config.
type RateLimitConfig struct {
	OnFailure ratelimit.Failure `key:"on_failure"`
	Processes int64             `key:"processes"`
	Timeout   time.Duration     `key:"timeout"`
	Remember  time.Duration     `key:"remember"`
	MaxDenied int               `key:"max_denied"`
}

var rateLimits = kind{
	key: "rate_limit_counter", field: "RateLimitCounter", config: "RateLimit",
	named:  func(c *Config) string { return c.RateLimitCounter },
	offers: func(d Driver) bool { return d.RateLimits != nil },
	part:   rateLimitPart,
}

func rateLimitPart(o *Opening, c chosen) part {
	r := o.cfg.RateLimit
	cfg := ratelimit.Config{
		Telemetry: o.telemetry, OnFailure: r.OnFailure, Processes: r.Processes, Timeout: r.Timeout, Remember: r.Remember,
		MaxDenied: r.MaxDenied,
	}
	return part{
		check: func() error {
			tried := cfg
			tried.Backend, tried.Telemetry = &ratelimit.Memory{}, nil // nobody is told of a trial
			store, err := ratelimit.New(tried)
			if err != nil {
				return err
			}
			return store.Close(context.Background()) // nothing was begun
		},
		connect: func(ctx context.Context) (err error) {
			cfg.Backend, err = made(c.RateLimits(ctx, o))
			return err
		},
		store: func(b *Backend) opened {
			return b.rateLimits.init(b, func() (*ratelimit.Store, error) { return ratelimit.New(cfg) }, func() (*ratelimit.Store, error) {
				return ratelimit.New(ratelimit.Config{Backend: &ratelimit.Memory{}})
			})
		},
	}
}

// RateLimits is the store of rate limits.
func (b *Backend) RateLimits() *ratelimit.Store { return b.rateLimits.get() }
