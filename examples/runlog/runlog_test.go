package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
)

// proves runs the program to its end and fails the test unless it proved what it says.
func proves(t *testing.T, redisURL string) {
	t.Helper()
	x := runProgram(t, redisURL, "-tokens", "200", "-duration", "500ms", "-kills", "2")
	code, stdout, said := x.wait()
	t.Log(stdout, said)
	if code != exitDone || said != "" {
		t.Errorf("exit code %d, stderr %q", code, said)
	}
	for _, line := range []string{
		`(?m)^killed +after event [1-9][0-9]*; `,
		`(?m)^heard +202 events in .* by 3 processes: 0 lost, 0 repeated$`,
		`(?m)^proved: `,
	} {
		if !regexp.MustCompile(line).MatchString(stdout) {
			t.Errorf("no line like %s", line)
		}
	}
	x.noFilesLeft()
}

func TestNothingIsLostOrRepeatedWithNothingInstalled(t *testing.T) { proves(t, "") }

func TestNothingIsLostOrRepeatedOverRedisAndNothingStaysThere(t *testing.T) {
	server := redistest.Start(t)
	server.Do("SET", "{runs:x}:events", "somebody else's")
	proves(t, server.URL())
	if n := server.Do("DBSIZE"); n != int64(1) {
		t.Errorf("%v keys are left in Redis, want the 1 from before", n)
	}
}

func TestWrongInputIsRefusedByNameAndLeavesNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		redis string
		args  []string
		code  int
		says  string
	}{
		"tokens":   {args: []string{"-tokens", "0"}, code: exitUsage, says: "-tokens must be"},
		"kills":    {args: []string{"-kills", "30"}, code: exitUsage, says: "-kills must be"},
		"argument": {args: []string{"now"}, code: exitUsage, says: "flags only"},
		"redis":    {redis: "http://user:secret@h", code: exitFailed, says: "REDIS_URL"},
		"no redis": {redis: "redis://:secret@127.0.0.1:1", code: exitFailed, says: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			x := runProgram(t, c.redis, c.args...)
			code, _, said := x.wait()
			if code != c.code || !strings.Contains(said, c.says) || strings.Contains(said, "secret") {
				t.Errorf("exit code %d, stderr %q", code, said)
			}
			x.noFilesLeft()
		})
	}
}

func TestALineThatWasNotFinishedIsCutOffAndHeardAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "transcript")
	const whole = `{"cursor":"1@ab","kind":"A"}` + "\n" + `{"cursor":"2@ab","kind":"B"}` + "\n"
	if err := os.WriteFile(path, []byte(whole+`{"cursor":"3@a`), 0o600); err != nil {
		t.Fatal(err)
	}
	file, at, err := resume(path)
	if err != nil || at != (runlog.Cursor{Seq: 2, Life: "ab"}) {
		t.Fatal(at, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); string(data) != whole || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}

// The proof is worth something only if it can fail.
func TestTheVerdictSeesWhatIsLostRepeatedOrChanged(t *testing.T) {
	log, err := runlog.New(runlog.Config{Backend: &runlog.Memory{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close(context.Background()) }()
	m := model{log: log, run: "r"}
	var right []line
	for _, text := range []string{"a", "b", "c"} {
		if err := m.say(t.Context(), runlog.TextDelta, map[string]string{"delta": text}); err != nil {
			t.Fatal(err)
		}
		right = append(right, line{Cursor: m.appended[len(m.appended)-1].Cursor(), Kind: runlog.TextDelta, Delta: text})
	}
	if _, _, err := verdict(m.appended, right); err != nil {
		t.Error(err)
	}
	changed := []line{right[0], right[1], {Cursor: right[2].Cursor, Kind: right[2].Kind, Delta: "x"}}
	for name, lines := range map[string][]line{
		"lost": right[:2], "nothing": nil, "repeated": append(right[:3:3], right[2]), "order": {right[0], right[2], right[1]}, "changed": changed,
	} {
		if _, _, err := verdict(m.appended, lines); err == nil {
			t.Errorf("%s: proved", name)
		}
	}
}
