package readthrough_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

type (
	cache  = readthrough.Cache[string, int]
	config = readthrough.Config[string, int]
	loaded = readthrough.Loaded[int]
	batch  = readthrough.Batch[string, int]
)

// source is an authority in memory, whose records are numbers. It reads first and then calls on, so that a test can keep
// what was read on its way for as long as it likes.
type source struct {
	versioned bool // answers with as-of
	on        func(ctx context.Context, key string) error

	loads, batches atomic.Int64

	mu      sync.Mutex // guards the fields below
	records map[string]int
	version uint64
	err     error
}

var errBroken = errors.New("the authority is broken")

func newSource(records map[string]int) *source {
	return &source{records: maps.Clone(records), version: 1}
}

// put changes a record and answers the version of the change.
func (s *source) put(key string, value int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = map[string]int{}
	}
	s.records[key] = value
	s.version++
	return s.version
}

// fail makes loads fail until it is called with nil.
func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *source) read(key string) (l loaded, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return l, s.err
	}
	if s.versioned {
		l.AsOf = s.version
	}
	v, ok := s.records[key]
	if !ok {
		return l, readthrough.ErrNotFound
	}
	l.Value = v
	return l, nil
}

func (s *source) Load(ctx context.Context, key string) (loaded, error) {
	s.loads.Add(1)
	l, err := s.read(key)
	if s.on != nil {
		if err := s.on(ctx, key); err != nil {
			return loaded{}, err
		}
	}
	return l, err
}

// batcher is a source that can read several records in one call.
type batcher struct{ *source }

func (b batcher) LoadMany(ctx context.Context, keys []string) (batch, error) {
	b.batches.Add(1)
	answer := batch{Found: map[string]loaded{}}
	for _, key := range keys {
		l, err := b.read(key)
		switch {
		case err == nil:
			answer.Found[key] = l
			answer.AsOf = l.AsOf
		case !errors.Is(err, readthrough.ErrNotFound):
			return batch{}, err
		default:
			answer.AsOf = l.AsOf
		}
	}
	if b.on != nil {
		if err := b.on(ctx, ""); err != nil {
			return batch{}, err
		}
	}
	return answer, nil
}

// memoryLog is an authority's change log.
type memoryLog struct {
	mu   sync.Mutex // guards the fields below
	page invalidation.Page
	err  error
}

func (l *memoryLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *memoryLog) add(id string, asOf uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.page.Changes = append(l.page.Changes, invalidation.Change{ID: id, AsOf: asOf})
	l.page.Head = asOf
}

func (l *memoryLog) Changes(_ context.Context, after uint64, _ int) (invalidation.Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := invalidation.Page{Head: l.page.Head, Trimmed: l.page.Trimmed}
	for _, c := range l.page.Changes {
		if c.AsOf > after {
			page.Changes = append(page.Changes, c)
		}
	}
	return page, l.err
}

// gate holds whoever passes it until it is opened.
type gate struct {
	arrived chan struct{} // one token for each arrival
	open    chan struct{}
	once    sync.Once
}

func newGate(t testing.TB) *gate {
	t.Helper()
	g := &gate{arrived: make(chan struct{}, 1<<16), open: make(chan struct{})}
	t.Cleanup(g.release)
	return g
}

func (g *gate) pass(ctx context.Context, _ string) error {
	g.arrived <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// await waits for one arrival.
func (g *gate) await(t testing.TB) {
	t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody arrived within 10 s")
	}
}

// backend is what caches that belong together share.
type backend struct {
	client redis.UniversalClient // nil: Local
	local  *invalidation.Local
	real   bool
}

// with puts a cache on the backend.
func (b backend) with(cfg config) config {
	if cfg.Name == "" {
		cfg.Name = "test"
	}
	cfg.Redis, cfg.Local = b.client, b.local
	return cfg
}

// patient gives a cache a link that waits long for a message that is late, as on a busy machine: what was not invalidated
// stays in L1.
func patient(t testing.TB, cfg config) config {
	t.Helper()
	if cfg.Redis == nil {
		return cfg
	}
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: cfg.Redis, GapWait: time.Second, Telemetry: cfg.Telemetry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close(context.Background()) })
	cfg.Redis, cfg.Link = nil, link
	return cfg
}

// onEach runs f in one process without Redis, on a miniredis and on a real server.
func onEach(t *testing.T, f func(t *testing.T, b backend)) {
	t.Run("local", func(t *testing.T) { f(t, backend{local: &invalidation.Local{}}) })
	onRedis(t, f)
}

// onRedis runs f on a miniredis and on a real server.
func onRedis(t *testing.T, f func(t *testing.T, b backend)) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		f(t, backend{client: client, real: real})
	})
}

// open makes a cache that is closed when the test ends.
func open[K comparable, V any](t testing.TB, cfg readthrough.Config[K, V]) *readthrough.Cache[K, V] {
	t.Helper()
	c, err := readthrough.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		_ = c.Close(ctx) // what a test expects of Close it checks itself
	})
	return c
}

// ready waits until hits are answered from L1.
func ready[K comparable, V any](t testing.TB, caches ...*readthrough.Cache[K, V]) {
	t.Helper()
	for _, c := range caches {
		redistest.Eventually(t, 10*time.Second, "serving lease", func() bool { return c.Ready(t.Context()) == nil })
	}
}

func wantGet[V comparable](t testing.TB, c *readthrough.Cache[string, V], key string, want V, opts ...readthrough.Option) {
	t.Helper()
	got, err := c.Get(t.Context(), key, opts...)
	if err != nil || got != want {
		t.Fatalf("Get(%q) = %v, %v, want %v", key, got, err, want)
	}
}

func wantErr(t testing.TB, c *cache, key string, want error, opts ...readthrough.Option) {
	t.Helper()
	got, err := c.Get(t.Context(), key, opts...)
	if !errors.Is(err, want) {
		t.Fatalf("Get(%q) = %v, %v, want %v", key, got, err, want)
	}
	if !errors.Is(want, readthrough.ErrNotFound) && errors.Is(err, readthrough.ErrNotFound) {
		t.Fatalf("Get(%q) = %v: a failure is answered as absent", key, err)
	}
}

// wantTier asks for an entry and checks where it came from.
func wantTier(t testing.TB, c *cache, key string, want int, tier readthrough.Tier, opts ...readthrough.Option) {
	t.Helper()
	e, err := c.GetEntry(t.Context(), key, opts...)
	if err != nil || e.Value != want || e.Tier != tier {
		t.Fatalf("GetEntry(%q) = %d from %s, %v, want %d from %s", key, e.Value, e.Tier, err, want, tier)
	}
}

func wantLoads(t testing.TB, s *source, want int64) {
	t.Helper()
	if got := s.loads.Load(); got != want {
		t.Fatalf("%d loads, want %d", got, want)
	}
}

// invalidate fails the test if the change is not in force within 10 s.
func invalidate(t testing.TB, c *cache, keys ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Invalidate(ctx, keys...); err != nil {
		t.Fatal(err)
	}
}

// invalidateAsync fails the test if Redis has not executed the invalidation.
func invalidateAsync(t testing.TB, c *cache, asOf uint64, keys ...string) *readthrough.Receipt {
	t.Helper()
	r, err := c.InvalidateAsOf(t.Context(), asOf, keys...)
	if err != nil || !r.Executed() {
		t.Fatalf("invalidation: executed %v, %v", err == nil && r.Executed(), err)
	}
	return r
}

// prefix of the keys of the namespace "test", partition 0, in Redis.
const prefix = "lc:{test.0}:"

// stored waits until L2 holds a value of a key.
func stored(t testing.TB, b backend, key string) {
	t.Helper()
	if b.client == nil {
		return
	}
	redistest.Eventually(t, 10*time.Second, "value in L2", func() bool {
		return b.client.Exists(t.Context(), prefix+"d:"+key).Val() == 1
	})
}

// mini is a miniredis and how to reach it.
func mini(t testing.TB) backend {
	t.Helper()
	_, client := redistest.Mini(t)
	return backend{client: client}
}

// impatient is a client that gives up soon.
func impatient(t testing.TB, addr string) redis.UniversalClient {
	t.Helper()
	client, err := l2.NewClient(l2.ClientConfig{
		Addrs: []string{addr}, DialTimeout: 100 * time.Millisecond, ReadTimeout: 100 * time.Millisecond,
		WriteTimeout: 100 * time.Millisecond, PoolTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// recorder is a Telemetry that remembers.
type recorder struct {
	calls atomic.Int64 // of any method but Watch

	mu      sync.Mutex // guards the fields below
	events  map[telemetry.Event]int64
	ops     map[telemetry.OpName]int
	keys    map[telemetry.OpName]int
	reports map[string]int
	read    func() telemetry.Snapshot
}

func newRecorder() *recorder {
	return &recorder{
		events: map[telemetry.Event]int64{}, ops: map[telemetry.OpName]int{}, keys: map[telemetry.OpName]int{}, reports: map[string]int{},
	}
}

func (r *recorder) Start(ctx context.Context, op telemetry.Op) (context.Context, telemetry.Span) {
	r.calls.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops[op.Name]++
	r.keys[op.Name] += op.Keys
	return telemetry.Nop.Start(ctx, op)
}

func (r *recorder) Count(_ string, ev telemetry.Event, n int64) {
	r.calls.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[ev] += n
}

func (r *recorder) Observe(string, telemetry.Measure, time.Duration) { r.calls.Add(1) }

func (r *recorder) Watch(_ string, read func() telemetry.Snapshot) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = read
	return func() {}
}

func (r *recorder) Report(_, op string, _ error) {
	r.calls.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports[op]++
}

func (r *recorder) count(ev telemetry.Event) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[ev]
}

func (r *recorder) reported(op string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports[op]
}

func (r *recorder) snapshot() telemetry.Snapshot {
	r.mu.Lock()
	read := r.read
	r.mu.Unlock()
	return read()
}

// fills is how many fills were decided, whichever way.
func (r *recorder) fills() (n int64) {
	for ev := telemetry.FillStored; ev <= telemetry.FillFailed; ev++ {
		n += r.count(ev)
	}
	return n
}

// loaderFunc is a Loader with versions.
type loaderFunc func(key string) (loaded, error)

func (f loaderFunc) Load(_ context.Context, key string) (loaded, error) { return f(key) }
