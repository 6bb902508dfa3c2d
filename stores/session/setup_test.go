package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

const (
	bound    = 250 * time.Millisecond // B of the tests
	patience = 30 * time.Second       // how long what must happen is waited for
)

// fleet is what the stores of a test share, as processes would.
type fleet struct {
	addr   string              // of Redis; "": none
	memory *session.Memory     // nil: Redis
	local  *invalidation.Local // of the stores over memory
	cfg    session.RedisConfig
}

// everywhere runs a test over each kind of backend with its bus.
func everywhere(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Run("memory", func(t *testing.T) { test(t, &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}) })
	overRedis(t, test)
}

func overRedis(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Run("miniredis", func(t *testing.T) {
		m, _ := redistest.Mini(t)
		redistest.PassTime(t, m)
		test(t, &fleet{addr: m.Addr()})
	})
	t.Run("redis", func(t *testing.T) { test(t, onRedis(t)) })
}

func onRedis(t testing.TB) *fleet {
	t.Helper()
	return &fleet{addr: redistest.Start(t).Addr()}
}

// client makes a client of the fleet's Redis.
func (f *fleet) client(t testing.TB) redis.UniversalClient {
	t.Helper()
	client, err := l2.NewClient(l2.ClientConfig{
		Addrs: []string{f.addr}, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (f *fleet) backend(t testing.TB) session.Backend {
	t.Helper()
	if f.memory != nil {
		return f.memory
	}
	cfg := f.cfg
	cfg.Client = f.client(t)
	return newRedis(t, cfg)
}

func newRedis(t testing.TB, cfg session.RedisConfig) *session.Redis {
	t.Helper()
	r, err := session.NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// open makes a store of another process. It is closed when the test ends.
func (f *fleet) open(t testing.TB, change ...func(*session.Config)) *session.Store {
	t.Helper()
	cfg := session.Config{Backend: f.backend(t), Bound: bound, Tenant: f.cfg.Tenant}
	if f.addr != "" {
		cfg.Link = newLink(t, f.client(t))
	} else {
		cfg.Local = f.local
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := session.New(cfg)
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

func newLink(t testing.TB, client redis.UniversalClient) *invalidation.Link {
	t.Helper()
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = link.Close(ctx)
	})
	return link
}

func ready(t testing.TB, stores ...*session.Store) {
	t.Helper()
	for _, s := range stores {
		eventually(t, "lease", func() bool { return s.Ready(t.Context()) == nil })
	}
}

func sid(n byte) session.ID { return session.ID{0: 0xab, 15: n} }

// of is a session of the n-th agent.
func of(id session.ID, n byte) session.Session {
	return session.Session{ID: id, AgentID: session.AgentID{15: n}, StartedAt: time.Unix(1700000000, 123456789).UTC()}
}

func save(t testing.TB, s *session.Store, v session.Session) {
	t.Helper()
	if err := s.Save(t.Context(), v); err != nil {
		t.Fatalf("Save: %v", err)
	}
}

func saveAsync(t testing.TB, s *session.Store, v session.Session) *readthrough.Receipt {
	t.Helper()
	r, err := s.SaveAsync(t.Context(), v)
	if err != nil {
		t.Fatalf("SaveAsync: %v", err)
	}
	return r
}

func want(t testing.TB, s *session.Store, v session.Session, opts ...readthrough.Option) {
	t.Helper()
	if got, err := s.Load(t.Context(), v.ID, opts...); got != v || err != nil {
		t.Fatalf("Load: %+v, %v; want %+v", got, err, v)
	}
}

func wantAbsent(t testing.TB, s *session.Store, id session.ID, opts ...readthrough.Option) {
	t.Helper()
	got, err := s.Load(t.Context(), id, opts...)
	if !errors.Is(err, readthrough.ErrNotFound) || errors.Is(err, readthrough.ErrUnavailable) || got != (session.Session{}) {
		t.Fatalf("Load: %+v, %v; want ErrNotFound", got, err)
	}
}

// unavailable fails the test unless err is an outage and nothing else.
func unavailable(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) || errors.Is(err, redis.Nil) {
		t.Errorf("%s: %v, want ErrUnavailable", what, err)
	}
}

func key(id session.ID) string { return "aa:session:" + id.String() }

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	redistest.Eventually(t, patience, what, cond)
}

// meddler is a backend that can be told to fail, or to fail after it has written, and that counts.
type meddler struct {
	session.Backend
	down  atomic.Pointer[error] // every call fails with it
	after atomic.Pointer[error] // writes fail with it, having written
	loads atomic.Int64
	hold  atomic.Pointer[chan struct{}] // loads wait for it
}

func (m *meddler) meddle(cfg *session.Config) {
	m.Backend, cfg.Backend = cfg.Backend, m
}

func (m *meddler) fail(err error) { m.down.Store(&err) }

func (m *meddler) broken() error {
	if err := m.down.Load(); err != nil {
		return *err
	}
	return nil
}

func (m *meddler) written(err error) error {
	if late := m.after.Load(); err == nil && late != nil {
		return *late
	}
	return err
}

func (m *meddler) Save(ctx context.Context, id session.ID, rec session.Record, ttl time.Duration) error {
	if err := m.broken(); err != nil {
		return err
	}
	return m.written(m.Backend.Save(ctx, id, rec, ttl))
}

func (m *meddler) Load(ctx context.Context, id session.ID, rearm time.Duration) (session.Record, time.Duration, bool, error) {
	if err := m.broken(); err != nil {
		m.loads.Add(1)
		return session.Record{}, 0, false, err
	}
	rec, left, found, err := m.Backend.Load(ctx, id, rearm)
	m.loads.Add(1) // of those that have read
	if hold := m.hold.Load(); hold != nil {
		select {
		case <-*hold:
		case <-ctx.Done():
		}
	}
	return rec, left, found, err
}

func (m *meddler) Touch(ctx context.Context, id session.ID, ttl time.Duration) (bool, error) {
	if err := m.broken(); err != nil {
		return false, err
	}
	return m.Backend.Touch(ctx, id, ttl)
}

func (m *meddler) Delete(ctx context.Context, id session.ID) error {
	if err := m.broken(); err != nil {
		return err
	}
	return m.written(m.Backend.Delete(ctx, id))
}
