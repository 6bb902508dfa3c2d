package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/telemetry"
)

// Config describes a Store. Zero fields mean their defaults; only Backend is required. What it is given it uses and never
// closes. Stores of one set of sessions have the same Name, Tenant, TTL, Bound and kind of bus in every process.
type Config struct {
	// Backend keeps the sessions. Required.
	Backend Backend
	// Link tells other processes of changes, over Redis. It excludes Local.
	Link *invalidation.Link
	// Local tells the other stores of this process, and declares that no other process writes the sessions. nil: with a
	// Memory, its own. Where there is neither Link nor Local nor Memory, nobody would be told, and memory is off: every Load
	// asks the Backend.
	Local *invalidation.Local
	// Name is the namespace on the bus: letters, digits, '.', '_' and '-', at most 128. "": sessions.
	Name string
	// Tenant is the tenant whose sessions these are; same letters. "": none. It is the Backend's.
	Tenant string

	// TTL is how long a session lives after it was saved or touched, in whole milliseconds. From 1 ms to 365 days; 0: 1 h.
	TTL time.Duration
	// RearmOnLoad lets a session live on for TTL when it is loaded. An answer from memory re-arms nothing: with it, memory
	// keeps no session for more than a quarter of TTL, so that a session lives at least ¾ of TTL after its last Load.
	RearmOnLoad bool

	// Bound is B: how old an answer may be after a change was executed, whatever fails. From 10 ms to 1 h; 0: 10 s.
	Bound time.Duration
	// Mode is FailClosed (zero) or ServeStale, which also answers with sessions whose time to live has ended meanwhile.
	Mode readthrough.Mode
	// MemoryTTL is how long memory keeps an answer at most, however long the session lives: the bound where a writer dies
	// between its write and the telling. From 1 ms to 1 h; 0: 10 s. Negative: memory is off.
	MemoryTTL time.Duration
	// MaxEntries bounds the sessions in memory. 0: 65536.
	MaxEntries int64
	// LoadTimeout is the hard limit of a read that reaches the Backend. From 1 ms to 10 min; 0: 5 s.
	LoadTimeout time.Duration

	// Foreign says that other programs write these sessions, and tell nobody. Memory is off then, unless ForeignTTL is set.
	Foreign bool
	// ForeignTTL is how old an answer may then be. From 1 ms to 1 s; 0: no answer comes from memory. Only with Foreign.
	ForeignTTL time.Duration

	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

func (c Config) withDefaults() Config {
	setDefault(&c.Name, "sessions")
	setDefault(&c.TTL, time.Hour)
	setDefault(&c.Bound, 10*time.Second)
	setDefault(&c.MemoryTTL, 10*time.Second)
	setDefault(&c.MaxEntries, 1<<16)
	setDefault(&c.LoadTimeout, 5*time.Second)
	if m, ok := c.Backend.(*Memory); ok && m != nil && c.Link == nil && c.Local == nil {
		c.Local = &m.bus // whoever shares the sessions shares the changes
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Nop
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
		return errors.New("session: Config.Backend is required")
	case c.Link != nil && c.Local != nil:
		return errors.New("session: Config.Link and Config.Local exclude each other")
	case !layout.IsName(c.Name):
		return errors.New("session: Config.Name must have from 1 to 128 letters, digits, '.', '_' or '-'")
	case c.Tenant != "" && !layout.IsName(c.Tenant):
		return errors.New("session: Config.Tenant must have from 1 to 128 letters, digits, '.', '_' or '-'")
	case c.TTL%time.Millisecond != 0:
		return fmt.Errorf("session: Config.TTL must be whole milliseconds, got %s", c.TTL)
	case c.MaxEntries < 1:
		return fmt.Errorf("session: Config.MaxEntries must be > 0, got %d", c.MaxEntries)
	case c.ForeignTTL != 0 && !c.Foreign:
		return errors.New("session: Config.ForeignTTL must be 0 without Config.Foreign")
	}
	if r, ok := c.Backend.(*Redis); ok && r.tenant != c.Tenant {
		return errors.New("session: Config.Tenant must be the Backend's") // not shown: a tenant is nobody else's business
	}
	for _, f := range []struct {
		name          string
		got, min, max time.Duration
	}{
		{"TTL", c.TTL, time.Millisecond, 365 * 24 * time.Hour},
		{"Bound", c.Bound, 10 * time.Millisecond, time.Hour},
		{"MemoryTTL", c.MemoryTTL, time.Millisecond, time.Hour},
		{"LoadTimeout", c.LoadTimeout, time.Millisecond, 10 * time.Minute},
		{"ForeignTTL", c.ForeignTTL, time.Millisecond, time.Second},
	} {
		switch {
		case f.name == "ForeignTTL" && f.got == 0, f.name == "MemoryTTL" && c.MemoryTTL < 0:
		case f.got < f.min || f.got > f.max:
			return fmt.Errorf("session: Config.%s must be from %s to %s, got %s", f.name, f.min, f.max, f.got)
		}
	}
	if err := c.cache(loader{backend: c.Backend, keep: c.keep()}).Validate(); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}

// keep is how long memory keeps an answer at most. 0: memory is off.
func (c Config) keep() time.Duration {
	keep := max(0, c.MemoryTTL)
	if c.Foreign {
		keep = min(keep, c.ForeignTTL)
	}
	if c.RearmOnLoad {
		keep = min(keep, c.TTL/4)
	}
	if keep < time.Millisecond || c.Link == nil && c.Local == nil {
		return 0
	}
	return keep
}

// cache is the Config as the read path takes it.
func (c Config) cache(l loader) readthrough.Config[ID, answer] {
	keep := max(l.keep, time.Millisecond)
	cfg := readthrough.Config[ID, answer]{
		Name: c.Name, Tenant: c.Tenant, Loader: l, Link: c.Link, NoL2: c.Link != nil, Local: c.Local,
		Bound: c.Bound, Mode: c.Mode, TTL: keep, MaxTTL: keep, NegativeTTL: -1, MaxEntries: c.MaxEntries,
		LoadTimeout: c.LoadTimeout, Telemetry: c.Telemetry,
	}
	if l.keep > 0 {
		cfg.NegativeTTL = l.keep
	}
	return cfg
}
