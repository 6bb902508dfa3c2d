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

// asProgram makes this test binary the program itself, and so the followers it starts.
const asProgram = "LAYERCACHE_RUNLOG_EXAMPLE_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		// Before its first child Go's runtime looks how to make one, by a child that shares its memory and heeds signals: a
		// Ctrl-C in that moment crashes it. Here it looks before a test can send one.
		_, _ = os.FindProcess(os.Getpid())
		os.Exit(program())
	}
	goleak.VerifyTestMain(m)
}

// example is the program under test, as a process.
type example struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *os.File
	stderr *os.File // held open by its followers too: it ends when all of them are gone
	lines  *bufio.Reader
	dir    string // where it makes temporary files
}

// runProgram starts the program with REDIS_URL as given ("": unset).
func runProgram(t *testing.T, redisURL string, args ...string) *example {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	x := &example{t: t, dir: t.TempDir()}
	x.cmd = exec.Command(self, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REDIS_URL=") {
			x.cmd.Env = append(x.cmd.Env, v)
		}
	}
	x.cmd.Env = append(x.cmd.Env, asProgram+"=1", "TMPDIR="+x.dir, "TMP="+x.dir)
	if redisURL != "" {
		x.cmd.Env = append(x.cmd.Env, "REDIS_URL="+redisURL)
	}
	x.cmd.SysProcAttr = ownGroup()
	var outs, errs *os.File
	if x.stdout, outs, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if x.stderr, errs, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	x.lines = bufio.NewReader(x.stdout)
	x.cmd.Stdout, x.cmd.Stderr = outs, errs
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // gone, unless the test has failed
		_, _ = x.cmd.Process.Wait()
		_, _ = x.stdout.Close(), x.stderr.Close()
	})
	_, _ = outs.Close(), errs.Close()
	return x
}

// until reads its output up to a line that contains text.
func (x *example) until(text string) {
	x.t.Helper()
	var seen strings.Builder
	for {
		line, err := x.lines.ReadString('\n')
		seen.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			said, _ := io.ReadAll(x.stderr)
			x.t.Fatalf("%q was never printed: %v\n%s%s", text, err, seen.String(), said)
		}
	}
}

// wait answers its exit code and what it has printed, once it and all its followers are gone.
func (x *example) wait() (code int, stdout, stderr string) {
	x.t.Helper()
	out, err := io.ReadAll(x.lines)
	if err != nil {
		x.t.Fatal(err)
	}
	return x.ended(), string(out), x.nobodyLeft()
}

func (x *example) ended() int {
	x.t.Helper()
	err := x.cmd.Wait()
	if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
		x.t.Fatal(err)
	}
	return x.cmd.ProcessState.ExitCode()
}

// nobodyLeft waits until no process holds stderr, and answers what was said there.
func (x *example) nobodyLeft() string {
	x.t.Helper()
	if err := x.stderr.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		x.t.Fatal(err)
	}
	said, err := io.ReadAll(x.stderr)
	if err != nil {
		x.t.Fatalf("a process is left: %v\n%s", err, said)
	}
	return string(said)
}

// noFilesLeft fails the test if a temporary file has been left.
func (x *example) noFilesLeft() {
	x.t.Helper()
	left, err := os.ReadDir(x.dir)
	if err != nil || len(left) > 0 {
		x.t.Errorf("left in the temporary directory: %v %v", left, err)
	}
}
