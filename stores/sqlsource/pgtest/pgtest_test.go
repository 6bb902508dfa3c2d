package pgtest_test

import (
	"bufio"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDatabasesAreFreshAndApart(t *testing.T) {
	a, b := pgtest.NewDatabase(t), pgtest.NewDatabase(t)
	if first, second := pgtest.Start(t), pgtest.Start(t); first != second || a == b {
		t.Fatal("one cluster and two databases were asked for")
	}
	pgtest.Exec(t, a, "CREATE TABLE x (i int); INSERT INTO x VALUES (7)")
	if got := pgtest.Exec(t, a, "SELECT i FROM x"); got != "7" {
		t.Fatalf("Exec = %q, want 7", got)
	}
	if got := pgtest.Exec(t, b, "SELECT count(*) FROM pg_tables WHERE tablename = 'x'"); got != "0" {
		t.Fatalf("the other database has the table too: %q", got)
	}
}

func TestDatabaseIsDroppedAfterItsTest(t *testing.T) {
	var name string
	t.Run("inner", func(t *testing.T) {
		u, err := url.Parse(pgtest.NewDatabase(t))
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimPrefix(u.Path, "/")
	})
	if got := pgtest.Exec(t, pgtest.Start(t), "SELECT count(*) FROM pg_database WHERE datname = '"+name+"'"); got != "0" {
		t.Fatalf("%s is still there", name)
	}
}

func TestServerThatIsStoppedKeepsWhatWasCommitted(t *testing.T) {
	s := pgtest.NewServer(t)
	if s.URL() == pgtest.Start(t) {
		t.Fatal("it is the shared one")
	}
	pgtest.Exec(t, s.URL(), "CREATE TABLE x (i int)")
	for i := range 3 {
		pgtest.Exec(t, s.URL(), "INSERT INTO x VALUES (7)")
		s.Stop(t)
		s.Start(t)
		if got := pgtest.Exec(t, s.URL(), "SELECT count(*) FROM x"); got != strconv.Itoa(i+1) {
			t.Fatalf("%s rows, want %d", got, i+1)
		}
	}
}

// TestServerOfAKilledBinary is the binary that TestServerEndsWithItsBinary kills.
func TestServerOfAKilledBinary(t *testing.T) {
	if os.Getenv("PGTEST_VICTIM") == "" {
		t.Skip("runs as a child of TestServerEndsWithItsBinary")
	}
	os.Stdout.WriteString("\nurl " + pgtest.Start(t) + "\n")
	<-t.Context().Done()
}

func TestServerEndsWithItsBinary(t *testing.T) {
	pgtest.Start(t) // skips without PostgreSQL
	tmp, err := os.MkdirTemp("", "victim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServerOfAKilledBinary$")
	victim.Env = append(os.Environ(), "PGTEST_VICTIM=1", "TMPDIR="+tmp)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var host string
	for lines := bufio.NewScanner(out); host == "" && lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "url "); ok {
			u, err := url.Parse(rest)
			if err != nil {
				t.Fatal(err)
			}
			host = u.Host
		}
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	gone := func() bool {
		left, err := filepath.Glob(filepath.Join(tmp, "pgtest*"))
		conn, dialErr := net.DialTimeout("tcp", host, time.Second)
		if dialErr == nil {
			conn.Close()
		}
		return err == nil && len(left) == 0 && dialErr != nil
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !gone(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the server or its directory is still there after its test binary was killed")
		}
	}
}
