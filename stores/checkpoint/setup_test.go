package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/telemetry"
)

const (
	soon     = 300 * time.Millisecond // a time to live that a test sits out
	patience = 30 * time.Second       // how long what must happen is waited for
)

// each runs a test on a miniredis whose time passes, and on a real server.
func each(t *testing.T, test func(t *testing.T, client redis.UniversalClient, real bool)) {
	t.Run("miniredis", func(t *testing.T) {
		m, client := redistest.Mini(t)
		redistest.PassTime(t, m)
		test(t, client, false)
	})
	t.Run("redis", func(t *testing.T) { test(t, redistest.Start(t).Client(), true) })
}

type change = func(*checkpoint.Config)

// open makes a store that is closed when the test ends.
func open(t testing.TB, cfg checkpoint.Config, changes ...change) *checkpoint.Store {
	t.Helper()
	for _, c := range changes {
		c(&cfg)
	}
	s, err := checkpoint.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Close(ctx) // with Redis gone it says what it could not deliver
	})
	return s
}

// process makes a store over Redis with a bus of its own, as another process has one.
func process(t testing.TB, client redis.UniversalClient, changes ...change) *checkpoint.Store {
	t.Helper()
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), Link: link(t, client), Bound: time.Second}, changes...)
	return s
}

func link(t testing.TB, client redis.UniversalClient) *invalidation.Link {
	t.Helper()
	l, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = l.Close(ctx)
	})
	return l
}

// ready waits until a store has its lease, so that hits are answered from L1.
func ready(t testing.TB, stores ...*checkpoint.Store) {
	t.Helper()
	for _, s := range stores {
		redistest.Eventually(t, patience, "lease", func() bool { return s.Ready(t.Context()) == nil })
	}
}

func save(t testing.TB, s *checkpoint.Store, id, state string) checkpoint.Saved {
	t.Helper()
	saved, err := s.Save(t.Context(), id, []byte(state))
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	return saved
}

func load(t testing.TB, s *checkpoint.Store, id string, opts ...readthrough.Option) checkpoint.State {
	t.Helper()
	state, err := s.Load(t.Context(), id, opts...)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return state
}

func want(t testing.TB, s *checkpoint.Store, id, state string, opts ...readthrough.Option) checkpoint.State {
	t.Helper()
	got := load(t, s, id, opts...)
	if string(got.Data) != state {
		t.Fatalf("%s holds %.40q, want %.40q", id, got.Data, state)
	}
	return got
}

// absent says whether there is no thread; a failure to know fails the test.
func absent(t testing.TB, s *checkpoint.Store, id string) bool {
	t.Helper()
	_, err := s.Load(t.Context(), id)
	if err != nil && !errors.Is(err, readthrough.ErrNotFound) {
		t.Fatalf("Load: %v", err)
	}
	return err != nil
}

// ids are those of all pages.
func ids(t testing.TB, s *checkpoint.Store, limit int) (all []string) {
	t.Helper()
	for cursor := ""; ; {
		page, err := s.List(t.Context(), cursor, limit)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for _, thread := range page.Threads {
			all = append(all, thread.ID)
		}
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	redistest.Eventually(t, patience, what, cond)
}

// meddler is a backend that counts, and can be told to fail.
type meddler struct {
	checkpoint.Backend
	down  atomic.Bool
	loads atomic.Int64
	hold  atomic.Pointer[chan struct{}] // closed: what a load has read goes on
}

var errDown = errors.New("down")

func (m *meddler) Load(ctx context.Context, id string, r checkpoint.Read) (checkpoint.Record, error) {
	if m.down.Load() {
		m.loads.Add(1)
		return checkpoint.Record{}, errDown
	}
	rec, err := m.Backend.Load(ctx, id, r)
	m.loads.Add(1)
	if hold := m.hold.Load(); hold != nil {
		<-*hold
	}
	return rec, err
}

func (m *meddler) List(ctx context.Context, q checkpoint.Query) (checkpoint.Listing, error) {
	if m.down.Load() {
		return checkpoint.Listing{}, errDown
	}
	return m.Backend.List(ctx, q)
}

// counted puts a meddler between a store and its backend.
func counted(m *meddler) change {
	return func(c *checkpoint.Config) { m.Backend, c.Backend = c.Backend, m }
}

// warm loads the thread t until L1 answers: it may drop what it is given.
func warm(t testing.TB, s *checkpoint.Store, m *meddler) {
	t.Helper()
	eventually(t, "an answer from L1", func() bool {
		before := m.loads.Load()
		load(t, s, "t")
		return m.loads.Load() == before
	})
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// events counts what telemetry is told.
type events struct {
	telemetry.Telemetry
	mu     sync.Mutex // guards counts
	counts map[string]int64
}

func newEvents() *events {
	return &events{Telemetry: telemetry.Nop, counts: map[string]int64{}}
}

func (e *events) Count(ns string, ev telemetry.Event, n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[fmt.Sprintf("%s %s", ns, ev)] += n
}

func (e *events) of(name string) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[name]
}
