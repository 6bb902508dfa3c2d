package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/l2/redistest"
)

// asProgram makes this test binary the program itself.
const asProgram = "LAYERCACHE_DISPATCH_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(program())
	}
	goleak.VerifyTestMain(m)
}

// command is the program, with REDIS_URL as given ("": unset).
func command(t *testing.T, redisURL string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), self, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REDIS_URL=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, asProgram+"=1")
	if redisURL != "" {
		cmd.Env = append(cmd.Env, "REDIS_URL="+redisURL)
	}
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func proves(t *testing.T, redisURL string) {
	t.Helper()
	agents := "200"
	if testing.Short() { // 200 keep a Redis that is embedded and slow, as under the race detector, from answering in time
		agents = "60"
	}
	cmd, stdout, stderr := command(t, redisURL, "-agents", agents)
	_ = cmd.Run() // the exit code says it
	t.Log(stdout.String(), stderr.String())
	if code := cmd.ProcessState.ExitCode(); code != exitDone || stderr.Len() > 0 {
		t.Errorf("exit code %d", code)
	}
	for _, line := range []string{`(?m)^registered +` + agents + ` agents`, `(?m)^failing +12 agents`, `(?m)^reaped +[1-9]`, `(?m)^tasks +[1-9]`, `(?m)^proved +nobody`} {
		if !regexp.MustCompile(line).MatchString(stdout.String()) {
			t.Errorf("no line like %s", line)
		}
	}
}

func TestTasksReachAgentsThatLiveWithNothingInstalled(t *testing.T) { proves(t, "") }

func TestTasksReachAgentsThatLiveOverRedisAndNothingStaysThere(t *testing.T) {
	server := redistest.Start(t)
	server.Do("SET", "agentic:agent:somebody", "else's")
	proves(t, server.URL())
	if n := server.Do("DBSIZE"); n != int64(1) {
		t.Errorf("%v keys are left in Redis, want the 1 from before: %v", n, server.Do("KEYS", "*"))
	}
}

// A machine that is slow beyond the grace makes agents late that live: they are marked, beat, and are found again.
func TestWhoIsMarkedAndMayBeatIsNotGoneForGood(t *testing.T) {
	var none *names
	late := none.and([]string{"late"}, names{"late": false})
	both := late.and([]string{"silent"}, names{"late": false, "silent": true})
	if none.has("late") || late.has("late") || both.has("late") || !both.has("silent") {
		t.Errorf("gone for good are %v, then %v", *late, *both)
	}
	if after := both.and(nil, nil); !after.has("silent") {
		t.Errorf("gone for good are %v", *after)
	}
}

func TestAnOutageOfRedisIsWaitedOutAndTakenForNoDeath(t *testing.T) {
	server := redistest.Start(t)
	cmd, _, stderr := command(t, server.URL())
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if strings.HasPrefix(lines.Text(), "registered") {
			server.Stop()
			<-time.After(2500 * time.Millisecond) // longer than a call waits, shorter than the grace
			server.Cont()
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitDone || !strings.Contains(said.String(), "\noutages ") {
		t.Errorf("exit code %d, %s, %s", code, said.String(), stderr)
	}
}

func TestInterruptEndsItCleanly(t *testing.T) {
	server := redistest.Start(t)
	cmd, stdout, stderr := command(t, server.URL(), "-duration", "1h")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, 30*time.Second, "agents", func() bool { return server.Do("DBSIZE").(int64) > 100 })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d, %s, %s", code, stdout, stderr)
	}
	if n := server.Do("DBSIZE"); n != int64(0) {
		t.Errorf("%v keys are left", n)
	}
}

func TestWrongInputIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		redis string
		args  []string
		code  int
		says  string
	}{
		"agents":   {args: []string{"-agents", "1"}, code: exitUsage, says: "-agents must be"},
		"failing":  {args: []string{"-failing", "100"}, code: exitUsage, says: "-failing must be"},
		"duration": {args: []string{"-duration", "1ms"}, code: exitUsage, says: "-duration must be"},
		"argument": {args: []string{"now"}, code: exitUsage, says: "flags only"},
		"redis":    {redis: "http://user:secret@h", code: exitFailed, says: "REDIS_URL"},
		"no redis": {redis: "redis://:secret@127.0.0.1:1", code: exitFailed, says: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, _, stderr := command(t, c.redis, c.args...)
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(stderr.String(), c.says) || strings.Contains(stderr.String(), "secret") {
				t.Errorf("exit code %d, %s", code, stderr)
			}
		})
	}
}
