package stores

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores/checkpoint"
)

// CheckpointConfig tunes the store of threads. The meaning and defaults of its fields are those of checkpoint.Config.
type CheckpointConfig struct {
	TTL           time.Duration `key:"ttl"`
	RefreshOnLoad bool          `key:"refresh_on_load"`
	Bound         time.Duration `key:"bound"`
	L1TTL         time.Duration `key:"l1_ttl"`
	MaxEntries    int64         `key:"max_entries"`
	MaxBytes      int64         `key:"max_bytes"`
	MaxState      int           `key:"max_state"`
	CompressAbove int           `key:"compress_above"`
	Foreign       bool          `key:"foreign"`
	ForeignTTL    time.Duration `key:"foreign_ttl"`
}

var threads = kind{
	key: "checkpointer", field: "Checkpointer", config: "Checkpoint",
	named:  func(c *Config) string { return c.Checkpointer },
	offers: func(d Driver) bool { return d.Threads != nil },
	part:   threadPart,
}

func threadPart(o *Opening, c chosen) part {
	t := o.cfg.Checkpoint
	cfg := checkpoint.Config{
		Tenant: o.cfg.Tenant, Link: o.linkOf(c), Local: o.localOf(c), Telemetry: o.telemetry,
		TTL: t.TTL, RefreshOnLoad: t.RefreshOnLoad, Bound: t.Bound, L1TTL: t.L1TTL, MaxEntries: t.MaxEntries, MaxBytes: t.MaxBytes,
		MaxState: t.MaxState, CompressAbove: t.CompressAbove, Foreign: t.Foreign, ForeignTTL: t.ForeignTTL,
	}
	return part{
		check: func() error {
			tried := cfg
			tried.Backend = &checkpoint.Memory{}
			return tried.Validate()
		},
		connect: func(ctx context.Context) (err error) {
			if cfg.Backend, err = made(c.Threads(ctx, o)); err != nil {
				return err
			}
			return cfg.Validate()
		},
		store: func(b *Backend) opened {
			return b.threads.init(b, func() (*checkpoint.Store, error) { return checkpoint.New(cfg) }, func() (*checkpoint.Store, error) {
				return checkpoint.New(checkpoint.Config{Backend: &checkpoint.Memory{}})
			})
		},
	}
}

// Threads is the store of threads' states, the checkpointer.
func (b *Backend) Threads() *checkpoint.Store { return b.threads.get() }
