package redistest_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
)

const patience = 10 * time.Second

func ping(t *testing.T, client redis.UniversalClient) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	return client.Ping(ctx).Err()
}

func TestEachRunsOnBothKinds(t *testing.T) {
	kinds := map[bool]int{}
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		kinds[real]++
		if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	})
	if kinds[false] != 1 {
		t.Fatalf("ran %v", kinds)
	}
	redistest.Start(t) // skips where there is no redis-server
	if kinds[true] != 1 {
		t.Fatalf("ran %v", kinds)
	}
}

func TestTimePassesInAMiniredisAndNotDuringAScript(t *testing.T) {
	m, client := redistest.Mini(t)
	redistest.PassTime(t, m)
	const script = `
		local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
		local began = now()
		redis.call('SET', KEYS[1], 'v', 'PX', 20)
		while now() < began + 50 do end
		return redis.call('EXISTS', KEYS[1])`
	if n, err := client.Eval(t.Context(), script, []string{"k"}).Int(); n != 1 || err != nil {
		t.Errorf("the key ended in the midst of a script: %d, %v", n, err)
	}
	redistest.Eventually(t, patience, "end of the key", func() bool { return client.Exists(t.Context(), "k").Val() == 0 })
}

func TestServersAreKilledFrozenAndRestartedOnTheirAddress(t *testing.T) {
	server := redistest.Start(t)
	addr, client := server.Addr(), server.Client()
	server.Do("SET", "saved", "v")
	server.Do("SAVE")
	server.Do("SET", "unsaved", "v")

	server.Stop()
	if ping(t, client) == nil {
		t.Fatal("a frozen server answers")
	}
	server.Cont()
	redistest.Eventually(t, patience, "answer", func() bool { return ping(t, client) == nil })

	server.Kill()
	if ping(t, client) == nil {
		t.Fatal("a killed server answers")
	}
	server.Restart()
	if server.Addr() != addr || server.URL() != "redis://"+addr {
		t.Fatalf("moved from %s to %s", addr, server.Addr())
	}
	if n := server.Do("EXISTS", "saved", "unsaved"); n != int64(1) {
		t.Fatalf("%v of two keys are there, want the saved one", n)
	}
	if _, err := os.Stat(server.Dir() + "/dump.rdb"); err != nil {
		t.Fatal(err)
	}
}

func TestServersHaveTheirOwnAddresses(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	a.Do("SET", "k", "v")
	if n := b.Do("EXISTS", "k"); n != int64(0) {
		t.Fatal("two servers share a key")
	}
}

// TestKilledTestBinaryLeavesNoServer runs itself in a process that is killed while its server runs, or is stopped: the kernel
// hangs up on a process group that loses its parent with a stopped member in it.
func TestKilledTestBinaryLeavesNoServer(t *testing.T) {
	const inChild = "REDISTEST_CHILD"
	if os.Getenv(inChild) != "" {
		server := redistest.Start(t)
		if os.Getenv(inChild) == "stopped" {
			server.Stop()
		}
		_, _ = os.Stdout.WriteString("ADDR " + server.Addr() + "\n")
		<-t.Context().Done() // until it is killed
		return
	}
	redistest.Start(t) // skips without redis-server
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"running", "stopped"} {
		child := exec.Command(self, "-test.run=^TestKilledTestBinaryLeavesNoServer$")
		child.Env = append(os.Environ(), inChild+"="+state, "TMPDIR="+t.TempDir())
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, err := out.Read(buf)
		_ = child.Process.Kill()
		_ = child.Wait()
		_, addr, ok := strings.Cut(strings.TrimSpace(string(buf[:n])), "ADDR ")
		if err != nil || !ok {
			t.Fatalf("%s: %q, %v", state, buf[:n], err)
		}
		redistest.Eventually(t, patience, "end of the server that was "+state, func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		})
	}
}

func TestCountsAreWhatTheServerRan(t *testing.T) {
	client := redistest.Start(t).Client()
	before := redistest.CountCommands(t, client)
	client.Eval(t.Context(), "return redis.call('GET', KEYS[1])", []string{"k"})
	client.Set(t.Context(), "k", "v", 0)
	got := redistest.CountCommands(t, client).Since(before)
	if len(got) != 3 || got["eval"] != 1 || got["get"] != 1 || got["set"] != 1 || got.Scripts() != 1 {
		t.Fatalf("counted %v", got)
	}
}

func TestProxyHoldsBackEachDirection(t *testing.T) {
	server := redistest.Start(t)
	direct := server.Client()
	proxy := redistest.NewProxy(t, server.Addr())
	client := proxy.Client()
	incr := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return client.Incr(ctx, "n").Err()
	}
	count := func() string { return direct.Get(t.Context(), "n").Val() }
	if err := incr(); err != nil {
		t.Fatal(err)
	}

	proxy.BlackholeToClient()
	if incr() == nil {
		t.Fatal("answered through a blackhole")
	}
	redistest.Eventually(t, patience, "execution of the unanswered command", func() bool { return count() == "2" })
	proxy.Restore()
	redistest.Eventually(t, patience, "answer", func() bool { return ping(t, client) == nil })

	proxy.BlackholeToServer()
	if incr() == nil {
		t.Fatal("answered through a blackhole")
	}
	if got := count(); got != "2" {
		t.Fatalf("n is %s: the command came through", got)
	}
	proxy.Restore()
	redistest.Eventually(t, patience, "late execution of what was held back", func() bool { return count() == "3" })
}

func TestProxyDelaysCutsAndRefuses(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := proxy.Client()
	if err := ping(t, client); err != nil {
		t.Fatal(err)
	}
	proxy.Delay(20 * time.Millisecond)
	began := time.Now()
	if err := client.Ping(t.Context()).Err(); err != nil || time.Since(began) < 40*time.Millisecond {
		t.Fatalf("%v after %s, want two delays of 20ms", err, time.Since(began))
	}
	proxy.Restore()

	sub := client.Subscribe(t.Context(), "ch")
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.CutAll()
	if got, err := sub.ReceiveTimeout(t.Context(), time.Second); err == nil {
		t.Fatalf("received %v on a cut connection", got)
	}
	redistest.Eventually(t, patience, "new connection", func() bool { return ping(t, client) == nil })

	proxy.Refuse()
	proxy.CutAll()
	redistest.Eventually(t, patience, "refusal", func() bool { return ping(t, client) != nil })
	proxy.Restore()
	redistest.Eventually(t, patience, "new connection", func() bool { return ping(t, client) == nil })
}

func TestEventuallyAsksUntilItIsTrue(t *testing.T) {
	asked := 0
	redistest.Eventually(t, patience, "third question", func() bool {
		asked++
		return asked == 3
	})
	if asked != 3 {
		t.Fatalf("asked %d times", asked)
	}
}
