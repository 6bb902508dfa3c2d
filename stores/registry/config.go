package registry

import (
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

// Config describes a Store. Zero fields mean their defaults; only Backend is required. What it is given it uses and never
// closes. TTL, Grace and Bound are the same in every process of a registry.
type Config struct {
	// Backend keeps the agents. Required.
	Backend Backend
	// Link is the bus over Redis, shared with other stores. nil: a link of this store's own if Backend is a *Redis, none if it is
	// another.
	Link *invalidation.Link
	// Local is the bus of this process, shared with other stores, where there is no Link. nil: that of a *Memory backend, or one
	// of this store's own. Without a Link, where the Backend has no log to poll either, nor is there Local, Sole or a *Memory,
	// nobody would be told, and memory is off: every read asks the Backend.
	Local *invalidation.Local
	// Name is the namespace of the bus: letters, digits, '.', '_' and '-', at most 128. "": registry. Stores over one Backend
	// have the same Name and Tenant.
	Name string
	// Tenant separates one tenant's messages from another's; same letters. "": none. It is the Backend's tenant.
	Tenant string
	// Sole declares that without a Link no other process changes the agents, so that nothing is waited for.
	Sole bool

	// TTL is how long an agent stays without a heartbeat or a registration. From 1 ms to 24 h; 0: 5 min.
	TTL time.Duration
	// Grace is added to the silence that Reap is asked for, so that a missed beat is no death. It is also how long the registry
	// may hear nothing from anybody before that is taken for an outage of its own: Reap then gives everybody the whole silence
	// anew. From 0 to 24 h; 0: 30 s, three beats of agents that beat every 10 s. Negative: none.
	Grace time.Duration

	// MaxAge is how long one list of the agents is answered from memory. It is how old LastHeartbeat may be in it, and how long
	// a change may go unseen whose writer died between making and telling it. From 1 ms to 1 h; 0: 10 s.
	MaxAge time.Duration
	// Mode is FailClosed (zero), or ServeStale: the last list is then answered for a while past its end when the backend does
	// not answer. Nothing is answered with "none" instead.
	Mode readthrough.Mode
	// Foreign declares that other programs write the backend without a message, as those of the original system do. Every read
	// then asks the backend, and List, Find, Reap and Flush make a Redis scan its keyspace.
	Foreign bool
	// ForeignTTL lets memory answer for so long although programs write without a message: from 1 ms to 1 s. 0: it does not.
	ForeignTTL time.Duration

	// Bound is B: how old an answer may be after a change was executed and told, whatever fails. From 10 ms to 1 h; 0: 1 s.
	Bound time.Duration
	// Poll is V, how often the backend's change log, if it has one, is read with a Link; without it is read at least four times
	// in Bound, whatever Poll says. At most 1 h; 0: 5 s.
	Poll time.Duration
	// LoadTimeout is the hard limit of a read of all agents. From 1 ms to 10 min; 0: 5 s.
	LoadTimeout time.Duration

	// Relay is R, within which a row of a SQL backend's outbox that nobody delivered is delivered. At least 10 ms; 0: 500 ms.
	Relay time.Duration
	// Settle is Bs, how long a Redis primary that was replaced may go on accepting. At most 24 h; 0: 25 s.
	Settle time.Duration
	// Listener wakes the relay when a foreign program changes an agent in a SQL backend. nil: polling alone.
	Listener sqlsource.ListenFunc

	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

func (c Config) withDefaults() Config {
	setDefault(&c.Name, "registry")
	setDefault(&c.TTL, 5*time.Minute)
	setDefault(&c.Grace, 30*time.Second)
	setDefault(&c.MaxAge, 10*time.Second)
	setDefault(&c.Bound, time.Second)
	setDefault(&c.LoadTimeout, 5*time.Second)
	setDefault(&c.Relay, 500*time.Millisecond)
	setDefault(&c.Settle, 25*time.Second)
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Nop
	}
	if c.Grace < 0 {
		c.Grace = 0
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate says what New would refuse, with the field named. It makes nothing and does no I/O.
func (c Config) Validate() error { return c.withDefaults().validate() }

func (c Config) validate() error {
	switch {
	case layout.IsNil(c.Backend):
		return errors.New("registry: Config.Backend is required: somebody must know the agents")
	case c.Link != nil && c.Local != nil:
		return errors.New("registry: Config.Link and Config.Local exclude each other")
	case c.Sole && c.Link != nil:
		return errors.New("registry: Config.Sole is for a store without a Link")
	case !layout.IsName(c.Name):
		return errors.New("registry: Config.Name must have from 1 to 128 letters, digits, '.', '_' or '-'")
	case c.Tenant != "" && !layout.IsName(c.Tenant):
		return errors.New("registry: Config.Tenant must have from 1 to 128 letters, digits, '.', '_' or '-'")
	case c.ForeignTTL != 0 && !c.Foreign:
		return errors.New("registry: Config.ForeignTTL needs Config.Foreign")
	}
	if b, ok := c.Backend.(interface{ Tenant() string }); ok && b.Tenant() != c.Tenant {
		return errors.New("registry: Config.Tenant must be the Backend's tenant, got another one")
	}
	if c.ForeignTTL != 0 && (c.ForeignTTL < time.Millisecond || c.ForeignTTL > time.Second) {
		return fmt.Errorf("registry: Config.ForeignTTL must be 0 or from 1ms to 1s, got %s", c.ForeignTTL)
	}
	for _, f := range []struct {
		name          string
		got, min, max time.Duration
	}{
		{"TTL", c.TTL, time.Millisecond, day},
		{"Grace", c.Grace, 0, day},
		{"MaxAge", c.MaxAge, time.Millisecond, time.Hour},
		{"Bound", c.Bound, 10 * time.Millisecond, time.Hour},
		{"Poll", c.Poll, 0, time.Hour},
		{"LoadTimeout", c.LoadTimeout, time.Millisecond, 10 * time.Minute},
		{"Relay", c.Relay, 10 * time.Millisecond, time.Hour},
		{"Settle", c.Settle, time.Millisecond, day},
	} {
		if f.got < f.min || f.got > f.max {
			return fmt.Errorf("registry: Config.%s must be from %s to %s, got %s", f.name, f.min, f.max, f.got)
		}
	}
	if err := c.cache().Validate(); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}

const day = 24 * time.Hour

// terms are what the backend is told.
func (c Config) terms() Terms { return Terms{TTL: c.TTL, Grace: c.Grace, Foreign: c.Foreign} }

// age is how long memory may answer with one list.
func (c Config) age() time.Duration {
	if c.ForeignTTL > 0 {
		return min(c.MaxAge, c.ForeignTTL)
	}
	return c.MaxAge
}

// fresh says that memory may not answer at all.
func (c Config) fresh() bool { return c.Foreign && c.ForeignTTL == 0 || c.untold() }

// untold says that nobody would be told of what another process changes.
func (c Config) untold() bool {
	switch c.Backend.(type) {
	case *Memory, *Redis:
		return false // they bring a bus
	}
	return c.Link == nil && c.Local == nil && !c.Sole && c.log() == nil
}

// log is the backend's change log, nil if it has none.
func (c Config) log() invalidation.Log {
	if log, ok := c.Backend.(invalidation.Log); ok {
		return oneKey{log}
	}
	return nil
}

// cache is the Config as the read path takes it.
func (c Config) cache() readthrough.Config[string, *snapshot] {
	return readthrough.Config[string, *snapshot]{
		Name: c.Name, Tenant: c.Tenant, Loader: loader{c.Backend, c.terms(), c.age()},
		Link: c.Link, NoL2: c.Link != nil, Local: c.Local, Log: c.log(), Poll: c.Poll, Sole: c.Sole,
		Bound: c.Bound, Mode: c.Mode, Partitions: 1, TTL: c.age(), MaxTTL: c.age(), NegativeTTL: -1, MaxEntries: 16,
		LoadTimeout: c.LoadTimeout, Telemetry: c.Telemetry,
	}
}
