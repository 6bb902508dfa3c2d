package stores

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores/policy"
)

// PolicyConfig tunes the policy store. The meaning and defaults of its fields are those of policy.Config.
type PolicyConfig struct {
	Bound       time.Duration `key:"bound"`
	Poll        time.Duration `key:"poll"`
	TTL         time.Duration `key:"ttl"`
	NegativeTTL time.Duration `key:"negative_ttl"`
	MaxEntries  int64         `key:"max_entries"`
	MaxBytes    int64         `key:"max_bytes"`
	Relay       time.Duration `key:"relay"`
	Settle      time.Duration `key:"settle"`
	// Mirror is the prefix under which readers of the original system find the policies too, "aa". "": none.
	Mirror string `key:"mirror"`
}

var policies = kind{
	key: "policy_store", field: "PolicyStore", config: "Policy",
	named:  func(c *Config) string { return c.PolicyStore },
	offers: func(d Driver) bool { return d.Policies != nil },
	part:   policyPart,
}

func policyPart(o *Opening, c chosen) part {
	p := o.cfg.Policy
	cfg := policy.Config{
		Tenant: o.cfg.Tenant, Sole: o.cfg.Sole, Link: o.linkOf(c), Telemetry: o.telemetry,
		Bound: p.Bound, Poll: p.Poll, TTL: p.TTL, NegativeTTL: p.NegativeTTL,
		MaxEntries: p.MaxEntries, MaxBytes: p.MaxBytes, Relay: p.Relay, Settle: p.Settle, Mirror: p.Mirror,
	}
	return part{
		check: func() error {
			tried := cfg
			tried.Authority = struct{ policy.Authority }{&policy.Memory{}} // the real one may outlive the process
			return tried.Validate()
		},
		connect: func(ctx context.Context) (err error) {
			if cfg.Authority, err = made(c.Policies(ctx, o)); err != nil {
				return err
			}
			cfg.Listener = o.listener
			if _, ok := cfg.Authority.(*policy.Memory); !ok { // whose own bus reaches other Backends that share it, too
				cfg.Local = o.localOf(c)
			}
			return cfg.Validate()
		},
		store: func(b *Backend) opened {
			return b.policies.init(b, func() (*policy.Store, error) { return policy.New(cfg) }, func() (*policy.Store, error) {
				return policy.New(policy.Config{Authority: &policy.Memory{}})
			})
		},
	}
}

// Policies is the policy store.
func (b *Backend) Policies() *policy.Store { return b.policies.get() }
