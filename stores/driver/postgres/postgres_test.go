package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestImportRegistersTheDriver(t *testing.T) {
	for _, url := range []string{"postgres://h/d", "postgresql://h/d", "POSTGRES://h/d"} {
		d, err := sqlsource.Lookup(url)
		if err != nil || d.Dialect != sqlsource.Postgres || d.Open == nil || d.Listen == nil {
			t.Errorf("Lookup(%q) = %+v, %v", url, d, err)
		}
	}
}

func TestOpenMakesNoConnection(t *testing.T) {
	db, err := postgres.Open(t.Context(), "postgres://u:p@127.0.0.1:1/d")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPasswordMayHoldAnAtSign(t *testing.T) {
	maintenance := pgtest.Start(t)
	url := pgtest.NewDatabase(t)
	pgtest.Exec(t, maintenance, `DROP ROLE IF EXISTS odd; CREATE ROLE odd LOGIN PASSWORD 'p@s:s@'`)
	t.Cleanup(func() {
		db, err := postgres.Open(context.Background(), maintenance)
		if err != nil {
			t.Error(err)
			return
		}
		defer db.Close()
		if _, err := db.Exec("DROP ROLE odd"); err != nil {
			t.Error(err)
		}
	})
	db, err := postgres.Open(t.Context(), strings.Replace(url, "postgres@", "odd:p@s:s@@", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.PingContext(t.Context()); err != nil { // the right host and role; trust does not ask for the password
		t.Fatal(err)
	}
}

func TestMultipleHostsAreAccepted(t *testing.T) {
	db, err := postgres.Open(t.Context(), "postgres://u:p@127.0.0.1:1,127.0.0.1:2/d?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}

func TestAPoolNamesTheHostThatItMayTalkToInPlainText(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:p@db.example/d":                                          "db.example",
		"postgres://u:p@db.example/d?sslmode=disable":                          "db.example",
		"postgres://u:p@db.example/d?sslmode=allow":                            "db.example",
		"postgres://u:p@127.0.0.1,10.1.2.3/d?sslmode=disable":                  "10.1.2.3",
		"postgres://u:p@db.example/d?sslmode=require":                          "",
		"postgres://u:p@db.example/d?sslmode=verify-ca":                        "",
		"postgres://u:p@LOCALHOST/d?sslmode=disable":                           "",
		"postgres://u:p@127.8.0.1/d?sslmode=disable":                           "",
		"postgres://u:p@[::1]/d?sslmode=disable":                               "",
		"postgres://u:p@/d?host=/var/run/postgresql&sslmode=disable":           "",
		"postgres://u:p@db.example/d?host=/var/run/postgresql&sslmode=disable": "",
	} {
		db, err := postgres.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if got := db.Driver().(interface{ PlainTextHost() string }).PlainTextHost(); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
		_ = db.Close()
	}
}

func TestListenWakesAndEnds(t *testing.T) {
	db, err := postgres.Open(t.Context(), pgtest.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan struct{}, 16)
	ended := make(chan error, 1)
	go func() { ended <- postgres.Listen(ctx, db, func() { woken <- struct{}{} }) }()
	await(t, woken)
	if _, err := db.ExecContext(t.Context(), "SELECT pg_notify('layercache', 'policies')"); err != nil {
		t.Fatal(err)
	}
	await(t, woken)
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Listen = %v, want the context's error", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Listen goes on after its context")
	}
	if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
		t.Fatalf("the pool after Listen: %v", err)
	}
}

func TestListenReturnsWhenTheConnectionIsLost(t *testing.T) {
	db, err := postgres.Open(t.Context(), pgtest.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	woken := make(chan struct{}, 16)
	ended := make(chan error, 1)
	go func() { ended <- postgres.Listen(t.Context(), db, func() { woken <- struct{}{} }) }()
	await(t, woken)
	if _, err := db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Fatal("Listen returned nil after its connection was lost")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Listen waits on a lost connection")
	}
}

func await(t *testing.T, woken <-chan struct{}) {
	t.Helper()
	select {
	case <-woken:
	case <-time.After(5 * time.Second):
		t.Fatal("not woken")
	}
}

// FuzzNoErrorHoldsThePassword puts a password of two recognisable ends and anything between into a URL, unencoded, and
// looks for the ends in every error of opening and of connecting.
func FuzzNoErrorHoldsThePassword(f *testing.F) {
	for _, middle := range []string{"", "@", "/", "?", "#", "%", ":", "@h/", "%zz", " ", "[", "]", "=", "&", ",", "\x00", "@[", ":1,", "\n", "://", "\\", "é", "'", "@h?password="} {
		f.Add(middle, "/db")
		f.Add(middle, "")
		f.Add(middle, "/db?sslmode=nonsense")
		f.Add(middle, ":notaport/db?sslmode=disable&connect_timeout=x")
	}
	f.Fuzz(func(t *testing.T, middle, tail string) {
		const head, end = "Zq9vHEAD", "xK7wTAIL"
		if strings.Contains(tail, head) || strings.Contains(tail, end) {
			t.Skip()
		}
		for _, url := range []string{
			"postgres://user:" + head + middle + end + "@127.0.0.1:1" + tail,
			"postgresql://user:" + head + middle + end + "@" + tail,
		} {
			_, lookupErr := sqlsource.Lookup(strings.TrimPrefix(url, "postgres://"))
			for _, err := range []error{connect(url), lookupErr} {
				if err != nil && (strings.Contains(err.Error(), head) || strings.Contains(err.Error(), end)) {
					t.Fatalf("%q: the password is in: %v", url, err)
				}
			}
		}
	})
}

// connect opens a URL and tries to use it, unless that would leave this machine.
func connect(url string) error {
	db, err := postgres.Open(context.Background(), url)
	if err != nil {
		return err
	}
	defer db.Close()
	if !strings.Contains(url, "@127.0.0.1:1") || strings.ContainsAny(url, ",") || strings.Contains(url, "host") || strings.Contains(url, "service") {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	return db.PingContext(ctx)
}
