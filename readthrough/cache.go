package readthrough

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l1"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// Cache is a read-through cache of V by K: L1 in the process, L2 in Redis, and a loader behind both. Safe for concurrent
// use. See the package's documentation.
type Cache[K comparable, V any] struct {
	// What every hit reads comes first.
	l1   *l1.Cache[K, *item[V]]
	only *invalidation.Lease // the one partition's lease; nil: there are several

	cfg     Config[K, V]
	bound   time.Duration
	keys    keyForm[K]
	codec   l2.Codec[V]
	limits  l2.Limits
	store   *l2.Store          // nil: no Redis
	link    *invalidation.Link // of this cache's own, nil otherwise
	bus     invalidation.Bus
	tokens  invalidation.Tokens
	tel     telemetry.Telemetry
	fences  *fences
	flights *flights[V]
	slots   *slots
	counts  counts
	behind  sync.WaitGroup // fills
	unwatch func()

	mu     sync.Mutex // guards the field below; held to begin a load or a change
	closed bool
	ended  chan struct{}  // made when Close begins, closed at its end
	active sync.WaitGroup // loads
}

// New makes a cache. It does no I/O itself: the first contact with Redis and the authority's log is made in the background,
// and a cache whose Redis is down reads the authority. Close ends it.
func New[K comparable, V any](cfg Config[K, V]) (*Cache[K, V], error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	keys, err := newKeyForm(cfg.ID, cfg.ParseID)
	if err != nil {
		return nil, err
	}
	c := &Cache[K, V]{
		cfg: cfg, bound: cfg.Bound, keys: keys, tel: cfg.Telemetry,
		codec:  cfg.Codec,
		limits: l2.Limits{MaxWire: cfg.MaxWire, MaxDecoded: cfg.MaxDecoded},
		fences: newFences(cfg.MaxTTL + cfg.LoadTimeout + time.Minute),
		slots:  newSlots(cfg.MaxLoads),
	}
	if c.codec == nil {
		c.codec = l2.DefaultCodec[V]()
	}
	memory := l1.Config[K, *item[V]]{MaxEntries: cfg.MaxEntries, MaxCost: cfg.MaxCost}
	if cfg.Cost != nil {
		memory.Cost = c.cost
	}
	if c.l1, err = l1.New(memory); err != nil {
		return nil, fmt.Errorf("readthrough: %w", err)
	}
	c.flights = &flights[V]{valid: c.l1.Valid, guard: c.l1.Guard, bound: min(cfg.Bound, 2*cfg.MaxTTL), lost: c.lost, live: map[string]*flight{}}
	if err := c.join(); err != nil {
		c.l1.Close()
		return nil, err
	}
	c.tokens = c.bus.Tokens()
	if c.store == nil || c.store.Partitions() == 1 {
		c.only = c.bus.Lease(0)
	}
	c.unwatch = c.tel.Watch(cfg.Name, c.snapshot)
	return c, nil
}

// cost is Config.Cost. An entry for which that panics is too large to be kept; an absence costs the least that an entry does.
func (c *Cache[K, V]) cost(key K, it *item[V]) (cost int64) {
	if it.absent {
		return 0
	}
	var err error
	defer func() {
		if err != nil {
			c.tel.Report(c.cfg.Name, "cost", err)
			cost = math.MaxInt64
		}
	}()
	defer recovered(&err)
	return c.cfg.Cost(key, it.value)
}

// join makes the cache a member of its namespace's bus.
func (c *Cache[K, V]) join() (err error) {
	cfg := &c.cfg
	m := invalidation.Membership{
		Namespace: scope(cfg.Name, cfg.Tenant), Target: target[K, V]{c}, Log: cfg.Log, Poll: cfg.Poll, Bound: cfg.Bound, Sole: cfg.Sole,
	}
	client := cfg.Redis
	if cfg.Link != nil {
		client = cfg.Link.Client()
	}
	if client == nil {
		local := cfg.Local
		if local == nil {
			local = &invalidation.Local{Telemetry: cfg.Telemetry}
		}
		c.bus, err = local.Join(m)
		return err
	}
	if c.store, err = c.newStore(client); err != nil {
		return fmt.Errorf("readthrough: Config.Redis: %w", err)
	}
	m.Store = c.store
	link := cfg.Link
	if link == nil {
		if link, err = invalidation.NewLink(invalidation.LinkConfig{Client: client, Telemetry: cfg.Telemetry}); err != nil {
			return err
		}
		c.link = link
	}
	c.bus, err = link.Join(m)
	return err
}

func (c *Cache[K, V]) newStore(client redis.UniversalClient) (*l2.Store, error) {
	return l2.New(l2.Config{
		Client: client, Namespace: c.cfg.Name, Tenant: c.cfg.Tenant, Partitions: c.cfg.Partitions,
		Lease: c.cfg.Bound, LoadTimeout: c.cfg.LoadTimeout, MaxWire: c.cfg.MaxWire, Mirror: c.cfg.Mirror.Prefix,
		Telemetry: c.cfg.Telemetry,
	})
}

// scope is the namespace with its tenant, as l2.Store.Scope.
func scope(name, tenant string) string {
	if tenant == "" {
		return name
	}
	return name + "@" + tenant
}

// enter counts a load in, unless the cache is closed.
func (c *Cache[K, V]) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.active.Add(1)
	return nil
}

// partition of an id.
func (c *Cache[K, V]) partition(id l2.ID) int {
	if c.store == nil {
		return 0
	}
	return c.store.Partition(id.Hash())
}

// Close ends the cache: reads and changes after it are ErrClosed. It waits for the loads and fills under way, gives up the
// lease and the registration, and tries to deliver what is pending, all until ctx ends. Safe to call twice: who comes later waits for
// the first, until ctx ends, and has no error but that.
func (c *Cache[K, V]) Close(ctx context.Context) error {
	c.mu.Lock()
	again := c.closed
	if !again {
		c.closed, c.ended = true, make(chan struct{})
	}
	ended := c.ended
	c.mu.Unlock()
	if again {
		select {
		case <-ended: // whatever became of ctx
			return nil
		default:
		}
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("readthrough: close %s: it is being closed: %w", c.cfg.Name, ctx.Err())
		}
	}
	defer close(ended)
	err := wait(ctx, func() {
		c.active.Wait()
		c.behind.Wait()
	})
	c.unwatch()
	err = errors.Join(err, c.bus.Close(ctx))
	if c.link != nil {
		err = errors.Join(err, c.link.Close(ctx))
	}
	c.l1.Close()
	if err != nil {
		return fmt.Errorf("readthrough: close %s: %w", c.cfg.Name, err)
	}
	return nil
}

// wait runs f until ctx ends.
func wait(ctx context.Context, f func()) error {
	done := make(chan struct{})
	go func() { // ends with f
		f()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
