package runlog

import (
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/telemetry"
)

// Config describes a Store. Zero fields mean their defaults; only Backend is required.
type Config struct {
	// Backend keeps the runs: a *Redis, a *Memory, or another one that passes storetest.RunLogs. Required.
	Backend Backend
	// Link tells other processes of deleted runs, over Redis. It excludes Local.
	Link *invalidation.Link
	// Local tells the other stores of this process, and declares that no other process deletes runs. nil: with a Memory, its
	// own. Where there is neither Link nor Local nor Memory, nobody would be told, and Session always asks the Backend.
	Local *invalidation.Local
	// Name is the namespace of the session ids in memory; the same in every process. "": runs.
	Name string
	// Tenant is the Backend's, for the namespace. "": none.
	Tenant string
	// Bound is B: how old a session id in memory may be after its run was deleted. From 10 ms to 1 h; 0: 10 s.
	Bound time.Duration

	// MaxEvents of a run are kept, and up to a 64th more; a batch has no more events than that. From 1 to 10,000,000; 0: 10,000.
	// Redis packs the events of a batch, up to 64 or a 64th of these together, which makes batches fast.
	MaxEvents int64
	// MaxAge is when an event goes, with an append an eighth of it later at most, and when a run goes that nobody appends to.
	// From 1 ms to a year; 0: 7 days.
	MaxAge time.Duration
	// KeepAfterEnd is when a run goes after its terminal event. From 1 ms to a year; 0: 24 h.
	KeepAfterEnd time.Duration

	// TTL is how long a session id stays in memory: what a process that is killed in the middle of Delete may leave behind
	// elsewhere lives that long. From 1 ms to 24 h; 0: 1 min. It is never more than KeepAfterEnd, since nobody tells of an end.
	TTL time.Duration
	// TailTTL is how old the answer of Last may be. At most Bound and 10 s; 0: 1 s, or Bound if that is less. Negative: Last
	// always asks the Backend.
	TailTTL time.Duration
	// MaxEntries bounds the session ids, and as many tails, in memory. A tail has the event in it, unless that has more than 16
	// KiB: then Last asks the Backend. 0: 10,000.
	MaxEntries int64

	// Poll is how often a follower looks although nobody has told it of an event. From 10 ms to 1 min; 0: 1 s.
	Poll time.Duration
	// Patience is how long a follower goes on trying while the Backend fails. At most 24 h; 0: 30 s. Negative: not at all.
	Patience time.Duration

	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

func (c Config) withDefaults() Config {
	if m, ok := c.Backend.(*Memory); ok && m != nil && c.Link == nil && c.Local == nil {
		c.Local = &m.bus // whoever shares the runs shares the changes
	}
	if c.Name == "" {
		c.Name = "runs"
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Bound, 10 * time.Second},
		{&c.MaxAge, 7 * day},
		{&c.KeepAfterEnd, day},
		{&c.TTL, time.Minute},
		{&c.Poll, time.Second},
		{&c.Patience, 30 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if c.TailTTL == 0 {
		c.TailTTL = min(time.Second, c.Bound)
	}
	if c.MaxEvents == 0 {
		c.MaxEvents = 10_000
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = 10_000
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Nop
	}
	return c
}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// Validate says what New would refuse, with the field named. It makes nothing and does no I/O.
func (c Config) Validate() error { return c.withDefaults().validate() }

func (c Config) validate() error {
	switch {
	case layout.IsNil(c.Backend):
		return errors.New("runlog: Config.Backend is required")
	case c.Link != nil && c.Local != nil:
		return errors.New("runlog: Config.Link and Config.Local exclude each other")
	case !layout.IsName(c.Name):
		return errors.New("runlog: Config.Name must have from 1 to 128 letters, digits, '.', '_' or '-'")
	case c.Tenant != "" && !layout.IsName(c.Tenant):
		return errors.New("runlog: Config.Tenant must have from 1 to 128 letters, digits, '.', '_' or '-'")
	case c.TailTTL > min(c.Bound, 10*time.Second):
		return fmt.Errorf("runlog: Config.TailTTL must be at most Config.Bound and 10s, got %s", c.TailTTL)
	case c.Patience > day:
		return fmt.Errorf("runlog: Config.Patience must be at most %s, got %s", day, c.Patience)
	}
	if r, ok := c.Backend.(*Redis); ok && r.tenant != c.Tenant {
		return errors.New("runlog: Config.Tenant must be the Backend's") // not shown: a tenant is nobody else's business
	}
	for _, f := range []struct {
		name          string
		got, min, max time.Duration
	}{
		{"Bound", c.Bound, 10 * time.Millisecond, time.Hour},
		{"MaxAge", c.MaxAge, time.Millisecond, year},
		{"KeepAfterEnd", c.KeepAfterEnd, time.Millisecond, year},
		{"TTL", c.TTL, time.Millisecond, day},
		{"Poll", c.Poll, 10 * time.Millisecond, time.Minute},
	} {
		if f.got < f.min || f.got > f.max {
			return fmt.Errorf("runlog: Config.%s must be from %s to %s, got %s", f.name, f.min, f.max, f.got)
		}
	}
	for _, f := range []struct {
		name     string
		got, max int64
	}{{"MaxEvents", c.MaxEvents, 10_000_000}, {"MaxEntries", c.MaxEntries, 1 << 28}} {
		if f.got < 1 || f.got > f.max {
			return fmt.Errorf("runlog: Config.%s must be from 1 to %d, got %d", f.name, f.max, f.got)
		}
	}
	if err := c.cache().Validate(); err != nil {
		return fmt.Errorf("runlog: %w", err)
	}
	return nil
}

func (c Config) retention() Retention {
	return Retention{MaxEvents: c.MaxEvents, MaxAge: c.MaxAge, KeepAfterEnd: c.KeepAfterEnd}
}

// direct says that nobody would tell of a deleted run, so that nothing may stay in memory.
func (c Config) direct() bool { return c.Link == nil && c.Local == nil }

// cache is the Config of the session ids.
func (c Config) cache() readthrough.Config[string, string] {
	ttl := min(c.TTL, c.KeepAfterEnd)
	return readthrough.Config[string, string]{
		Name: c.Name, Tenant: c.Tenant, Loader: sessions{c.Backend, c.direct()}, Link: c.Link, NoL2: c.Link != nil, Local: c.Local,
		Bound: c.Bound, TTL: ttl, MaxTTL: ttl, NegativeTTL: -1, MaxEntries: c.MaxEntries, Telemetry: c.Telemetry,
	}
}
