package readthrough_test

import (
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

// The rights that docs/coherence.md tells operators to give, and no others.
func TestTheDocumentedRightsAreEnough(t *testing.T) {
	server := redistest.Start(t)
	args := []any{"ACL", "SETUSER", "app", "reset", "on", ">secret", "~lc:*", "&lc:*"}
	for _, command := range []string{
		"evalsha", "eval", "subscribe", "unsubscribe", "publish", "ping", "hello", "info",
		"get", "set", "mget", "incr", "unlink", "pttl", "pexpire", "exists", "hget", "hmget", "hset", "hdel", "hgetall",
	} {
		args = append(args, "+"+command)
	}
	server.Do(args...)
	src, tel := newSource(map[string]int{"k": 1}), newRecorder()
	src.versioned = true
	cfg := config{Name: "test", Loader: src, Telemetry: tel, Bound: 500 * time.Millisecond}
	cfg.Redis = server.ClientAs("app", "secret")
	c := open(t, cfg)
	cfg.Redis = server.ClientAs("app", "secret")
	other := open(t, cfg)
	ready(t, c)
	ready(t, other)
	wantGet(t, c, "k", 1)
	redistest.Eventually(t, 10*time.Second, "the fill is done", func() bool { return tel.count(telemetry.FillStored) == 1 })
	wantTier(t, other, "k", 1, readthrough.L2)
	asOf := src.put("k", 2)
	if r, err := c.InvalidateAsOf(t.Context(), asOf, "k"); err != nil || r.Wait(t.Context()) != nil {
		t.Fatal(err)
	}
	wantGet(t, other, "k", 2)
	redistest.Eventually(t, 10*time.Second, "pings of both subscriptions, which are silent", func() bool {
		return redistest.CountCommands(t, server.Client())["ping"] >= 2
	})
	redistest.Eventually(t, 10*time.Second, "health", func() bool { return c.Health().State == invalidation.Up })
	if n := tel.count(telemetry.BusReconnect) + tel.count(telemetry.RenewFailed); n != 0 {
		t.Errorf("%d times something was refused", n)
	}
}
