package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram makes this test binary the program itself, and so the children it starts.
const asProgram = "LAYERCACHE_QUICKSTART_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		// Before its first child Go's runtime looks how to make one, by a child that shares its memory and heeds signals: a
		// Ctrl-C in that moment crashes it. Here it looks before a test can send one.
		_, _ = os.FindProcess(os.Getpid())
		os.Exit(program())
	}
	goleak.VerifyTestMain(m)
}

// quickstart is the program under test, as a process.
type quickstart struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *os.File
	stderr *os.File // held open by its children too: it ends when all of them are gone
	lines  *bufio.Reader
	dir    string // where it makes temporary files
}

// runProgram starts the program with REDIS_URL and DATABASE_URL as given ("": unset).
func runProgram(t *testing.T, redisURL, databaseURL string, args ...string) *quickstart {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	q := &quickstart{t: t, dir: t.TempDir()}
	q.cmd = exec.Command(self, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REDIS_URL=") && !strings.HasPrefix(v, "DATABASE_URL=") {
			q.cmd.Env = append(q.cmd.Env, v)
		}
	}
	q.cmd.Env = append(q.cmd.Env, asProgram+"=1", "TMPDIR="+q.dir, "TMP="+q.dir)
	if redisURL != "" {
		q.cmd.Env = append(q.cmd.Env, "REDIS_URL="+redisURL)
	}
	if databaseURL != "" {
		q.cmd.Env = append(q.cmd.Env, "DATABASE_URL="+databaseURL)
	}
	q.cmd.SysProcAttr = ownGroup()
	var outs, errs *os.File
	if q.stdout, outs, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if q.stderr, errs, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	q.lines = bufio.NewReader(q.stdout)
	q.cmd.Stdout, q.cmd.Stderr = outs, errs
	if err := q.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = q.cmd.Process.Kill() // gone, unless the test has failed
		_, _ = q.cmd.Process.Wait()
		_, _ = q.stdout.Close(), q.stderr.Close()
	})
	_, _ = outs.Close(), errs.Close()
	return q
}

// until reads its output up to a line that contains text.
func (q *quickstart) until(text string) {
	q.t.Helper()
	var seen strings.Builder
	for {
		line, err := q.lines.ReadString('\n')
		seen.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			said, _ := io.ReadAll(q.stderr)
			q.t.Fatalf("%q was never printed: %v\n%s%s", text, err, seen.String(), said)
		}
	}
}

// wait answers its exit code and what it has printed, once it and all its children are gone.
func (q *quickstart) wait() (code int, stdout, stderr string) {
	q.t.Helper()
	out, err := io.ReadAll(q.lines)
	if err != nil {
		q.t.Fatal(err)
	}
	return q.ended(), string(out), q.nobodyLeft()
}

func (q *quickstart) ended() int {
	q.t.Helper()
	err := q.cmd.Wait()
	if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
		q.t.Fatal(err)
	}
	return q.cmd.ProcessState.ExitCode()
}

// nobodyLeft waits until no process holds stderr, and answers what was said there.
func (q *quickstart) nobodyLeft() string {
	q.t.Helper()
	if err := q.stderr.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		q.t.Fatal(err)
	}
	said, err := io.ReadAll(q.stderr)
	if err != nil {
		q.t.Fatalf("a process is left: %v\n%s", err, said)
	}
	return string(said)
}

// noFilesLeft fails the test if a temporary file has been left.
func (q *quickstart) noFilesLeft() {
	q.t.Helper()
	left, err := os.ReadDir(q.dir)
	if err != nil || len(left) > 0 {
		q.t.Errorf("left in the temporary directory: %v %v", left, err)
	}
}
