package policy_test

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
	"github.com/layercache/layercache/telemetry"
)

const (
	bound    = 250 * time.Millisecond // B of the tests
	relay    = 100 * time.Millisecond // R
	slack    = 500 * time.Millisecond // the relay's statements and its turn on a machine that does much else; far below V
	patience = 30 * time.Second       // how long what must happen is waited for
)

// authority is one kind of authority that several stores share, each over a connection of its own.
type authority struct {
	name   string
	tenant string // whose stores they are
	dial   func(t testing.TB, tenant string) policy.Authority
	exec   func(t testing.TB, query string, args ...any) // a foreign program's statement; nil for memory
	query  func(t testing.TB, query string) int64        // one number; nil for memory
}

func (a *authority) connect(t testing.TB) policy.Authority {
	t.Helper()
	return a.dial(t, a.tenant)
}

func inMemory() *authority {
	shared := &policy.Memory{}
	return &authority{name: "memory", dial: func(testing.TB, string) policy.Authority { return shared }}
}

func inSQLite(t testing.TB) *authority {
	t.Helper()
	url := "sqlite://" + filepath.Join(t.TempDir(), "policies.db")
	return inSQL(t, "sqlite", sqlsource.SQLite, func(t testing.TB) *sql.DB {
		t.Helper()
		db, err := sqlite.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		return db
	})
}

func inPostgres(t testing.TB) *authority {
	t.Helper()
	return atPostgres(t, pgtest.NewDatabase(t))
}

func atPostgres(t testing.TB, url string) *authority {
	t.Helper()
	return inSQL(t, "postgres", sqlsource.Postgres, func(t testing.TB) *sql.DB {
		t.Helper()
		db, err := postgres.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		return db
	})
}

func inSQL(t testing.TB, name string, dialect sqlsource.Dialect, open func(testing.TB) *sql.DB) *authority {
	t.Helper()
	source := func(t testing.TB) *sqlsource.Source {
		t.Helper()
		db := open(t)
		t.Cleanup(func() { _ = db.Close() })
		s, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: dialect})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := source(t).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &authority{
		name: name,
		dial: func(t testing.TB, tenant string) policy.Authority {
			t.Helper()
			table, err := source(t).Table(sqlsource.Policies, tenant)
			if err != nil {
				t.Fatal(err)
			}
			return table
		},
		exec: func(t testing.TB, query string, args ...any) {
			t.Helper()
			db := open(t)
			defer func() { _ = db.Close() }()
			if dialect == sqlsource.SQLite { // one connection that waits for its lock, as other programs do
				db.SetMaxOpenConns(1)
				if _, err := db.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
		},
		query: func(t testing.TB, query string) (n int64) {
			t.Helper()
			db := open(t)
			defer func() { _ = db.Close() }()
			if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			return n
		},
	}
}

// fleet is an authority and a bus that several stores of a test share, as processes would.
type fleet struct {
	*authority
	redis string // address; "": none
}

// everywhere runs a test over each authority, with and without Redis.
func everywhere(t *testing.T, test func(t *testing.T, f *fleet)) {
	for _, name := range []string{"memory", "sqlite", "postgres"} {
		for _, bus := range []string{"local", "miniredis", "redis"} {
			if name == "postgres" && bus == "miniredis" {
				continue // says nothing that the other two do not
			}
			t.Run(name+"/"+bus, func(t *testing.T) { test(t, newFleet(t, name, bus)) })
		}
	}
}

func newFleet(t testing.TB, name, bus string) *fleet {
	t.Helper()
	f := &fleet{}
	switch name {
	case "memory":
		f.authority = inMemory()
	case "sqlite":
		f.authority = inSQLite(t)
	case "postgres":
		f.authority = inPostgres(t)
	}
	switch bus {
	case "miniredis":
		m, _ := redistest.Mini(t)
		f.redis = m.Addr()
	case "redis":
		f.redis = redistest.Start(t).Addr()
	}
	return f
}

// as is the fleet of another tenant, on the same authority and bus.
func (f *fleet) as(tenant string) *fleet {
	a := *f.authority
	a.tenant = tenant
	return &fleet{authority: &a, redis: f.redis}
}

// open makes a store over the shared authority and bus. It is closed when the test ends.
func (f *fleet) open(t testing.TB, change ...func(*policy.Config)) *policy.Store {
	t.Helper()
	cfg := policy.Config{Authority: f.connect(t), Tenant: f.tenant, Bound: bound, Relay: relay, Settle: time.Second}
	if f.redis != "" {
		cfg.Redis = f.client(t)
	}
	for _, c := range change {
		c(&cfg)
	}
	return open(t, cfg)
}

// client makes a client of the fleet's Redis.
func (f *fleet) client(t testing.TB) redis.UniversalClient {
	t.Helper()
	client, err := l2.NewClient(l2.ClientConfig{
		Addrs: []string{f.redis}, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func open(t testing.TB, cfg policy.Config) *policy.Store {
	t.Helper()
	s, err := policy.New(cfg)
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

func agent(n byte) policy.AgentID { return policy.AgentID{15: n} }

// answer is a document whose one rule gives every action the verdict.
func answer(t testing.TB, verdict policy.Verdict) *policy.Document {
	t.Helper()
	return document(t, policy.Draft{Name: "test", Rules: []policy.Rule{{ActionPattern: "*", Decision: verdict}}})
}

func document(t testing.TB, draft policy.Draft) *policy.Document {
	t.Helper()
	doc, err := policy.NewDocument(draft)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func put(t testing.TB, s *policy.Store, id policy.AgentID, verdict policy.Verdict) policy.Version {
	t.Helper()
	v, err := s.Put(t.Context(), id, answer(t, verdict))
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return v
}

// decide answers the verdict, and fails the test on an error.
func decide(t testing.TB, s *policy.Store, id policy.AgentID, opts ...readthrough.Option) policy.Verdict {
	t.Helper()
	d, err := s.Decide(t.Context(), id, "tool:shell", opts...)
	if err != nil {
		t.Fatalf("Decide: %v", err)
	}
	return d.Verdict()
}

// denied fails the test unless the error is one of kind and the decision the zero one.
func denied(t testing.TB, what string, kind error, d policy.Decision, err error) {
	t.Helper()
	if !errors.Is(err, kind) || d != (policy.Decision{}) || d.Allowed() {
		t.Errorf("%s: %v, %v; want the zero decision and %v", what, d, err, kind)
	}
	if !errors.Is(kind, readthrough.ErrNotFound) && errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("%s: a failure looks like an absence: %v", what, err)
	}
}

// meddler is an authority that can be told to fail, or to do something at the worst moment.
type meddler struct {
	policy.Authority
	down      atomic.Pointer[error] // every call fails with it
	committed atomic.Pointer[func(asOf uint64) error]
	loads     atomic.Int64 // calls of Get
}

func (m *meddler) fail(err error) { m.down.Store(&err) }

// after is called when a Put or an Import is committed; its error becomes theirs.
func (m *meddler) after(f func(asOf uint64) error) { m.committed.Store(&f) }

func (m *meddler) broken() error {
	if err := m.down.Load(); err != nil {
		return *err
	}
	return nil
}

func (m *meddler) Get(ctx context.Context, id string) (sqlsource.Record, bool, error) {
	m.loads.Add(1)
	if err := m.broken(); err != nil {
		return sqlsource.Record{}, false, err
	}
	return m.Authority.Get(ctx, id)
}

func (m *meddler) GetMany(ctx context.Context, ids []string) (map[string][]byte, uint64, error) {
	if err := m.broken(); err != nil {
		return nil, 0, err
	}
	return m.Authority.GetMany(ctx, ids)
}

func (m *meddler) Put(ctx context.Context, id string, document []byte, writer string) (uint64, error) {
	if err := m.broken(); err != nil {
		return 0, err
	}
	asOf, err := m.Authority.Put(ctx, id, document, writer)
	if f := m.committed.Load(); f != nil && err == nil {
		err = (*f)(asOf)
	}
	return asOf, err
}

func (m *meddler) Import(ctx context.Context, records iter.Seq2[string, []byte]) (int, uint64, error) {
	if err := m.broken(); err != nil {
		return 0, 0, err
	}
	n, asOf, err := m.Authority.Import(ctx, records)
	if f := m.committed.Load(); f != nil && err == nil {
		if err = (*f)(asOf); err != nil {
			return 0, 0, err // as when the first batch fails
		}
	}
	return n, asOf, err
}

func (m *meddler) Head(ctx context.Context) (uint64, error) {
	if err := m.broken(); err != nil {
		return 0, err
	}
	return m.Authority.Head(ctx)
}

// loggedMeddler is a meddler over an authority with a change log.
type loggedMeddler struct{ *meddler }

func (m loggedMeddler) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	if err := m.broken(); err != nil {
		return invalidation.Page{}, err
	}
	return m.Authority.(invalidation.Log).Changes(ctx, after, limit)
}

func (m loggedMeddler) Log() *sqlsource.Log { return m.Authority.(policy.Logged).Log() }

// meddle puts a meddler between a store and its authority.
func meddle(m *meddler) func(*policy.Config) {
	return func(cfg *policy.Config) {
		m.Authority = cfg.Authority
		cfg.Authority = m
		if _, ok := m.Authority.(invalidation.Log); ok {
			cfg.Authority = loggedMeddler{m}
		} else {
			cfg.Sole = cfg.Redis == nil // a hidden Memory tells nobody
		}
	}
}

// events counts what telemetry is told.
type events struct {
	telemetry.Telemetry
	mu     sync.Mutex // guards counts
	counts map[telemetry.Event]int64
}

func newEvents() *events {
	return &events{Telemetry: telemetry.Nop, counts: map[telemetry.Event]int64{}}
}

func (e *events) Count(_ string, ev telemetry.Event, n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[ev] += n
}

func (e *events) of(ev telemetry.Event) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[ev]
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	redistest.Eventually(t, patience, what, cond)
}
