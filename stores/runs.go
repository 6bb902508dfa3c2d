package stores

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores/runlog"
)

// RunLogConfig tunes the log of runs. The meaning and defaults of its fields are those of runlog.Config.
type RunLogConfig struct {
	MaxEvents    int64         `key:"max_events"`
	MaxAge       time.Duration `key:"max_age"`
	KeepAfterEnd time.Duration `key:"keep_after_end"`
	Bound        time.Duration `key:"bound"`
	TTL          time.Duration `key:"ttl"`
	TailTTL      time.Duration `key:"tail_ttl"`
	MaxEntries   int64         `key:"max_entries"`
	Poll         time.Duration `key:"poll"`
	Patience     time.Duration `key:"patience"`
}

var runs = kind{
	key: "event_store", field: "EventStore", config: "RunLog",
	named:  func(c *Config) string { return c.EventStore },
	offers: func(d Driver) bool { return d.Runs != nil },
	part:   runPart,
}

func runPart(o *Opening, c chosen) part {
	r := o.cfg.RunLog
	cfg := runlog.Config{
		Tenant: o.cfg.Tenant, Link: o.linkOf(c), Local: o.localOf(c), Telemetry: o.telemetry,
		MaxEvents: r.MaxEvents, MaxAge: r.MaxAge, KeepAfterEnd: r.KeepAfterEnd, Bound: r.Bound, TTL: r.TTL, TailTTL: r.TailTTL,
		MaxEntries: r.MaxEntries, Poll: r.Poll, Patience: r.Patience,
	}
	return part{
		check: func() error {
			tried := cfg
			tried.Backend = &runlog.Memory{}
			return tried.Validate()
		},
		connect: func(ctx context.Context) (err error) {
			if cfg.Backend, err = made(c.Runs(ctx, o)); err != nil {
				return err
			}
			return cfg.Validate()
		},
		store: func(b *Backend) opened {
			return b.runs.init(b, func() (*runlog.Store, error) { return runlog.New(cfg) }, func() (*runlog.Store, error) {
				return runlog.New(runlog.Config{Backend: &runlog.Memory{}})
			})
		},
	}
}

// Runs is the log of runs' events.
func (b *Backend) Runs() *runlog.Store { return b.runs.get() }
