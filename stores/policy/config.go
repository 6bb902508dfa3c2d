package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

// Config describes a Store. Zero fields mean their defaults; only Authority is required. What it is given it uses and
// never closes.
type Config struct {
	// Authority keeps the documents of Tenant. Required.
	Authority Authority
	// Redis carries L2 and the bus; with a *Memory the bus alone, since L2 would outlive the process and the documents. Link does
	// too, shared with other stores; at most one of them. Neither: no L2, and other processes on the same database learn of a
	// change by polling it, at most Bound later. Where there is no log to poll, nor Local, Sole or a *Memory, nobody would be
	// told, and memory is off: every check asks the Authority.
	Redis redis.UniversalClient
	// Link is a bus shared with other stores.
	Link *invalidation.Link
	// Local is the bus of this process, where there is no Redis, shared with who else changes the documents and tells. nil: that
	// of a *Memory, or one of the store's own.
	Local *invalidation.Local
	// Name is the namespace: letters, digits, '.', '_' and '-', at most 128. "": policy. Stores over one Authority have the
	// same Name and Tenant: the change of one is told to that namespace.
	Name string
	// Tenant separates what one tenant keeps from what others do; same letters, "" is a tenant too. It must be that of a
	// *sqlsource.Table: tenants share a database, and a Redis, and none of them sees another's policies or changes.
	Tenant string
	// Sole declares that no other process reads these policies: Put then waits for nobody. It is refused beside Redis.
	Sole bool

	// Bound is B: how old an answer may be after a change was executed, whatever fails. From 10 ms to 1 h; 0: 1 s.
	Bound time.Duration
	// Poll is V, how often the authority's log is read when Redis carries the changes; without Redis it is read at least
	// four times in Bound, whatever Poll says. At most 1 h; 0: 5 s.
	Poll time.Duration
	// TTL of a document in the cache. From 1 ms to 24 h; 0: 5 min.
	TTL time.Duration
	// NegativeTTL of an absence. At most 24 h; 0: 10 s, or TTL if that is less. Negative: absences are not cached.
	NegativeTTL time.Duration
	// MaxEntries bounds the documents in memory. 0: 65536.
	MaxEntries int64
	// MaxBytes bounds the sum of their JSON in memory. 0: 256 MiB.
	MaxBytes int64
	// LoadTimeout is the hard limit of a read that reaches the authority, the same in every process. From 1 ms to 10 min;
	// 0: 5 s.
	LoadTimeout time.Duration

	// Relay is R, within which a row of the authority's outbox that nobody delivered is delivered. At least 10 ms; 0: 500 ms.
	// Only with an authority in SQL.
	Relay time.Duration
	// Settle is Bs, how long a Redis primary that was replaced may go on accepting. At most 24 h; 0: 25 s.
	Settle time.Duration
	// Listener wakes the relay when a foreign program changes a policy. nil: polling alone.
	Listener sqlsource.ListenFunc

	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry

	// Mirror is the original system's prefix, "aa": each document in Redis is then copied, as bare JSON, to
	// <Mirror>:policy:<hex32> for readers of that system; with a Tenant, "@<Tenant>:" begins the key. Letters, digits, '.', '_'
	// and '-', at most 128, the same in every process that mirrors. It needs Redis or Link, not a Cluster. What its readers
	// have is said at readthrough.Mirror; programs that write these keys themselves are outside of it. "": no mirror.
	Mirror string
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "policy"
	}
	if c.Bound == 0 {
		c.Bound = time.Second
	}
	if c.TTL == 0 {
		c.TTL = 5 * time.Minute
	}
	if c.NegativeTTL == 0 {
		c.NegativeTTL = min(10*time.Second, c.TTL)
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = 1 << 16
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 256 << 20
	}
	if c.LoadTimeout == 0 {
		c.LoadTimeout = 5 * time.Second
	}
	if c.Relay == 0 {
		c.Relay = 500 * time.Millisecond
	}
	if c.Settle == 0 {
		c.Settle = 25 * time.Second
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Nop
	}
	return c
}

// Validate says what New would refuse, with the field named. It makes nothing and does no I/O.
func (c Config) Validate() error { return c.withDefaults().validate() }

func (c Config) validate() error {
	switch {
	case layout.IsNil(c.Authority):
		return errNoAuthority
	case c.Redis != nil && c.Link != nil:
		return errors.New("policy: Config.Redis and Config.Link exclude each other")
	case c.Local != nil && !c.alone():
		return errors.New("policy: Config.Local is for a store without Redis")
	case c.Sole && (c.Redis != nil || c.Link != nil):
		return errors.New("policy: Config.Sole is for a store without Redis")
	case !layout.IsName(c.Name):
		return errors.New("policy: Config.Name may hold letters, digits, '.', '_' and '-' only, at most 128")
	case c.Tenant != "" && !layout.IsName(c.Tenant):
		return errors.New("policy: Config.Tenant may hold letters, digits, '.', '_' and '-' only, at most 128")
	case c.log() != nil && c.log().Tenant() != c.Tenant:
		return errors.New("policy: Config.Tenant must be the tenant of Config.Authority, got another")
	case c.NegativeTTL > day:
		return fmt.Errorf("policy: Config.NegativeTTL must be at most %s, got %s", day, c.NegativeTTL)
	}
	if err := c.validateMirror(); err != nil {
		return err
	}
	for _, f := range []struct {
		name          string
		got, min, max time.Duration
	}{
		{"Bound", c.Bound, 10 * time.Millisecond, time.Hour},
		{"Poll", c.Poll, 0, time.Hour},
		{"TTL", c.TTL, time.Millisecond, day},
		{"LoadTimeout", c.LoadTimeout, time.Millisecond, 10 * time.Minute},
		{"Relay", c.Relay, 10 * time.Millisecond, time.Hour},
		{"Settle", c.Settle, time.Millisecond, day},
	} {
		if f.got < f.min || f.got > f.max {
			return fmt.Errorf("policy: Config.%s must be from %s to %s, got %s", f.name, f.min, f.max, f.got)
		}
	}
	for _, f := range []struct {
		name     string
		got, max int64
	}{{"MaxEntries", c.MaxEntries, 1 << 28}, {"MaxBytes", c.MaxBytes, 1 << 50}} { // as readthrough.Config
		if f.got < 1 || f.got > f.max {
			return fmt.Errorf("policy: Config.%s must be from 1 to %d, got %d", f.name, f.max, f.got)
		}
	}
	if err := c.cache().Validate(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return nil
}

const day = 24 * time.Hour

// alone says that there is no Redis: then every process reads the authority's log for itself.
func (c Config) alone() bool { return c.Redis == nil && c.Link == nil }

// untold says that nobody would be told of what another process changes.
func (c Config) untold() bool {
	_, polled := c.Authority.(invalidation.Log)
	_, memory := c.Authority.(*Memory)
	return c.alone() && c.Local == nil && !c.Sole && !polled && !memory
}

// log is the authority's outbox; nil: it has none.
func (c Config) log() *sqlsource.Log {
	if a, ok := c.Authority.(Logged); ok {
		return a.Log()
	}
	return nil
}

// cache is the Config as the read path takes it.
func (c Config) cache() readthrough.Config[AgentID, *Document] {
	log, _ := c.Authority.(invalidation.Log)
	cfg := readthrough.Config[AgentID, *Document]{
		Name: c.Name, Tenant: c.Tenant, Loader: loader{c.Authority},
		Redis: c.Redis, Link: c.Link, Local: c.Local, Log: log, Poll: c.Poll, Sole: c.Sole,
		Bound: c.Bound, Mode: readthrough.FailClosed,
		TTL: c.TTL, NegativeTTL: c.NegativeTTL, MaxTTL: max(c.TTL, c.NegativeTTL),
		MaxEntries: c.MaxEntries, MaxCost: c.MaxBytes, Cost: cost,
		LoadTimeout: c.LoadTimeout, AwaitOther: min(500*time.Millisecond, c.LoadTimeout/2), Telemetry: c.Telemetry,
		MaxWire: 2 * MaxDocument, // a document at its own limit still fits
		Mirror:  c.mirror(),
	}
	if m, ok := c.Authority.(*Memory); ok {
		cfg.NoL2 = !c.alone() // it would outlive the process and the documents
		if c.alone() && c.Local == nil {
			cfg.Local = &m.bus // whoever shares the documents shares the changes
		}
	}
	return cfg
}

// cost of a document is the length of its JSON; an absence costs the least an entry can.
func cost(_ AgentID, d *Document) int64 {
	if d == nil {
		return 1
	}
	return int64(len(d.source))
}
