package redistest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
)

// RequireReal is the environment variable that, set to 1, makes a missing server program a failure instead of a skip.
const RequireReal = "LAYERCACHE_REQUIRE_REAL"

// Server is a redis-server process of the test's own.
type Server struct {
	t    testing.TB
	bin  string
	args func(port int) []string // of the command line
	dir  string
	port int
	run  *process // nil while it does not run
}

// Start runs redis-server on a free loopback port, in a temporary directory, without persistence. args are added to its
// command line and override that. It is killed when the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	return launch(t, dir, func(port int) []string {
		return append([]string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
			"--repl-diskless-sync-delay", "0",
		}, args...)
	})
}

// launch starts redis-server in a directory, on a port that it finds.
func launch(t testing.TB, dir string, args func(port int) []string) *Server {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		const missing = "NOT TESTED ON A REAL REDIS: redis-server is not in PATH"
		if os.Getenv(RequireReal) == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	s := &Server{t: t, bin: bin, args: args, dir: dir}
	t.Cleanup(s.Kill)
	var failed error
	for range 5 { // another process may take the port first
		s.port = freePort(t)
		if failed = s.start(); failed == nil {
			return s
		}
	}
	t.Fatalf("redistest: %v", failed)
	return nil
}

// freePort looks below the range from which systems take the ports of outgoing connections, so that a stopped server can
// have its port back.
func freePort(t testing.TB) int {
	t.Helper()
	for range 200 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("redistest: no free port on the loopback interface")
	return 0
}

// process is a redis-server under a shell that kills it as soon as nobody holds the other end of its standard input: a
// killed test binary leaves no server behind.
type process struct {
	shell *exec.Cmd
	input io.Closer
	pid   int // of redis-server
}

// keeper runs the server, and ends it when its standard input closes, which happens at the latest when the test binary dies.
// The kernel may hang up on both then, and nobody may read the process id any more.
const keeper = `trap '' HUP PIPE; "$0" "$@" </dev/null >server.log 2>&1 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null; wait`

func (s *Server) start() error {
	shell := exec.Command("sh", append([]string{"-c", keeper, s.bin}, s.args(s.port)...)...)
	shell.Dir = s.dir
	input, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	output, err := shell.StdoutPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	pid, bad := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || bad != nil {
		_ = input.Close()
		_ = shell.Wait()
		return fmt.Errorf("no process id from the shell: %w", errors.Join(err, bad))
	}
	s.run = &process{shell: shell, input: input, pid: pid}
	if !poll(10*time.Second, func() bool { return s.ready() || s.gone() }) || s.gone() {
		log, _ := os.ReadFile(filepath.Join(s.dir, "server.log"))
		s.Kill()
		return fmt.Errorf("redis-server did not start: %s", bytes.TrimSpace(log))
	}
	return nil
}

// ready reports that our own process answers: on a port that somebody else took, another server would.
func (s *Server) ready() bool {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "INFO server\r\n"); err != nil {
		return false
	}
	own := "process_id:" + strconv.Itoa(s.run.pid)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == own || strings.HasPrefix(line, "-NOAUTH") {
			return true
		}
		if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "process_id:") {
			return false
		}
	}
	return false
}

// gone reports that the process has ended; until the shell is waited for, its id belongs to nobody else.
func (s *Server) gone() bool {
	log, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	return err == nil && (bytes.Contains(log, []byte("Address already in use")) || bytes.Contains(log, []byte("FATAL CONFIG")))
}

// Addr is host:port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL is Addr as a Redis URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Dir is the server's working directory, where its RDB file is.
func (s *Server) Dir() string { return s.dir }

// Client makes a client with timeouts of 5 s, so that a busy machine fails no test. It is closed when the test ends.
func (s *Server) Client() redis.UniversalClient {
	s.t.Helper()
	return newClient(s.t, patient(l2.ClientConfig{Addrs: []string{s.Addr()}}))
}

// ClientAs makes a client of an ACL user. It is closed when the test ends.
func (s *Server) ClientAs(username, password string) redis.UniversalClient {
	s.t.Helper()
	return newClient(s.t, patient(l2.ClientConfig{Addrs: []string{s.Addr()}, Username: username, Password: password}))
}

// Kill ends the server at once, as SIGKILL does. It returns when the process is gone, and does nothing without one.
func (s *Server) Kill() {
	if s.run == nil {
		return
	}
	_ = syscall.Kill(s.run.pid, syscall.SIGKILL)
	_ = s.run.input.Close()
	_ = s.run.shell.Wait()
	s.run = nil
}

// Stop freezes the server with SIGSTOP: connections stay open and silent.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Cont lets a frozen server go on.
func (s *Server) Cont() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.run == nil {
		s.t.Fatal("redistest: the server does not run")
	}
	if err := syscall.Kill(s.run.pid, sig); err != nil {
		s.t.Fatalf("redistest: signal the server: %v", err)
	}
}

// Restart ends the server as Kill does and starts it again on the same port and directory: with what was saved there.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// Do runs one command on a connection of its own and fails the test on an error.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer func() { _ = client.Close() }()
	v, err := client.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("redistest: %v: %v", args[0], err)
	}
	return v
}

// Each runs f as two subtests: on a miniredis and on a real server, each fresh.
func Each(t *testing.T, f func(t *testing.T, client redis.UniversalClient, real bool)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		_, client := Mini(t)
		f(t, client, false)
	})
	t.Run("redis", func(t *testing.T) { f(t, Start(t).Client(), true) })
}
