package checkpoint

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
// closes.
type Config struct {
	// Backend keeps the threads. Required.
	Backend Backend
	// Link is the bus by which processes tell each other of saves; with it L1 is on. nil, and no Local: there is no L1, and
	// each Load asks the backend.
	Link *invalidation.Link
	// Local is the same for a backend that only this process uses. At most one of them.
	Local *invalidation.Local
	// Name is the namespace on the bus and in metrics: letters, digits, '.', '_' and '-', at most 128. "": checkpoints. It is
	// the same in every process, and another one for each backend.
	Name string
	// Tenant separates one tenant's L1 and bus from another's; same letters. "": none. It is the Backend's.
	Tenant string
	// Bound is B: how long after a save other processes may still load the state before it, without a token. From 10 ms to
	// 1 h; 0: 10 s.
	Bound time.Duration

	// TTL is how long a thread lives after its last save. Milliseconds count; from 1 ms to 10 years. 0: it has no end.
	TTL time.Duration
	// RefreshOnLoad lets a thread live for TTL after a load too. A Load that L1 answers does not ask the backend, so an
	// entry of L1 then lives for a quarter of TTL at most: a thread lives for at least three quarters of TTL after each load.
	RefreshOnLoad bool

	// L1TTL is how long an entry lives in L1, and with that how long a save stays unseen whose process died before it told
	// the others. From 1 ms to 1 h; 0: 10 s. It is never more than what is left of the thread, or TTL.
	L1TTL time.Duration
	// MaxEntries bounds the threads in L1. 0: 4096.
	MaxEntries int64
	// MaxBytes bounds the sum of their states in L1. 0: 64 MiB. A larger state is not kept there.
	MaxBytes int64

	// MaxState is the largest state in bytes. At most 256 MiB; 0: 16 MiB.
	MaxState int
	// CompressAbove compresses states from this many bytes on, with s2, which the original system cannot read. 0: none.
	CompressAbove int
	// LoadTimeout is the hard limit of a read of the backend on behalf of L1. From 1 ms to 10 min; 0: 5 s.
	LoadTimeout time.Duration

	// Foreign says that other programs write the threads and tell nobody. L1 is then off, SaveIf notices their writes and
	// List shows their threads.
	Foreign bool
	// ForeignTTL turns L1 on all the same, with no answer that is older than this. From 1 ms to 1 s; 0: off.
	ForeignTTL time.Duration

	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

const years = 365 * 24 * time.Hour

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "checkpoints"
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.Bound, 10 * time.Second}, {&c.L1TTL, 10 * time.Second}, {&c.LoadTimeout, 5 * time.Second}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = 4096
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.MaxState == 0 {
		c.MaxState = 16 << 20
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
	case layout.IsNil(c.Backend):
		return errors.New("checkpoint: Config.Backend is required")
	case c.Link != nil && c.Local != nil:
		return errors.New("checkpoint: Config.Link and Config.Local exclude each other")
	case !layout.IsName(c.Name):
		return errors.New("checkpoint: Config.Name may hold letters, digits, '.', '_' and '-' only, at most 128")
	case c.Tenant != "" && !layout.IsName(c.Tenant):
		return errors.New("checkpoint: Config.Tenant may hold letters, digits, '.', '_' and '-' only, at most 128")
	case c.RefreshOnLoad && c.TTL == 0:
		return errors.New("checkpoint: Config.RefreshOnLoad needs Config.TTL")
	case c.ForeignTTL != 0 && !c.Foreign:
		return errors.New("checkpoint: Config.ForeignTTL needs Config.Foreign")
	}
	if r, ok := c.Backend.(*Redis); ok && r.tenant != c.Tenant {
		return errors.New("checkpoint: Config.Tenant must be the Backend's") // not shown: a tenant is nobody else's business
	}
	for _, f := range []struct {
		name          string
		got, min, max time.Duration
		off           bool // 0 is allowed
	}{
		{"Bound", c.Bound, 10 * time.Millisecond, time.Hour, false},
		{"TTL", c.TTL, time.Millisecond, 10 * years, true},
		{"L1TTL", c.L1TTL, time.Millisecond, time.Hour, false},
		{"LoadTimeout", c.LoadTimeout, time.Millisecond, 10 * time.Minute, false},
		{"ForeignTTL", c.ForeignTTL, time.Millisecond, time.Second, true},
	} {
		if (f.got < f.min || f.got > f.max) && !(f.off && f.got == 0) {
			return fmt.Errorf("checkpoint: Config.%s must be from %s to %s, got %s", f.name, f.min, f.max, f.got)
		}
	}
	for _, f := range []struct {
		name          string
		got, min, max int64
	}{
		{"MaxEntries", c.MaxEntries, 1, 1 << 28},
		{"MaxBytes", c.MaxBytes, 1, 1 << 50},
		{"MaxState", int64(c.MaxState), 1, 256 << 20},
		{"CompressAbove", int64(c.CompressAbove), 0, 256 << 20},
	} {
		if f.got < f.min || f.got > f.max {
			return fmt.Errorf("checkpoint: Config.%s must be from %d to %d, got %d", f.name, f.min, f.max, f.got)
		}
	}
	if err := c.cache(loader{c}).Validate(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// cached says whether there is an L1.
func (c Config) cached() bool {
	return (c.Link != nil || c.Local != nil) && (!c.Foreign || c.ForeignTTL > 0)
}

// entryTTL is how long an entry may live in L1.
func (c Config) entryTTL() time.Duration {
	ttl := c.L1TTL
	if c.TTL > 0 { // a thread that is unpinned lives for TTL from then on, and nobody tells L1
		ttl = min(ttl, c.TTL)
	}
	if c.RefreshOnLoad {
		ttl = min(ttl, max(c.TTL/4, 1)) // what is less than a millisecond is one
	}
	if c.Foreign {
		ttl = min(ttl, c.ForeignTTL)
	}
	return ttl
}

// refresh is the TTL that a load gives.
func (c Config) refresh() time.Duration {
	if c.RefreshOnLoad {
		return c.TTL
	}
	return 0
}

// cache is the Config as the read path takes it. Absences are not kept: the thread that follows one is saved without waiting.
func (c Config) cache(l loader) readthrough.Config[string, State] {
	ttl := max(c.entryTTL(), time.Millisecond)
	return readthrough.Config[string, State]{
		Name: c.Name, Tenant: c.Tenant, Loader: l,
		Link: c.Link, NoL2: c.Link != nil, Local: c.Local,
		Bound: c.Bound, Mode: readthrough.FailClosed,
		TTL: ttl, MaxTTL: ttl, NegativeTTL: -1, Jitter: -1,
		MaxEntries: c.MaxEntries, MaxCost: c.MaxBytes, Cost: cost,
		LoadTimeout: c.LoadTimeout, AwaitOther: min(500*time.Millisecond, c.LoadTimeout/2), Telemetry: c.Telemetry,
	}
}

// cost of an entry is the length of its state; an empty one costs the least an entry can.
func cost(_ string, s State) int64 { return max(1, int64(len(s.Data))) }
