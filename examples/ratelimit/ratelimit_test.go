package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/l2/redistest"
)

// asProgram makes this test binary the program itself, and so the children it starts.
const asProgram = "LAYERCACHE_RATELIMIT_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(program())
	}
	goleak.VerifyTestMain(m)
}

// runProgram runs the program to its end, with REDIS_URL as given ("": unset).
func runProgram(t *testing.T, redisURL string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REDIS_URL=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, asProgram+"=1")
	if redisURL != "" {
		cmd.Env = append(cmd.Env, "REDIS_URL="+redisURL)
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

func proves(t *testing.T, redisURL string) {
	t.Helper()
	code, stdout, said := runProgram(t, redisURL, "-duration", "500ms")
	t.Log(stdout, said)
	if code != exitDone || said != "" {
		t.Errorf("exit code %d, stderr %q", code, said)
	}
	for _, line := range []string{
		`(?m)^ +tenant 950 of 950, `,
		`(?m)^ +fixed +\d`,
		`(?m)^ +gcra +\d`,
		`(?m)^ +all +[0-9,]+ +[0-9,]+ +[0-9,]+ times`,
		`(?m)^leases +spent [1-9]`,
		`(?m)^proved: `,
	} {
		if !regexp.MustCompile(line).MatchString(stdout) {
			t.Errorf("no line like %s", line)
		}
	}
}

func TestNoLimitIsExceededWithNothingInstalled(t *testing.T) { proves(t, "") }

func TestNoLimitIsExceededOverRedisAndNothingStaysThere(t *testing.T) {
	server := redistest.Start(t)
	server.Do("SET", "aa:ratelimit:tenant", 7) // somebody else's
	proves(t, server.URL())
	if n := server.Do("DBSIZE"); n != int64(1) {
		t.Errorf("%v keys are left in Redis, want the 1 from before", n)
	}
}

func TestWrongInputIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		redis string
		args  []string
		code  int
		says  string
	}{
		"flag":     {args: []string{"-processes", "0"}, code: exitUsage, says: "-processes must be"},
		"duration": {args: []string{"-duration", "1ms"}, code: exitUsage, says: "-duration must be"},
		"argument": {args: []string{"now"}, code: exitUsage, says: "flags only"},
		"redis":    {redis: "http://user:secret@h", code: exitFailed, says: "REDIS_URL"},
		"no redis": {redis: "redis://:secret@127.0.0.1:1", code: exitFailed, says: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, said := runProgram(t, c.redis, c.args...)
			if code != c.code || !strings.Contains(said, c.says) || strings.Contains(said, "secret") {
				t.Errorf("exit code %d, stderr %q", code, said)
			}
		})
	}
}

// A part that saw more than may be is a fault, and the program fails by it.
func TestAViolationIsFound(t *testing.T) {
	var p parent
	p.judgePace(fixed, fixedPace, []result{{Slots: []int64{200}, Allowed: 201}}, fixedPace.Window)
	p.judgePace(smooth, smoothPace, []result{{Slots: []int64{125}, Allowed: 125}}, fixedPace.Window)
	p.judgeLeases([]result{{Allowed: 2*leasedLimit.Max + 1}}, leasedLimit.Window)
	if len(p.faults) != 3 {
		t.Errorf("found: %v", p.faults)
	}
}
