package stores

import (
	"context"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

// SessionConfig tunes the session store. The meaning and defaults of its fields are those of session.Config.
type SessionConfig struct {
	TTL         time.Duration `key:"ttl"`
	RearmOnLoad bool          `key:"rearm_on_load"`
	Bound       time.Duration `key:"bound"`
	// ServeStale is for how long past its time memory may answer while nobody else does. 0: not at all.
	ServeStale time.Duration `key:"serve_stale"`
	MemoryTTL  time.Duration `key:"memory_ttl"`
	MaxEntries int64         `key:"max_entries"`
	Foreign    bool          `key:"foreign"`
	ForeignTTL time.Duration `key:"foreign_ttl"`
}

var sessions = kind{
	key: "session_store", field: "SessionStore", config: "Session",
	named:  func(c *Config) string { return c.SessionStore },
	offers: func(d Driver) bool { return d.Sessions != nil },
	part:   sessionPart,
}

func sessionPart(o *Opening, c chosen) part {
	s := o.cfg.Session
	cfg := session.Config{
		Tenant: o.cfg.Tenant, Link: o.linkOf(c), Local: o.localOf(c), Telemetry: o.telemetry,
		TTL: s.TTL, RearmOnLoad: s.RearmOnLoad, Bound: s.Bound, Mode: mode(s.ServeStale), MemoryTTL: s.MemoryTTL,
		MaxEntries: s.MaxEntries, Foreign: s.Foreign, ForeignTTL: s.ForeignTTL,
	}
	return part{
		check: func() error {
			tried := cfg
			tried.Backend = &session.Memory{}
			return tried.Validate()
		},
		connect: func(ctx context.Context) (err error) {
			if cfg.Backend, err = made(c.Sessions(ctx, o)); err != nil {
				return err
			}
			return cfg.Validate()
		},
		store: func(b *Backend) opened {
			return b.sessions.init(b, func() (*session.Store, error) { return session.New(cfg) }, func() (*session.Store, error) {
				return session.New(session.Config{Backend: &session.Memory{}})
			})
		},
	}
}

// Sessions is the session store.
func (b *Backend) Sessions() *session.Store { return b.sessions.get() }

// mode is that of a cache: FailClosed, or ServeStale for so long.
func mode(stale time.Duration) readthrough.Mode {
	if stale == 0 {
		return readthrough.FailClosed
	}
	return readthrough.ServeStale(stale)
}
