package stores

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores/registry"
)

// RegistryConfig tunes the registry of agents. The meaning and defaults of its fields are those of registry.Config.
type RegistryConfig struct {
	TTL    time.Duration `key:"ttl"`
	Grace  time.Duration `key:"grace"`
	MaxAge time.Duration `key:"max_age"`
	Bound  time.Duration `key:"bound"`
	Poll   time.Duration `key:"poll"`
	// ServeStale is for how long past its end the last list may be answered while the backend does not answer. 0: not at all.
	ServeStale time.Duration `key:"serve_stale"`
	Foreign    bool          `key:"foreign"`
	ForeignTTL time.Duration `key:"foreign_ttl"`
	Relay      time.Duration `key:"relay"`
	Settle     time.Duration `key:"settle"`
}

var agents = kind{
	key: "agent_registry", field: "AgentRegistry", config: "Registry",
	named:  func(c *Config) string { return c.AgentRegistry },
	offers: func(d Driver) bool { return d.Agents != nil },
	part:   agentPart,
}

func agentPart(o *Opening, c chosen) part {
	r := o.cfg.Registry
	cfg := registry.Config{
		Tenant: o.cfg.Tenant, Sole: o.cfg.Sole, Link: o.linkOf(c), Local: o.localOf(c), Telemetry: o.telemetry,
		TTL: r.TTL, Grace: r.Grace, MaxAge: r.MaxAge, Bound: r.Bound, Poll: r.Poll, Mode: mode(r.ServeStale),
		Foreign: r.Foreign, ForeignTTL: r.ForeignTTL, Relay: r.Relay, Settle: r.Settle,
	}
	return part{
		check: func() error {
			tried := cfg
			tried.Backend = &registry.Memory{}
			return tried.Validate()
		},
		connect: func(ctx context.Context) (err error) {
			if cfg.Backend, err = made(c.Agents(ctx, o)); err != nil {
				return err
			}
			cfg.Listener = o.listener
			return cfg.Validate()
		},
		store: func(b *Backend) opened {
			return b.agents.init(b, func() (*registry.Store, error) { return registry.New(cfg) }, func() (*registry.Store, error) {
				return registry.New(registry.Config{Backend: &registry.Memory{}})
			})
		},
	}
}

// Agents is the registry of agents.
func (b *Backend) Agents() *registry.Store { return b.agents.get() }
