package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// supervisor runs the server, and stops and starts it when a line of its standard input says so. It ends when that closes,
// which happens at the latest when the test binary dies. The kernel may hang up on both then.
const supervisor = `trap '' HUP
bin=$1 dir=$2 port=$3 sync=$4 pid=
start() {
	"$bin/postgres" -D "$dir/data" -c port="$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
		-c fsync=off -c synchronous_commit="$sync" -c full_page_writes=off -c shared_buffers=16MB -c max_connections=200 \
		-c autovacuum=off -c log_min_messages=fatal >"$dir/log" 2>&1 </dev/null &
	pid=$!
}
stop() { if [ -n "$pid" ]; then kill -QUIT "$pid"; wait "$pid"; pid=; fi; }
start
while read -r order; do "$order"; done
stop
rm -rf "$dir"`

// shared is the one cluster of this test binary.
var shared struct {
	once   sync.Once
	server *Server // kept, so that its pipe is not collected
	err    error
}

var errMissing = errors.New("the PostgreSQL server programs are not installed (initdb, postgres, psql)")

// Start answers the URL of the cluster's maintenance database, and starts the cluster if no test has yet. It skips the
// test if PostgreSQL is not installed, and fails it if LAYERCACHE_REQUIRE_REAL=1 or the server does not start.
func Start(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() { shared.server, shared.err = start("off") })
	check(tb, shared.err)
	return shared.server.url
}

func check(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case errors.Is(err, errMissing) && os.Getenv("LAYERCACHE_REQUIRE_REAL") != "1":
		tb.Skipf("NOT TESTED: %v", err)
	case err != nil:
		tb.Fatalf("pgtest: %v", err)
	}
}

// Server is a cluster that one test may stop. What it has committed outlives that.
type Server struct {
	url   string // of the database postgres
	stdin *os.File
}

// NewServer starts a cluster of the test's own, which ends with the test. It skips and fails as Start does.
func NewServer(tb testing.TB) *Server {
	tb.Helper()
	s, err := start("on")
	check(tb, err)
	tb.Cleanup(func() { _ = s.stdin.Close() })
	return s
}

// URL is that of the maintenance database.
func (s *Server) URL() string { return s.url }

// Stop ends the server as a crash does: at once, whatever its clients were about to do. It returns when nothing answers.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	s.order(tb, "stop", false)
}

// Start starts it again, and returns when it answers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.order(tb, "start", true)
}

func (s *Server) order(tb testing.TB, order string, answers bool) {
	tb.Helper()
	if _, err := s.stdin.WriteString(order + "\n"); err != nil {
		tb.Fatalf("pgtest: %s: %v", order, err)
	}
	for range 1200 {
		if _, err := psql(context.Background(), s.url, "SELECT 1"); (err == nil) == answers {
			return
		}
		<-time.After(25 * time.Millisecond)
	}
	tb.Fatalf("pgtest: %s: not done within 30 s", order)
}

// start makes a cluster. commit says, on or off, whether a commit is answered only when it outlives the server.
func start(commit string) (*Server, error) {
	bindir, err := programs()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	if err := as.own(dir); err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bindir, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres",
		"-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir = dir
	as.run(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out)), os.RemoveAll(dir))
	}
	for range 5 { // a port that was free a moment ago may be taken now
		var s *Server
		if s, err = serve(as, bindir, dir, commit); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// serve starts the server on a free port and waits until it answers.
func serve(as account, bindir, dir, commit string) (*Server, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	if err := free.Close(); err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	shell := exec.Command("/bin/sh", "-c", supervisor, "pgtest", bindir, dir, port, commit)
	shell.Dir, shell.Stdin = dir, read
	as.run(shell)
	if err := shell.Start(); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	url := "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable"
	for range 600 {
		if _, err = psql(context.Background(), url, "SELECT 1"); err == nil {
			return &Server{url: url, stdin: write}, nil
		}
		if data, _ := os.ReadFile(filepath.Join(dir, "log")); bytes.Contains(data, []byte("could not bind")) {
			break
		}
		<-time.After(25 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	return nil, errors.Join(fmt.Errorf("the server does not answer: %w: %s", err, bytes.TrimSpace(log)), write.Close())
}

// programs is the folder of the server's programs.
var programs = sync.OnceValues(findPrograms)

func findPrograms() (bindir string, err error) {
	var candidates []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(path))
		}
	}
	for _, dir := range candidates {
		complete := true
		for _, name := range []string{"initdb", "postgres", "psql"} {
			if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
				complete = false
			}
		}
		if complete {
			return dir, nil
		}
	}
	return "", errMissing
}
