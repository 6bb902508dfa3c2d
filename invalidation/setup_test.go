package invalidation_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/telemetry"
)

const (
	bound    = 500 * time.Millisecond // B: a machine that stands still for less than this takes no lease away
	margin   = 10 * time.Millisecond  // protocol.Margin(bound)
	slack    = time.Second            // what a busy machine may add
	patience = 10 * time.Second
)

// recorder is a cache that notes, in order, what its bus tells it.
type recorder struct {
	mu     sync.Mutex
	events []string

	before func(event string) // called first thing in each call, if set; guarded by mu
}

func (r *recorder) add(format string, args ...any) {
	event := fmt.Sprintf(format, args...)
	r.mu.Lock()
	before := r.before
	r.mu.Unlock()
	if before != nil {
		before(event)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *recorder) Evict(hashes []uint64) {
	for _, h := range hashes {
		r.add("evict %d", h)
	}
}

func (r *recorder) Flush() { r.add("flush") }

func (r *recorder) Invalidated(ids []l2.ID, asOf uint64) {
	for _, id := range ids {
		r.add("own %s %d", id, asOf)
	}
}

func (r *recorder) Raise(id string, asOf uint64) { r.add("raise %s %d", id, asOf) }
func (r *recorder) RaiseAll(asOf uint64)         { r.add("raise all %d", asOf) }
func (r *recorder) Rewind()                      { r.add("rewind") }

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// count answers how many events begin with prefix.
func (r *recorder) count(prefix string) (n int) {
	for _, e := range r.all() {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

// voids answers how often what is kept of an id was voided.
func (r *recorder) voids(id l2.ID) int {
	return r.count(fmt.Sprintf("evict %d", id.Hash())) + r.count("flush") + r.count("raise all") +
		r.count("own "+id.String()+" ") + r.count("raise "+id.String()+" ")
}

// counter is a telemetry that counts.
type counter struct {
	telemetry.Telemetry
	mu      sync.Mutex
	events  map[telemetry.Event]int64
	lags    []time.Duration
	reports []string
	told    map[string]bool // namespaces

	before func(ev telemetry.Event) // called first thing in each Count, if set; guarded by mu
}

func newCounter() *counter {
	return &counter{Telemetry: telemetry.Nop, events: map[telemetry.Event]int64{}, told: map[string]bool{}}
}

func (c *counter) Count(namespace string, ev telemetry.Event, n int64) {
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before != nil {
		before(ev)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[ev] += n
	c.told[namespace] = true
}

func (c *counter) Observe(_ string, m telemetry.Measure, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m == telemetry.InvalidationLag {
		c.lags = append(c.lags, d)
	}
}

func (c *counter) Report(namespace, op string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports = append(c.reports, op+": "+err.Error())
	c.told[namespace] = true
}

func (c *counter) of(ev telemetry.Event) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[ev]
}

func (c *counter) namespaces() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.told))
}

func (c *counter) lagged() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lags)
}

func (c *counter) reported() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.reports)
}

// process is a member of a bus over Redis, with a link of its own as another process would have.
type process struct {
	*invalidation.Redis
	t      *testing.T
	link   *invalidation.Link
	store  *l2.Store
	target *recorder
	tel    *counter
}

// setting changes how a process joins.
type setting struct {
	store  func(c *l2.Config)
	member func(m *invalidation.Membership)
	unread bool // nobody reads L1
}

func join(t *testing.T, client redis.UniversalClient, settings ...setting) *process {
	t.Helper()
	p := &process{t: t, target: &recorder{}, tel: newCounter()}
	cfg := l2.Config{Client: client, Namespace: "ns", Lease: bound}
	member := invalidation.Membership{Target: p.target}
	read := true
	for _, s := range settings {
		if s.store != nil {
			s.store(&cfg)
		}
		if s.member != nil {
			s.member(&member)
		}
		read = read && !s.unread
	}
	var err error
	if p.store, err = l2.New(cfg); err != nil {
		t.Fatal(err)
	}
	if p.link, err = invalidation.NewLink(invalidation.LinkConfig{Client: client, Telemetry: p.tel}); err != nil {
		t.Fatal(err)
	}
	member.Store = p.store
	if p.Redis, err = p.link.Join(member); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Close(ctx) // what could not be delivered is the test's business
		if err := p.link.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if read {
		reading(t, p)
	}
	return p
}

// reading reads L1 all the time, as far as the bus can tell.
func reading(t *testing.T, b invalidation.Bus) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.Lease(0).Valid(invalidation.Now())
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
}

// leased waits for a lease of every process.
func leased(t *testing.T, ps ...*process) {
	t.Helper()
	for _, p := range ps {
		redistest.Eventually(t, patience, "lease", func() bool { return p.Lease(0).Valid(invalidation.Now()) })
	}
}

// ripe waits until acks count for p: it has known the epoch for B.
func ripe(t *testing.T, ps ...*process) {
	t.Helper()
	leased(t, ps...)
	for _, p := range ps {
		if err := p.Invalidate(t.Context(), []l2.ID{id(t, "ripe")}, 0).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func id(t testing.TB, raw string) l2.ID {
	t.Helper()
	id, err := l2.NewID(raw)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// invalidate executes an invalidation of one id.
func (p *process) invalidate(raw string) *invalidation.Receipt {
	p.t.Helper()
	return p.Invalidate(p.t.Context(), []l2.ID{id(p.t, raw)}, 0)
}

// timed answers how long a wait took, and requires that it succeeds.
func timed(t *testing.T, r *invalidation.Receipt) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	if err := r.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// quick requires that an invalidation can be in force within limit: one of several, since the machine may be busy.
func quick(t *testing.T, b invalidation.Bus, limit time.Duration) {
	t.Helper()
	best := time.Hour
	for range 20 {
		if best = min(best, timed(t, b.Invalidate(t.Context(), []l2.ID{id(t, "quick")}, 0))); best <= limit {
			return
		}
	}
	t.Fatalf("waited %s at best, want at most %s", best, limit)
}

// key is the name of one of partition 0's keys.
func key(suffix string) string { return "lc:{ns.0}:" + suffix }

// registered answers a process's registration, "" if there is none.
func registered(client redis.UniversalClient, process string) string {
	return client.HGet(context.Background(), key("a"), process).Val()
}

// ghost is the id of a process that will never answer.
const ghost = "ghost"

// haunt registers the ghost: it has applied nothing of the current epoch.
func haunt(t *testing.T, p *process) {
	t.Helper()
	r := l2.Renew(t.Context(), p.store.Client(), []l2.Renewal{{Store: p.store, Process: ghost}})[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
}

// each runs a story on miniredis and on a real server.
func each(t *testing.T, story func(t *testing.T, client redis.UniversalClient, real bool)) {
	t.Helper()
	redistest.Each(t, story)
}

// split is a client whose subscription goes another way than its commands.
type split struct {
	*redis.Client
	sub redis.UniversalClient
}

func (c split) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	return c.sub.Subscribe(ctx, channels...)
}

// splitVia is a client of a real server whose subscription alone goes through the proxy.
func splitVia(direct redis.UniversalClient, proxy *redistest.Proxy) redis.UniversalClient {
	return split{Client: direct.(*redis.Client), sub: proxy.Client()}
}
