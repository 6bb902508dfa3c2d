package readthrough

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// Config describes a cache. Zero fields mean their defaults; only Name and Loader are required.
type Config[K comparable, V any] struct {
	// Name is the namespace: letters, digits, '.', '_' and '-', at most 128. Processes with the same Name on the same Redis
	// share it. Required.
	Name string
	// Tenant separates the keys of one tenant from another's; same letters. "": none.
	Tenant string
	// Loader reads the authority. Required. If it is a BatchLoader, GetMany calls it once.
	Loader Loader[K, V]

	// Redis reaches L2 and the bus; used and never closed. nil: no L2, and no other process hears of an invalidation except
	// through Log.
	Redis redis.UniversalClient
	// Link is a connection to the bus shared with other caches; its client is used. nil: a link of this cache's own, over
	// Redis. Used and never closed.
	Link *invalidation.Link
	// NoL2 keeps no values in Redis, which then carries invalidations and leases alone: for a Loader that reads Redis itself,
	// where one more copy beside the record would cost a round trip and save none. It needs Redis or Link.
	NoL2 bool
	// Local is the bus shared with other caches of this process where there is no Redis. nil: one of this cache's own.
	Local *invalidation.Local
	// Log is the authority's change log. It is polled as the backstop that does not trust Redis; without Redis it carries
	// the invalidations between processes. nil: there is none.
	Log invalidation.Log
	// Poll is V, how often Log is read when Redis carries the invalidations; without Redis it is read at least four times in
	// Bound, whatever Poll says. At most 1 h; 0: 5 s.
	Poll time.Duration
	// Sole declares that without Redis no other process reads the namespace, so that nothing is waited for.
	Sole bool

	// Bound is B: how old an answer of L1 may be after an invalidation was executed, whatever fails. From 10 ms to 1 h; 0: 10 s.
	// It costs 4/B renewals a second per process and partition.
	Bound time.Duration
	// Mode is FailClosed (zero) or ServeStale.
	Mode Mode
	// Partitions of the namespace, 1 to 1024, the same in every process. 0: 1, on a Redis Cluster 16.
	Partitions int

	// TTL is how long a record is kept in L2, and at most in L1, in whole milliseconds. From 1 ms to MaxTTL; 0: 5 min, or
	// MaxTTL if that is less.
	TTL time.Duration
	// NegativeTTL is the same for an absence. 0: 10 s, or MaxTTL if that is less. Negative: absences are not cached.
	NegativeTTL time.Duration
	// MaxTTL is the longest TTL a loader may set, and no load is joined for longer after it began; how long what must not come
	// back is remembered rests on it. 0: 24 h.
	MaxTTL time.Duration
	// Jitter is the part of a TTL that is taken off at random, so that what was loaded together does not end together. From 0
	// to 1. 0: 0.1. Negative: none.
	Jitter float64

	// MaxEntries bounds L1. 0: 65536.
	MaxEntries int64
	// MaxCost bounds the sum of Cost over L1. 0: MaxEntries.
	MaxCost int64
	// Cost of a record. It runs without a lock; a record whose Cost panics is not kept. An absence costs MaxCost/MaxEntries, the
	// least that an entry does. nil: 1 each.
	Cost func(K, V) int64

	// ID makes a key's id, which names it in Redis, on the bus and in Log: at most 1 KiB, different for different keys, the
	// same in every process. nil: the text form of K (MarshalText, a string, an integer).
	ID func(K) (string, error)
	// ParseID is the inverse of ID. nil with ID set: a row of Log drops its record even from an L1 that has it anew already.
	ParseID func(string) (K, error)
	// Codec turns values into bytes for L2. nil: l2.DefaultCodec.
	Codec l2.Codec[V]
	// Schema is the version of V's form. A value in L2 of another one is a miss.
	Schema uint32
	// Clone copies a value before a caller receives it; if it panics, that caller gets a *PanicError inside ErrUnavailable.
	// nil: callers share it and must not change it.
	Clone func(V) V
	// MaxWire bounds a value in L2 with its envelope, MaxDecoded its payload, in bytes. 0: 1 MiB and 8 MiB. A larger value is
	// answered and kept in L1 only.
	MaxWire, MaxDecoded int
	// Mirror keeps copies in Redis for readers of another system. The zero Mirror: none. It needs L2, and not on a Cluster.
	Mirror Mirror[V]

	// LoadTimeout is the hard limit of a load, L2 included, the same in every process. A caller leaves at its own deadline,
	// the load goes on for the others. From 1 ms to 10 min; 0: 5 s.
	LoadTimeout time.Duration
	// MaxLoads bounds the loads under way in the authority, fills included; more wait for a slot, within LoadTimeout. One key's
	// loads and fills take a quarter of them at most, or two. A loader that reads the same cache needs a slot for each
	// level. 0: 64.
	MaxLoads int
	// AwaitOther is how long a load waits for another process's load of the same key before it asks the authority itself.
	// At most half of LoadTimeout; 0: that, and no more than 500 ms.
	AwaitOther time.Duration

	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

func (c Config[K, V]) withDefaults() Config[K, V] {
	setDefault(&c.Bound, 10*time.Second)
	setDefault(&c.MaxTTL, 24*time.Hour)
	setDefault(&c.TTL, min(5*time.Minute, c.MaxTTL))
	setDefault(&c.NegativeTTL, min(10*time.Second, c.MaxTTL))
	setDefault(&c.Jitter, 0.1)
	setDefault(&c.MaxEntries, 1<<16)
	setDefault(&c.MaxDecoded, l2.DefaultMaxDecoded)
	setDefault(&c.MaxWire, l2.DefaultMaxWire)
	setDefault(&c.LoadTimeout, 5*time.Second)
	setDefault(&c.MaxLoads, 64)
	setDefault(&c.AwaitOther, min(500*time.Millisecond, c.LoadTimeout/2))
	if c.Jitter < 0 {
		c.Jitter = 0
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

// Validate says what New would refuse, with the field named; but whether another cache has the namespace on the bus already,
// New alone can say. It makes nothing and does no I/O.
func (c Config[K, V]) Validate() error {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return err
	}
	if _, err := newKeyForm(c.ID, c.ParseID); err != nil {
		return err
	}
	client := c.Redis
	if c.Link != nil {
		client = c.Link.Client()
	}
	if client == nil {
		return nil
	}
	if _, err := (&Cache[K, V]{cfg: c}).newStore(client); err != nil {
		return fmt.Errorf("readthrough: Config.Redis: %w", err)
	}
	return nil
}

func (c Config[K, V]) validate() error {
	switch {
	case !isWord(c.Name):
		return fmt.Errorf("readthrough: Config.Name %s, got %q", wordRule, c.Name)
	case c.Tenant != "" && !isWord(c.Tenant):
		return fmt.Errorf("readthrough: Config.Tenant %s", wordRule) // not shown: a tenant is nobody else's business
	case c.Loader == nil || missing(c.Loader):
		return errors.New("readthrough: Config.Loader is required")
	case c.Log != nil && unversioned(c.Loader):
		return errors.New("readthrough: Config.Log needs a Loader that answers with versions, which a LoaderFunc does not")
	case c.Redis != nil && c.Link != nil:
		return errors.New("readthrough: Config.Redis and Config.Link exclude each other")
	case c.NoL2 && c.Redis == nil && c.Link == nil:
		return errors.New("readthrough: Config.NoL2 is for a cache with Redis")
	case c.Local != nil && (c.Redis != nil || c.Link != nil):
		return errors.New("readthrough: Config.Local is for a cache without Redis")
	case c.Sole && (c.Redis != nil || c.Link != nil):
		return errors.New("readthrough: Config.Sole is for a cache without Redis")
	case c.ParseID != nil && c.ID == nil:
		return errors.New("readthrough: Config.ParseID needs Config.ID")
	}
	if err := c.validateMirror(); err != nil {
		return err
	}
	for _, f := range []struct {
		name          string
		got, min, max time.Duration
	}{
		{"Bound", c.Bound, 10 * time.Millisecond, time.Hour},
		{"MaxTTL", c.MaxTTL, time.Millisecond, 365 * 24 * time.Hour},
		{"TTL", c.TTL, time.Millisecond, c.MaxTTL},
		{"Poll", c.Poll, 0, time.Hour},
		{"LoadTimeout", c.LoadTimeout, time.Millisecond, 10 * time.Minute},
		{"AwaitOther", c.AwaitOther, 0, c.LoadTimeout / 2},
		{"Mode: ServeStale", c.Mode.stale, 0, 365 * 24 * time.Hour},
	} {
		if f.got < f.min || f.got > f.max {
			return fmt.Errorf("readthrough: Config.%s must be from %s to %s, got %s", f.name, f.min, f.max, f.got)
		}
	}
	for _, f := range []struct {
		name          string
		got, min, max int64
	}{
		{"Partitions", int64(c.Partitions), 0, 1024},
		{"MaxEntries", c.MaxEntries, 1, 1 << 28},
		{"MaxCost", c.MaxCost, 0, 1 << 50},
		{"MaxWire", int64(c.MaxWire), l2.EnvelopeOverhead, 1 << 29},
		{"MaxDecoded", int64(c.MaxDecoded), 1, 1 << 31},
		{"MaxLoads", int64(c.MaxLoads), 1, 1 << 20},
	} {
		if f.got < f.min || f.got > f.max {
			return fmt.Errorf("readthrough: Config.%s must be from %d to %d, got %d", f.name, f.min, f.max, f.got)
		}
	}
	switch {
	case c.NegativeTTL > c.MaxTTL:
		return fmt.Errorf("readthrough: Config.NegativeTTL must be at most Config.MaxTTL (%s), got %s", c.MaxTTL, c.NegativeTTL)
	case !(c.Jitter <= 1): // not a number neither
		return fmt.Errorf("readthrough: Config.Jitter must be at most 1, got %g", c.Jitter)
	}
	return nil
}

const wordRule = "must have from 1 to 128 letters, digits, '.', '_' or '-'"

// isWord holds what a name may consist of: nothing that separates or matches anything in a Redis key.
func isWord(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// missing says whether a loader is a function that was not given.
func missing[K comparable, V any](l Loader[K, V]) bool {
	f, ok := l.(LoaderFunc[K, V])
	return ok && f == nil
}

// unversioned says whether a loader is known never to answer with a version.
func unversioned[K comparable, V any](l Loader[K, V]) bool {
	_, ok := l.(LoaderFunc[K, V])
	return ok
}
