package readthrough_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

// counter counts round trips by the server's own count of scripts: each is one command and one answer.
type counter struct {
	t      *testing.T
	server *redistest.Server
}

// spent is what f costs once everything behind it has settled.
func (c counter) spent(f func()) redistest.Commands {
	c.t.Helper()
	client := c.server.Client()
	before := redistest.CountCommands(c.t, client)
	f()
	quiet(c.t, c.server)
	return redistest.CountCommands(c.t, client).Since(before)
}

func (c counter) want(what string, scripts int64, f func()) {
	c.t.Helper()
	if got := c.spent(f); got.Scripts() != scripts {
		c.t.Errorf("%s: %d scripts, want %d: %v", what, got.Scripts(), scripts, got)
	}
}

func TestRoundTripsCountedByTheServer(t *testing.T) {
	server := redistest.Start(t)
	src := newSource(map[string]int{"k": 1})
	cfg := config{Name: "test", Redis: server.Client(), Loader: src, Bound: time.Hour}
	c, other := open(t, cfg), open(t, cfg)
	ready(t, c, other)
	src.put("scripts", 1)
	wantGet(t, c, "scripts", 1) // the first run of a script is refused by its hash and repeated with its text
	invalidateAsync(t, c, 0, "scripts")
	quiet(t, server)
	n := counter{t, server}
	n.want("miss", 2, func() { wantGet(t, c, "k", 1) })
	n.want("L1 hit", 0, func() {
		for range 1000 {
			wantGet(t, c, "k", 1)
		}
	})
	n.want("L2 hit", 1, func() { wantTier(t, other, "k", 1, readthrough.L2) })
	n.want("L1 hit after it", 0, func() { wantTier(t, other, "k", 1, readthrough.L1) })
	n.want("invalidate, and the renewals that acknowledge it", 1+2, func() { invalidateAsync(t, c, 0, "k") })
}

// The answer does not wait for the fill.
func TestTheFillRunsBehindTheCaller(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	c := open(t, config{Name: "test", Redis: proxy.Client(), Loader: loaderFunc(func(string) (loaded, error) {
		proxy.BlackholeToServer() // after the lookup, before the fill
		return loaded{Value: 1}, nil
	}), Bound: time.Hour})
	ready(t, c)
	client := server.Client()
	wantGet(t, c, "k", 1)
	if client.Exists(t.Context(), prefix+"d:k").Val() != 0 {
		t.Fatal("filled before the caller was answered")
	}
	proxy.Restore()
	redistest.Eventually(t, 10*time.Second, "fill", func() bool { return client.Exists(t.Context(), prefix+"d:k").Val() == 1 })
}

func TestCloseDrainsTheFills(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(nil)
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprint("k", i))
			src.put(keys[i], i)
		}
		c := open(t, b.with(config{Loader: batcher{src}}))
		ready(t, c)
		if _, err := c.GetMany(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
		wantErr(t, c, "absent", readthrough.ErrNotFound)
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		in := 0
		for _, key := range b.client.Keys(t.Context(), prefix+"d:*").Val() {
			if strings.HasPrefix(key, prefix+"d:") {
				in++
			}
		}
		if in != 101 {
			t.Errorf("%d values in L2 when Close returned, want 101", in)
		}
	})
}

func TestGetManyOfAHundredMissesIsOnePipelineOneLoadAndOneFill(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, tel := newSource(nil), newRecorder()
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprint("k", i))
			src.put(keys[i], i)
		}
		c := open(t, b.with(config{Loader: batcher{src}, Telemetry: tel, Bound: time.Hour}))
		ready(t, c)
		found, err := c.GetMany(t.Context(), keys)
		if err != nil || len(found) != 100 || found["k42"] != 42 {
			t.Fatalf("GetMany: %d found, %v", len(found), err)
		}
		redistest.Eventually(t, 10*time.Second, "fills", func() bool { return tel.count(telemetry.FillStored) == 100 })
		if n := src.batches.Load(); n != 1 {
			t.Errorf("%d calls of LoadMany", n)
		}
		wantLoads(t, src, 0)
		tel.mu.Lock()
		defer tel.mu.Unlock()
		for _, op := range []telemetry.OpName{telemetry.OpL2Get, telemetry.OpL2Fill, telemetry.OpLoad} {
			if tel.ops[op] != 1 || tel.keys[op] != 100 {
				t.Errorf("%s: %d calls of %d keys, want 1 of 100", op, tel.ops[op], tel.keys[op])
			}
		}
	})
}
