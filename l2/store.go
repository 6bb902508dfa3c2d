package l2

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/telemetry"
)

// Config describes one namespace in Redis.
type Config struct {
	// Client reaches the Redis that holds the namespace. Required, checked by CheckClient, used and never closed.
	Client redis.UniversalClient
	// Namespace names the cache. Required; letters, digits, '.', '_' and '-' only, at most 128 of them.
	Namespace string
	// Tenant separates the keys of one tenant from another's. Same letters; empty means none.
	Tenant string
	// Partitions is P, from 1 to 1024. 0 means 1, on a Cluster 16. It cannot change while the namespace lives.
	Partitions int
	// Lease is B: how long a process may answer from memory after a renewal. 0 means 10 s; at least 10 ms.
	Lease time.Duration
	// LoadTimeout is the longest a load may last. 0 means 5 s; at least 1 ms. A fill lease lasts 1 s longer, a fence
	// twice as long and 10 s more.
	LoadTimeout time.Duration
	// MaxWire is the longest envelope in bytes, written or read. 0 means 1 MiB.
	MaxWire int
	// Mirror is what the keys of mirrors begin with: of a value in Redis, a second copy for readers of another system, bare and
	// under <Mirror><id>. It holds letters, digits, '.', '_', '-', ':' and '@', and is the same in every process that has one;
	// only Fill.Mirror needs it. Refused with a Cluster client: a mirror shares no slot with its value. "": none.
	Mirror string
	// Telemetry is told of every call. nil means telemetry.Nop.
	Telemetry telemetry.Telemetry
}

func (c Config) withDefaults() Config {
	if c.Partitions == 0 {
		c.Partitions = 1
		if _, ok := c.Client.(clusterOptions); ok {
			c.Partitions = 16
		}
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Second
	}
	if c.LoadTimeout == 0 {
		c.LoadTimeout = 5 * time.Second
	}
	if c.MaxWire == 0 {
		c.MaxWire = DefaultMaxWire
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Nop
	}
	return c
}

func (c Config) validate() error {
	if err := CheckClient(c.Client); err != nil {
		return err
	}
	if err := checkWord("Namespace", c.Namespace); err != nil {
		return err
	}
	if c.Tenant != "" {
		if err := checkWord("Tenant", c.Tenant); err != nil {
			return err
		}
	}
	if err := c.checkMirror(); err != nil {
		return err
	}
	switch {
	case c.Partitions < 1 || c.Partitions > 1024:
		return fmt.Errorf("l2: Config.Partitions must be from 1 to 1024, got %d", c.Partitions)
	case c.Lease < 10*time.Millisecond:
		return fmt.Errorf("l2: Config.Lease must be at least 10ms, got %s", c.Lease)
	case c.LoadTimeout < time.Millisecond:
		return fmt.Errorf("l2: Config.LoadTimeout must be at least 1ms, got %s", c.LoadTimeout)
	case c.MaxWire < EnvelopeOverhead:
		return fmt.Errorf("l2: Config.MaxWire must be at least %d, got %d", EnvelopeOverhead, c.MaxWire)
	}
	return nil
}

func (c Config) checkMirror() error {
	if _, ok := c.Client.(clusterOptions); ok && c.Mirror != "" {
		return errors.New("l2: Config.Mirror is for a standalone Redis")
	}
	if len(c.Mirror) > maxMirror || strings.HasPrefix(c.Mirror, ownPrefix) {
		return fmt.Errorf("l2: Config.Mirror must have at most %d characters and not begin with %q", maxMirror, ownPrefix)
	}
	for i := range len(c.Mirror) {
		if !plain(c.Mirror[i]) && c.Mirror[i] != '@' {
			return errors.New("l2: Config.Mirror may hold letters, digits, '.', '_', '-', ':' and '@' only") // it may name a tenant
		}
	}
	return nil
}

// maxMirror is room for a tenant and a prefix of 128 characters each.
const maxMirror = 300

// ownPrefix begins every key of this package.
const ownPrefix = "lc:"

func checkWord(field, s string) error {
	if s == "" || len(s) > 128 {
		return fmt.Errorf("l2: Config.%s must have from 1 to 128 characters, got %d", field, len(s))
	}
	for i := range len(s) {
		if !word(s[i]) {
			return fmt.Errorf("l2: Config.%s may hold letters, digits, '.', '_' and '-' only", field) // a tenant is not shown
		}
	}
	return nil
}

// Store is one namespace in Redis. It is safe for concurrent use, starts nothing and needs no Close.
type Store struct {
	client      redis.UniversalClient
	namespace   string
	scope       string
	lease       time.Duration
	loadTimeout time.Duration
	maxWire     int
	mirror      string
	tel         telemetry.Telemetry
	parts       []partition

	longest  atomic.Int64 // longest B in ms this process has used or seen stored
	degraded atomic.Bool  // the last attempt to publish was refused
}

// partition holds the names that never change, so that a call builds none of them again.
type partition struct {
	prefix  string    // lc:{scope.part}:
	channel string    // prefix + ch
	state   [4]string // e s b a
}

// New makes a Store without any I/O.
func New(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		client:      cfg.Client,
		namespace:   cfg.Namespace,
		scope:       cfg.Namespace,
		lease:       cfg.Lease,
		loadTimeout: cfg.LoadTimeout,
		maxWire:     cfg.MaxWire,
		mirror:      cfg.Mirror,
		tel:         cfg.Telemetry,
		parts:       make([]partition, cfg.Partitions),
	}
	if cfg.Tenant != "" {
		s.scope += "@" + cfg.Tenant
	}
	s.longest.Store(millis(cfg.Lease))
	for i := range s.parts {
		prefix := ownPrefix + "{" + s.scope + "." + strconv.Itoa(i) + "}:"
		s.parts[i] = partition{
			prefix:  prefix,
			channel: prefix + "ch",
			state:   [4]string{prefix + "e", prefix + "s", prefix + "b", prefix + "a"},
		}
	}
	return s, nil
}

// Partitions is P.
func (s *Store) Partitions() int { return len(s.parts) }

// Partition answers the partition of an id by its hash. It depends on the hash's upper bits, so that what divides ids
// by the lower ones stays independent of it.
func (s *Store) Partition(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(s.parts)))
	return int(hi)
}

// Namespace is the namespace without its tenant, as telemetry may show it.
func (s *Store) Namespace() string { return s.namespace }

// Scope is the namespace and its tenant: what an envelope is bound to beside its id.
func (s *Store) Scope() string { return s.scope }

// Lease is B.
func (s *Store) Lease() time.Duration { return s.lease }

// LoadTimeout is the longest a load may last.
func (s *Store) LoadTimeout() time.Duration { return s.loadTimeout }

// MaxWire is the longest envelope in bytes.
func (s *Store) MaxWire() int { return s.maxWire }

// Client is the client of the Config.
func (s *Store) Client() redis.UniversalClient { return s.client }

// Channel is the pub/sub channel of a partition.
func (s *Store) Channel(part int) string { return s.parts[part].channel }

func (s *Store) fillLease() time.Duration { return s.loadTimeout + time.Second }
func (s *Store) fenceLife() time.Duration { return 2*s.loadTimeout + 10*time.Second }

// LongestLease is the longest B that any process of the namespace may hold a lease of, as far as an answer has told: at
// least this Store's own. After an Invalidate or a Reset it covers every lease given before that was executed.
func (s *Store) LongestLease() time.Duration {
	return time.Duration(s.longest.Load()) * time.Millisecond
}

// sawLease remembers the longest B that any process of the namespace may hold a lease of, for the next epoch's birth.
func (s *Store) sawLease(d time.Duration) {
	for ms := millis(d); ; {
		old := s.longest.Load()
		if ms <= old || s.longest.CompareAndSwap(old, ms) {
			return
		}
	}
}

// millis rounds up: a term that was cut would end before the one it stands for.
func millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
