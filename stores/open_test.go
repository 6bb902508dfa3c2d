package stores_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
	"github.com/layercache/layercache/telemetry"
)

func TestEveryDriverAnswersDecisions(t *testing.T) {
	server := redistest.Start(t)
	for name, cfg := range map[string]stores.Config{
		"memory":           {PolicyStore: "memory"},
		"sqlite":           {PolicyStore: "sql", SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Sole: true},
		"sqlite and Redis": {PolicyStore: "redis", SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}, Tenant: "a"},
		"by default":       {SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{Addrs: []string{server.Addr()}}, Tenant: "b"},
		"postgres":         {SQL: stores.SQLConfig{URL: stores.NewSecret(pgtest.NewDatabase(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}, Tenant: "c"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, cfg)
			allow(t, b.Policies(), agent(1))
			if err := b.Ready(t.Context()); err != nil {
				t.Errorf("Ready: %v", err)
			}
			if h := b.Health(); !h.Healthy() {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestAMirrorOfThePoliciesIsSetInTheConfiguration(t *testing.T) {
	server := redistest.Start(t)
	cfg := stores.Config{
		SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())},
		Policy: stores.PolicyConfig{Mirror: "aa"}, Tenant: "acme",
	}
	allow(t, open(t, cfg).Policies(), agent(1))
	key, client := "@acme:aa:policy:"+agent(1).String(), server.Client()
	redistest.Eventually(t, patience, "mirror", func() bool { return client.Exists(t.Context(), key).Val() == 1 })
}

func TestLiveObjectsAreUsedAndNotClosed(t *testing.T) {
	server := redistest.Start(t)
	for name, dialect := range map[string]sqlsource.Dialect{"sqlite": stores.SQLite, "postgres": stores.Postgres} {
		t.Run(name, func(t *testing.T) {
			openDB, url := sqlite.Open, sqliteURL(t)
			if dialect == stores.Postgres {
				openDB, url = postgres.Open, pgtest.NewDatabase(t)
			}
			db, err := openDB(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			client := server.Client()
			// What the options pass stands for what the Config names.
			b := open(t, stores.Config{
				SQL: stores.SQLConfig{URL: stores.NewSecret("mysql://unused")}, Redis: stores.RedisConfig{URL: stores.NewSecret("redis://127.0.0.1:1")}, Tenant: name,
			}, stores.WithSQL(db, dialect), stores.WithRedis(client))
			allow(t, b.Policies(), agent(1))
			var rows int
			if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM layercache_policies").Scan(&rows); err != nil || rows != 1 {
				t.Errorf("%d rows in the database that was passed, %v", rows, err)
			}
			if keys := client.Keys(t.Context(), "lc:{policy@"+name+".*").Val(); len(keys) == 0 {
				t.Error("nothing in the Redis that was passed")
			}
			if err := b.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.PingContext(t.Context()), client.Ping(t.Context()).Err()); err != nil {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// Else everything would be in memory, and lost with the process, where somebody has passed a database.
func TestAnOptionThatWasGivenNilIsRefusedByName(t *testing.T) {
	var none counter
	for name, options := range map[string][]stores.Option{
		"WithRedis":          {stores.WithRedis(nil), stores.WithRedis((*redis.Client)(nil)), stores.WithRedis((*redis.ClusterClient)(nil))},
		"WithSQL":            {stores.WithSQL(nil, stores.SQLite), stores.WithSQL((*sql.DB)(nil), stores.Postgres)},
		"WithTelemetry":      {stores.WithTelemetry(nil), stores.WithTelemetry((*counter)(nil))},
		"WithTracerProvider": {stores.WithTracerProvider(nil)},
		"WithMeterProvider":  {stores.WithMeterProvider((*metric.MeterProvider)(nil))},
		"WithLogger":         {stores.WithLogger(nil)},
		"an Option":          {nil},
	} {
		for i, option := range options {
			b, err := stores.Open(t.Context(), stores.Config{PolicyStore: "memory"}, option, stores.WithTelemetry(&none))
			if err == nil {
				_ = b.Close(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), "stores: "+name+": was given nil") {
				t.Errorf("%s, %d: %v", name, i, err)
			}
		}
	}
}

func TestAStoreOverABackendThatIsNilIsRefusedByName(t *testing.T) {
	refused := map[string]error{}
	_, refused["policy: Config.Authority"] = policy.New(policy.Config{Authority: (*policy.Memory)(nil)})
	_, refused["session: Config.Backend"] = session.New(session.Config{Backend: (*session.Memory)(nil)})
	_, refused["ratelimit: Config.Backend"] = ratelimit.New(ratelimit.Config{Backend: (*ratelimit.Memory)(nil)})
	_, refused["registry: Config.Backend"] = registry.New(registry.Config{Backend: (*registry.Memory)(nil)})
	_, refused["checkpoint: Config.Backend"] = checkpoint.New(checkpoint.Config{Backend: (*checkpoint.Memory)(nil)})
	_, refused["runlog: Config.Backend"] = runlog.New(runlog.Config{Backend: (*runlog.Memory)(nil)})
	runs, err := runlog.New(runlog.Config{Backend: &runlog.Memory{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = runs.Close(t.Context()) }()
	_, refused["runlog: Original.Client"] = runs.Import(t.Context(), runlog.Original{Client: (*redis.Client)(nil)}, "r")
	for field, err := range refused {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A driver may have nothing to close.
func TestAnOnCloseOfNilIsNone(t *testing.T) {
	b, err := stores.Open(t.Context(), stores.Config{SessionStore: "mine", PolicyStore: "memory"}, stores.WithDriver("mine", stores.Driver{
		Sessions: func(_ context.Context, o *stores.Opening) (session.Backend, error) {
			o.OnClose(nil)
			return &session.Memory{}, nil
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseIsSafeTwiceAndAtOnce(t *testing.T) {
	b := open(t, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret(redistest.Start(t).URL())}})
	allow(t, b.Policies(), agent(1))
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := b.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := b.Policies().Decide(t.Context(), agent(1), action); !errors.Is(err, readthrough.ErrClosed) {
		t.Errorf("Decide: %v", err)
	}
	if err := b.Ready(t.Context()); !errors.Is(err, readthrough.ErrClosed) {
		t.Errorf("Ready: %v", err)
	}
}

func TestOpenNeedsTheDatabaseAndNotRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	b := open(t, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}})
	if _, err := b.Policies().PutAsync(t.Context(), agent(1), revision(1)); err != nil {
		t.Fatal(err)
	}
	if d, err := b.Policies().Decide(t.Context(), agent(1), action); err != nil || !d.Allowed() {
		t.Errorf("%+v, %v", d, err)
	}
	if h := b.Health(); h.Healthy() || h.Policies.State != invalidation.Down {
		t.Errorf("%+v", h)
	}
	if err := b.Ready(t.Context()); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("Ready: %v", err)
	}
	server.Restart()
	redistest.Eventually(t, patience, "recovery", func() bool { return b.Ready(t.Context()) == nil && b.Health().Healthy() })

	// Nobody listens where the last one did.
	down := redistest.Start(t)
	address := down.Addr()
	down.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := stores.Open(ctx, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret("postgres://u:p4ssword@" + address + "/d")}}); err == nil ||
		!strings.HasPrefix(err.Error(), "stores: ") || strings.Contains(err.Error(), "p4ssword") {
		t.Errorf("Open without the database: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := stores.Open(ended, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(pgtest.NewDatabase(t))}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a context that has ended: %v", err)
	}
}

func TestNoMigrateLeavesTheSchemaAlone(t *testing.T) {
	url := sqliteURL(t)
	cfg := stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(url), NoMigrate: true}, Sole: true}
	b := open(t, cfg)
	_, err := b.Policies().Decide(t.Context(), agent(1), action)
	if !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, sqlsource.ErrNotMigrated) || errors.Is(err, readthrough.ErrNotFound) {
		t.Fatalf("%v", err)
	}
	var db *sql.DB
	if db, err = sqlite.Open(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tables int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil || tables != 0 {
		t.Fatalf("%d tables, %v", tables, err)
	}
	source, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: stores.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	allow(t, b.Policies(), agent(1))
}

// counter is a Telemetry that counts.
type counter struct {
	telemetry.Telemetry
	mu      sync.Mutex // guards the fields below
	watched []string
	spans   int
}

func (c *counter) Watch(ns string, read func() telemetry.Snapshot) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = append(c.watched, ns)
	return c.Telemetry.Watch(ns, read)
}

func (c *counter) Start(ctx context.Context, op telemetry.Op) (context.Context, telemetry.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans++
	return c.Telemetry.Start(ctx, op)
}

func TestTelemetryIsToldWhateverTheOption(t *testing.T) {
	server := redistest.Start(t)
	config := func() stores.Config {
		return stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}, Tenant: "tenant-of-metrics"}
	}
	own := &counter{Telemetry: telemetry.Nop}
	allow(t, open(t, config(), stores.WithTelemetry(own)).Policies(), agent(1))
	own.mu.Lock()
	if len(own.watched) != 1 || own.watched[0] != "policy" || own.spans == 0 {
		t.Errorf("watched %q, %d calls", own.watched, own.spans)
	}
	own.mu.Unlock()

	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	reader := metric.NewManualReader()
	b := open(t, config(), stores.WithTracerProvider(provider), stores.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	ctx, parent := provider.Tracer("test").Start(t.Context(), "parent")
	if _, err := b.Policies().Decide(ctx, agent(2), action); !errors.Is(err, readthrough.ErrNotFound) {
		t.Fatal(err)
	}
	parent.End()
	if n := len(spans.Ended()); n < 2 {
		t.Errorf("%d spans, want those of Redis or the load beside the parent", n)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			names = append(names, m.Name)
		}
	}
	if !slices.Contains(names, "layercache.lookup") {
		t.Errorf("metrics: %q", names)
	}

	var log logs
	cfg := config()
	cfg.Redis.URL = stores.NewSecret("redis://127.0.0.1:1")
	_ = open(t, cfg, stores.WithLogger(log.logger())).Ready(t.Context())
	redistest.Eventually(t, patience, "logged failure", func() bool { return strings.Contains(log.String(), "background failure") })
}

func TestPlainTextToAnotherHostIsWarnedOf(t *testing.T) {
	for url, warned := range map[string]bool{
		"redis://redis.invalid:6379": true, "rediss://redis.invalid:6379": false, "redis://127.0.0.1:1": false, "redis://localhost:1": false,
	} {
		var log logs
		open(t, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret(url)}}, stores.WithLogger(log.logger()))
		if got := strings.Contains(log.String(), "not encrypted"); got != warned {
			t.Errorf("%s: warned %t, want %t: %s", url, got, warned, log.String())
		}
	}
	var log logs
	open(t, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: stores.NewSecret("redis://redis.invalid:6379"), TLS: true}},
		stores.WithLogger(log.logger()))
	if strings.Contains(log.String(), "not encrypted") {
		t.Errorf("warned of a connection that TLS encrypts: %s", log.String())
	}
}

func TestPlainTextToADatabaseOnAnotherHostIsWarnedOf(t *testing.T) {
	for url, warned := range map[string]bool{
		"postgres://u:s3cret@db.invalid/d":                            true,
		"postgres://u:s3cret@db.invalid/d?sslmode=disable":            true,
		"postgres://u:s3@cret:@db.invalid/d?sslmode=prefer":           true,
		"postgres://u:s3cret@127.0.0.1:1,db.invalid/d?sslmode=allow":  true,
		"postgres://u:s3cret@db.invalid/d?sslmode=require":            false,
		"postgres://u:s3cret@db.invalid/d?sslmode=verify-full":        false,
		"postgres://u:s3cret@127.0.0.1:1/d":                           false,
		"postgres://u:s3cret@localhost:1/d?sslmode=disable":           false,
		"postgres://u:s3cret@/d?host=/nowhere&port=1&sslmode=disable": false,
		"postgres://u:s3cret@[::1]:1/d?sslmode=disable":               false,
	} {
		var log logs
		ended, end := context.WithCancel(t.Context())
		end() // nothing is sent to anybody
		cfg := stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(url)}}
		if _, err := stores.Open(ended, cfg, stores.WithLogger(log.logger())); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", url, err)
		}
		if got := strings.Contains(log.String(), "level=WARN msg=\"the connection to PostgreSQL may not be encrypted"); got != warned {
			t.Errorf("%s: warned %t, want %t: %s", url, got, warned, log.String())
		}
		if warned && !strings.Contains(log.String(), "host=db.invalid") || strings.Contains(log.String(), "s3") || strings.Contains(log.String(), "cret") {
			t.Errorf("%s: the warning is %s", url, log.String())
		}
	}
}

func TestTheTimeoutOfRedisIsThatOfItsReadsAndWrites(t *testing.T) {
	for set, want := range map[time.Duration]time.Duration{0: 250 * time.Millisecond, 3 * time.Second: 3 * time.Second} {
		var client redis.UniversalClient
		d := stores.Driver{Sessions: func(_ context.Context, o *stores.Opening) (_ session.Backend, err error) {
			client, err = o.Redis()
			return &session.Memory{}, err
		}}
		open(t, stores.Config{
			PolicyStore: "memory", SessionStore: "own", Redis: stores.RedisConfig{Addrs: []string{"127.0.0.1:1"}, Timeout: set},
		}, stores.WithDriver("own", d))
		if o := client.(*redis.Client).Options(); o.ReadTimeout != want || o.WriteTimeout != want || o.DialTimeout != 500*time.Millisecond {
			t.Errorf("%s: read %s, write %s, dial %s", set, o.ReadTimeout, o.WriteTimeout, o.DialTimeout)
		}
	}
}

func TestTLSUpgradesAPlainURL(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan byte, 1)
	go func() { // ends when the listener is closed
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 1)
			if _, err := conn.Read(b); err == nil {
				select {
				case first <- b[0]:
				default:
				}
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	open(t, stores.Config{
		SQL:   stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))},
		Redis: stores.RedisConfig{URL: stores.NewSecret("redis://" + listener.Addr().String()), TLS: true},
	})
	select {
	case b := <-first:
		if b != 0x16 { // a TLS handshake record
			t.Errorf("the first byte is %#x, not that of a handshake", b)
		}
	case <-time.After(patience):
		t.Fatal("nothing was sent")
	}
}

func TestClientThatReadsFromReplicasIsRefused(t *testing.T) {
	client, err := l2.NewClient(l2.ClientConfig{Addrs: []string{"127.0.0.1:1"}, Mode: l2.Cluster})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	type options interface{ Options() *redis.ClusterOptions }
	client.(options).Options().ReadOnly = true
	path := filepath.Join(t.TempDir(), "policies.db")
	if _, err := stores.Open(t.Context(), stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret("sqlite://" + path)}}, stores.WithRedis(client)); err == nil ||
		!strings.Contains(err.Error(), "replicas") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the database was made before the client was refused")
	}
}

func TestDriverThatIsNotLinkedIsNamed(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), goTool(t), "run", "./testdata/unlinked").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{"stores/driver/sqlite", "stores/driver/postgres"} {
		if !strings.Contains(string(out), `import _ "github.com/layercache/layercache/`+path+`"`) {
			t.Errorf("the error does not name %s: %s", path, out)
		}
	}
	if strings.Contains(string(out), "s3cret") {
		t.Errorf("the error holds the password: %s", out)
	}
}

// A program links the SQL drivers it wants; the library links none.
func TestOnlyDriverPackagesReachASQLDriver(t *testing.T) {
	const module = "github.com/layercache/layercache"
	out, err := exec.CommandContext(t.Context(), goTool(t), "list", "-f", `{{.ImportPath}} {{.Name}} {{join .Deps " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	drivers, libraries := 0, 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		path, name, deps := fields[0], fields[1], fields[2:]
		reaches := slices.ContainsFunc(deps, func(dep string) bool {
			return strings.HasPrefix(dep, "modernc.org/") || strings.HasPrefix(dep, "github.com/jackc/") || strings.HasPrefix(dep, module+"/stores/driver/")
		})
		switch {
		case strings.HasPrefix(path, module+"/stores/driver/"):
			drivers++
			if !reaches {
				t.Errorf("%s reaches no driver: the test looks for the wrong one", path)
			}
		case name == "main" || strings.HasPrefix(path, module+"/examples/") || strings.HasPrefix(path, module+"/cmd/"):
		default:
			libraries++
			if reaches {
				t.Errorf("%s reaches a SQL driver", path)
			}
		}
	}
	if drivers < 2 || libraries < 8 {
		t.Errorf("%d drivers and %d libraries listed", drivers, libraries)
	}
}

// goTool is the go command; the tests that ask it run where this one was built.
func goTool(t *testing.T) string {
	bin, err := exec.LookPath("go")
	if err != nil {
		t.Skip("NOT TESTED: go is not in PATH")
	}
	return bin
}

// stuck is a session backend whose saves say that they have begun and wait to be let go on.
type stuck struct {
	session.Backend
	in, on chan struct{}
}

func (s stuck) Save(ctx context.Context, id session.ID, rec session.Record, ttl time.Duration) error {
	close(s.in)
	<-s.on
	return s.Backend.Save(ctx, id, rec, ttl)
}

// Else the others would have no time left to give up their leases and to deliver what is pending.
func TestAStoreThatWaitsForAWriteTakesNoOthersTimeToClose(t *testing.T) {
	s := stuck{&session.Memory{}, make(chan struct{}), make(chan struct{})}
	own := stores.Driver{Sessions: func(context.Context, *stores.Opening) (session.Backend, error) { return s, nil }}
	b := open(t, stores.Config{SessionStore: "own"}, stores.WithDriver("own", own))
	policies, sessions := b.Policies(), b.Sessions() // the last made was the first to be closed
	allow(t, policies, agent(1))
	saved, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		saved <- sessions.Save(t.Context(), session.Session{ID: session.ID{1}, StartedAt: time.Unix(1, 0)})
	}()
	<-s.in
	go func() { closed <- b.Close(t.Context()) }()
	redistest.Eventually(t, patience, "closed policies", func() bool {
		_, err := policies.Decide(t.Context(), agent(1), action)
		return errors.Is(err, readthrough.ErrClosed)
	})
	select {
	case err := <-closed:
		t.Errorf("closed during a write: %v", err)
	default:
	}
	close(s.on)
	if err := errors.Join(<-saved, <-closed); err != nil {
		t.Error(err)
	}
}
