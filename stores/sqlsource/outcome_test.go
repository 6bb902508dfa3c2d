package sqlsource_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/driver/postgres"
	"github.com/layercache/layercache/stores/sqlsource"
)

// The server commits, and its answer never arrives.
func TestLostAnswerIsAnUnknownOutcome(t *testing.T) {
	d := newPostgres(t)
	p := newProxy(t, d.url)
	table := p.table(t, d.url)
	if _, err := table.Put(t.Context(), "a", []byte("one"), "w"); err != nil {
		t.Fatal(err)
	}
	for _, write := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"put", func(ctx context.Context) error { _, err := table.Put(ctx, "a", []byte("two"), "w"); return err }},
		{"delete", func(ctx context.Context) error { _, _, err := table.Delete(ctx, "a", "w"); return err }},
		{"import", func(ctx context.Context) error {
			_, _, err := table.Import(ctx, func(yield func(string, []byte) bool) { yield("a", []byte("two")) })
			return err
		}},
	} {
		eventually(t, 30*time.Second, "a connection that has the statement prepared, and is not pinged before its next use", func() bool {
			first, second := write.do(t.Context()), write.do(t.Context())
			return first == nil && second == nil
		})
		before := d.put(t, "a", "one")
		p.swallow.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		err := write.do(ctx)
		cancel()
		p.swallow.Store(false)
		p.cut()
		var unknown *sqlsource.UnknownOutcomeError
		if !errors.As(err, &unknown) || unknown.Op != write.name || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s = %v, want an unknown outcome after a deadline", write.name, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("%s ended %v after its deadline", write.name, took)
		}
		eventually(t, 30*time.Second, "the write is committed and logged", func() bool { return d.logged(t, before) == "a" })
	}
}

func TestConnectionCutBeforeTheAnswerIsAnUnknownOutcome(t *testing.T) {
	d := newPostgres(t)
	p := newProxy(t, d.url)
	table := p.table(t, d.url)
	if _, err := table.Put(t.Context(), "a", []byte("one"), "w"); err != nil {
		t.Fatal(err)
	}
	held := d.hold(t)
	failed := make(chan error, 1)
	go func() { _, err := table.Put(t.Context(), "a", []byte("two"), "w"); failed <- err }()
	d.waitBlocked(t)
	p.cut()
	var unknown *sqlsource.UnknownOutcomeError
	if err := <-failed; !errors.As(err, &unknown) {
		t.Fatalf("Put = %v, want an unknown outcome", err)
	}
	held()
}

func TestTerminatedBackendIsAnUnknownOutcome(t *testing.T) {
	d := newPostgres(t)
	before := d.put(t, "a", "one")
	held := d.hold(t)
	failed := make(chan error, 1)
	go func() { _, err := d.table.Put(t.Context(), "a", []byte("two"), "w"); failed <- err }()
	d.waitBlocked(t)
	d.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	var unknown *sqlsource.UnknownOutcomeError
	if err := <-failed; !errors.As(err, &unknown) {
		t.Fatalf("Put = %v, want an unknown outcome", err)
	}
	held()
	if page := d.changes(t, before, 0); len(page.Changes) != 0 {
		t.Fatalf("a terminated write is in the log: %+v", page)
	}
	d.put(t, "a", "three") // the pool mends itself
}

func TestStatementRefusedByTheServerIsNoUnknownOutcome(t *testing.T) {
	d := newPostgres(t)
	d.hold(t)
	source, err := sqlsource.New(sqlsource.Config{DB: d.openDB(t, d.url+"&lock_timeout=50"), Dialect: sqlsource.Postgres})
	if err != nil {
		t.Fatal(err)
	}
	table, err := source.Table(sqlsource.Policies, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = table.Put(t.Context(), "a", nil, "w")
	var unknown *sqlsource.UnknownOutcomeError
	if err == nil || errors.As(err, &unknown) {
		t.Fatalf("Put = %v, want a plain failure", err)
	}
}

func TestEveryCallEndsWithItsContext(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		table := d.table
		if d.dialect == sqlsource.Postgres { // a server that answers nothing
			p := newProxy(t, d.url)
			table = p.table(t, d.url)
			if _, err := table.Head(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.swallow.Store(true)
			defer p.swallow.Store(false)
		} else { // another program holds the write lock
			d.hold(t)
		}
		calls := map[string]func(context.Context) error{
			"Put":    func(ctx context.Context) error { _, err := table.Put(ctx, "a", nil, ""); return err },
			"Delete": func(ctx context.Context) error { _, _, err := table.Delete(ctx, "a", ""); return err },
			"Import": func(ctx context.Context) error {
				_, _, err := table.Import(ctx, func(yield func(string, []byte) bool) { yield("a", nil) })
				return err
			},
		}
		if d.dialect == sqlsource.Postgres { // SQLite's readers never wait
			calls["Get"] = func(ctx context.Context) error { _, _, err := table.Get(ctx, "a"); return err }
			calls["GetMany"] = func(ctx context.Context) error { _, _, err := table.GetMany(ctx, []string{"a"}); return err }
			calls["Head"] = func(ctx context.Context) error { _, err := table.Head(ctx); return err }
			calls["Changes"] = func(ctx context.Context) error { _, err := table.Changes(ctx, 0, 0); return err }
		}
		for name, call := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			began := time.Now()
			err := call(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s = %v, want the deadline's error", name, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s took %v with 150 ms to live", name, took)
			}
		}
	})
}

func TestServerThatIsDownIsAFailureNotAnAbsence(t *testing.T) {
	db, err := postgres.Open(t.Context(), "postgres://u:hunter2@127.0.0.1:1/x?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	source, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: sqlsource.Postgres})
	if err != nil {
		t.Fatal(err)
	}
	table, err := source.Table(sqlsource.Policies, "")
	if err != nil {
		t.Fatal(err)
	}
	_, found, getErr := table.Get(t.Context(), "a")
	_, putErr := table.Put(t.Context(), "a", nil, "")
	var unknown *sqlsource.UnknownOutcomeError
	if getErr == nil || found || putErr == nil || errors.As(putErr, &unknown) {
		t.Fatalf("Get = %v, %v; Put = %v; want plain failures", found, getErr, putErr)
	}
	if strings.Contains(getErr.Error()+putErr.Error(), "hunter2") {
		t.Fatalf("the password is in %v / %v", getErr, putErr)
	}
}

// hold keeps writers out, as a foreign program in the middle of a transaction does, until the test ends or release.
func (d *database) hold(t testing.TB) (release func()) {
	t.Helper()
	conn, err := d.openDB(t, d.url).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begin := "BEGIN"
	if d.dialect == sqlsource.SQLite {
		begin = "BEGIN IMMEDIATE"
	}
	for _, q := range []string{begin, "UPDATE layercache_policies SET document = document"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	release = sync.OnceFunc(func() {
		_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
		conn.Close()
	})
	t.Cleanup(release)
	return release
}

func (d *database) waitBlocked(t testing.TB) {
	t.Helper()
	eventually(t, 30*time.Second, "a writer waits for the version row", func() bool {
		var n int
		err := d.db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
}
