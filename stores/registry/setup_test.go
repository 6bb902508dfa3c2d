package registry_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

const (
	bound    = 250 * time.Millisecond // B of the tests
	patience = 30 * time.Second       // how long what must happen is waited for
)

func onRedis(t testing.TB, cfg registry.RedisConfig) *registry.Redis {
	t.Helper()
	b, err := registry.NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tenantOf makes a tenant of a test's name, for backends that cannot be emptied between tests.
func tenantOf(t testing.TB) string { return fmt.Sprintf("t%d", l2.Hash(t.Name())) }

func open(t testing.TB, cfg registry.Config) *registry.Store {
	t.Helper()
	if cfg.Bound == 0 {
		cfg.Bound = bound
	}
	s, err := registry.New(cfg)
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

func register(t testing.TB, s *registry.Store, agents ...registry.Agent) {
	t.Helper()
	for _, a := range agents {
		if _, err := s.RegisterAsync(t.Context(), a); err != nil {
			t.Fatalf("register %q: %v", a.ID, err)
		}
	}
}

func get(t testing.TB, s *registry.Store, id string) registry.Agent {
	t.Helper()
	a, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("get %q: %v", id, err)
	}
	return a
}

func ids(agents registry.Agents) []string {
	out := []string{}
	for a := range agents.All() {
		out = append(out, a.ID)
	}
	return out
}

func wantList(t testing.TB, s *registry.Store, want ...string) {
	t.Helper()
	all, err := s.List(t.Context())
	if got := ids(all); err != nil || !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("list %q, %v, want %q", got, err, want)
	}
}

// wantCode fails the test unless err is an *Error of a code, and of the kind that belongs to it.
func wantCode(t testing.TB, what string, err error, code registry.Code) {
	t.Helper()
	e, ok := errors.AsType[*registry.Error](err)
	if !ok || e.Code != code {
		t.Errorf("%s: %v, want an error with code %d", what, err, code)
		return
	}
	if errors.Is(err, readthrough.ErrNotFound) != (code == registry.Unknown) {
		t.Errorf("%s: %v: ErrNotFound belongs to 404", what, err)
	}
	if code == registry.Failed && !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%s: %v is no ErrUnavailable", what, err)
	}
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	redistest.Eventually(t, patience, what, cond)
}

// fleet is a backend that several stores of a test share, each through its own connections, as processes would.
type fleet struct {
	name     string
	redis    *redistest.Server // nil: no real server
	database string            // its URL; "": none
	connect  func(t testing.TB, tenant string) registry.Config
}

// everywhere runs a test over each kind of backend.
func everywhere(t *testing.T, test func(t *testing.T, f *fleet)) {
	for _, name := range []string{"memory", "miniredis", "redis", "sqlite", "postgres", "postgres+redis"} {
		t.Run(name, func(t *testing.T) { test(t, newFleet(t, name)) })
	}
}

func newFleet(t testing.TB, name string) *fleet {
	t.Helper()
	f := &fleet{name: name}
	switch name {
	case "memory":
		shared := &registry.Memory{}
		f.connect = func(_ testing.TB, tenant string) registry.Config {
			return registry.Config{Backend: shared, Tenant: tenant}
		}
	case "miniredis":
		m, _ := redistest.Mini(t)
		redistest.PassTime(t, m)
		f.connect = func(t testing.TB, tenant string) registry.Config {
			return registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: client(t, m.Addr()), Tenant: tenant}), Tenant: tenant}
		}
	case "redis":
		f.redis = redistest.Start(t)
		f.connect = func(t testing.TB, tenant string) registry.Config {
			return registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: f.redis.Client(), Tenant: tenant}), Tenant: tenant}
		}
	case "sqlite":
		path := filepath.Join(t.TempDir(), "agents.db")
		f.database = "sqlite://" + path
		f.connect = func(t testing.TB, tenant string) registry.Config {
			return registry.Config{Backend: onSQL(t, registry.SQLConfig{Source: inSQLite(t, path), Tenant: tenant}), Tenant: tenant}
		}
	case "postgres":
		url := pgtest.NewDatabase(t)
		f.database = url
		f.connect = func(t testing.TB, tenant string) registry.Config {
			return registry.Config{Backend: onSQL(t, registry.SQLConfig{Source: inPostgres(t, url), Tenant: tenant}), Tenant: tenant}
		}
	case "postgres+redis":
		f.redis = redistest.Start(t)
		url := pgtest.NewDatabase(t)
		f.database = url
		f.connect = func(t testing.TB, tenant string) registry.Config {
			return registry.Config{
				Backend: onSQL(t, registry.SQLConfig{Source: inPostgres(t, url), Tenant: tenant}), Tenant: tenant,
				Link: link(t, f.redis.Client()),
			}
		}
	}
	return f
}

// open makes a store over the shared backend.
func (f *fleet) open(t testing.TB, change ...func(*registry.Config)) *registry.Store {
	t.Helper()
	return f.openAs(t, "", change...)
}

func (f *fleet) openAs(t testing.TB, tenant string, change ...func(*registry.Config)) *registry.Store {
	t.Helper()
	cfg := f.connect(t, tenant)
	cfg.Relay = 100 * time.Millisecond
	cfg.Settle = time.Second
	for _, c := range change {
		c(&cfg)
	}
	return open(t, cfg)
}

func client(t testing.TB, addr string) redis.UniversalClient {
	t.Helper()
	const patience = 5 * time.Second
	c, err := l2.NewClient(l2.ClientConfig{
		Addrs: []string{addr}, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
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

func onSQL(t testing.TB, cfg registry.SQLConfig) *registry.SQL {
	t.Helper()
	if cfg.BeatDelay == 0 {
		cfg.BeatDelay = time.Millisecond
	}
	b, err := registry.NewSQL(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func inSQLite(t testing.TB, path string) *sqlsource.Source {
	t.Helper()
	db, err := sqlite.Open(t.Context(), "sqlite://"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return migrated(t, sqlsource.Config{DB: db, Dialect: sqlsource.SQLite})
}

func inPostgres(t testing.TB, url string) *sqlsource.Source {
	t.Helper()
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return migrated(t, sqlsource.Config{DB: db, Dialect: sqlsource.Postgres})
}

func migrated(t testing.TB, cfg sqlsource.Config) *sqlsource.Source {
	t.Helper()
	source, err := sqlsource.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return source
}
