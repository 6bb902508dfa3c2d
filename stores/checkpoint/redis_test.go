package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

func TestATTLBelowAMillisecondIsNotNone(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		for _, id := range []string{"saved", "kept"} {
			ttl := time.Nanosecond
			if id == "kept" {
				ttl = time.Hour
			}
			if _, err := b.Save(t.Context(), id, checkpoint.Write{TTL: ttl}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Keep(t.Context(), "kept", checkpoint.Keep{TTL: time.Nanosecond}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of both", func() bool {
			return client.Exists(t.Context(), "agents:thread:saved", "agents:thread:kept").Val() == 0
		})
	})
}

func TestStateIndexAndEndAreWrittenInOneStep(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: time.Hour})
	saved := save(t, s, "t", "1") // the server knows the scripts now
	want(t, s, "t", "1")
	for name, call := range map[string]func() error{
		"save": func() error { _, err := s.Save(t.Context(), "t", []byte("2")); return err },
		"saveif": func() error {
			_, err := s.SaveIf(t.Context(), "t", []byte("2"), saved.Version)
			return ignoreConflict(err)
		},
		"touch":  func() error { return s.Touch(t.Context(), "t") },
		"pin":    func() error { return s.Pin(t.Context(), "t") },
		"unpin":  func() error { return s.Unpin(t.Context(), "t") },
		"load":   func() error { _, err := s.Load(t.Context(), "t"); return err },
		"list":   func() error { _, err := s.List(t.Context(), "", 10); return err },
		"delete": func() error { return s.Delete(t.Context(), "u") },
	} {
		if err := call(); err != nil { // makes the script known
			t.Fatalf("%s: %v", name, err)
		}
		before := redistest.CountCommands(t, client)
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := redistest.CountCommands(t, client).Since(before).Scripts(); n != 1 {
			t.Errorf("%s: %d round trips", name, n)
		}
	}
	// A full Redis refuses the first write of a save, and then there must be no other.
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 1)
	if _, err := s.Save(t.Context(), "new", []byte("x")); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatalf("on a full Redis: %v", err)
	}
	if client.Exists(t.Context(), "agents:thread:new", "agents:thread.mark:new").Val() != 0 ||
		client.SIsMember(t.Context(), "agents:threads", "new").Val() {
		t.Error("half of a thread is there")
	}
	want(t, s, "t", "2")
	if got, err := s.Load(t.Context(), "new"); !errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("a full Redis loads %+v, %v", got, err)
	}
	if page, err := s.List(t.Context(), "", 10); err != nil || len(page.Threads) != 1 {
		t.Errorf("a full Redis lists %+v, %v", page, err)
	}
	client.SRem(t.Context(), "agents:threads", "t") // nor does it matter that the set cannot be healed now
	if page, err := s.List(t.Context(), "", 10); err != nil || len(page.Threads) != 1 {
		t.Errorf("a full Redis lists %+v, %v", page, err)
	}
	if err := s.Delete(t.Context(), "t"); err != nil {
		t.Errorf("a full Redis does not delete: %v", err)
	}
	if set, index := size(t, client); set != 0 || index != 0 {
		t.Errorf("%d and %d", set, index)
	}
}

// As one does that has too few replicas, or could not write its snapshot.
func TestARedisThatRefusesEveryWriteIsRead(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, checkpoint.Config{
		Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: time.Hour, RefreshOnLoad: true,
	})
	save(t, s, "dead", "1")
	save(t, s, "live", "1")
	client.Del(t.Context(), "agents:thread:dead")
	server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	if _, err := s.Save(t.Context(), "live", []byte("2")); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatal(err)
	}
	want(t, s, "live", "1")
	if got := ids(t, s, 10); !slices.Equal(got, []string{"live"}) {
		t.Errorf("listed: %q", got)
	}
}

func ignoreConflict(err error) error {
	if errors.Is(err, checkpoint.ErrConflict) {
		return nil
	}
	return err
}

// hook does something to the pipeline of a save.
type hook struct {
	redis.Hook
	pipeline func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error
}

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return h.pipeline(ctx, cmds, next) }
}

// A new state is written under a name of its own first. Nothing of that stays, and without it nothing is saved.
func TestASaveThatIsCutInTheMiddleChangesNothingAndLeavesNothingForEver(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		fresh := func() []string { return client.Keys(t.Context(), "agents:thread.new:*").Val() }
		saved := save(t, s, "t", "1")
		if _, err := s.SaveIf(t.Context(), "t", []byte("x"), saved.Version+1); !errors.Is(err, checkpoint.ErrConflict) {
			t.Fatal(err)
		}
		if left := fresh(); len(left) != 0 {
			t.Errorf("%q are left", left)
		}
		cut := func(h hook) *checkpoint.Store {
			o := *client.(*redis.Client).Options()
			broken := redis.NewClient(&o)
			t.Cleanup(func() { _ = broken.Close() })
			broken.AddHook(h)
			return open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: broken})})
		}
		lost := cut(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			return next(ctx, cmds[1:]) // the new state is evicted before the script
		}})
		_, err := lost.Save(t.Context(), "t", []byte("2"))
		unknown(t, "a new state that was lost", err)
		if !strings.Contains(err.Error(), "nothing is saved") {
			t.Error(err)
		}
		dead := cut(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			_ = next(ctx, cmds[:1]) // the process dies after the first half
			cmds[1].SetErr(errDown)
			return errDown
		}})
		_, err = dead.Save(t.Context(), "t", []byte("2"))
		unknown(t, "a save of a process that died", err)
		if v := want(t, s, "t", "1").Version; v != saved.Version {
			t.Error("something was saved")
		}
		left := fresh()
		if len(left) != 1 || client.PTTL(t.Context(), left[0]).Val() <= 0 {
			t.Errorf("%q are left, for ever", left)
		}
		client.ScriptFlush(t.Context()) // a server that was started anew
		save(t, s, "t", "3")
		want(t, s, "t", "3")
		if left := fresh(); len(left) != 1 {
			t.Errorf("%q are left", left)
		}
	})
}

func TestATTLUnderOneSecondIsNotTruncated(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: 1900 * time.Millisecond})
		save(t, s, "t", "x")
		for _, key := range []string{"agents:thread:t", "agents:thread.mark:t"} {
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= time.Second || ttl > 1900*time.Millisecond {
				t.Errorf("%s: %s", key, ttl)
			}
		}
		short := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: 999 * time.Millisecond})
		save(t, short, "u", "x")
		if ttl := client.PTTL(t.Context(), "agents:thread:u").Val(); ttl <= 0 || ttl > 999*time.Millisecond {
			t.Errorf("%s", ttl)
		}
	})
}

func TestNoTwoPairsOfNamespaceAndIDCollide(t *testing.T) {
	_, client := redistest.Mini(t)
	for _, prefix := range []string{"a:b", "a*", "{a}", "a b", "@a", ":"} {
		if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: client, Prefix: prefix}); err == nil ||
			!strings.HasPrefix(err.Error(), "checkpoint: RedisConfig.Prefix must ") {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	const secret = "se:cret"
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: client, Tenant: secret}); err == nil ||
		strings.Contains(err.Error(), secret) {
		t.Errorf("tenant: %v", err)
	}
	// With ':' these would be the same keys.
	a := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client, Prefix: "a"})})
	b := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client, Prefix: "a-thread"})})
	save(t, a, "thread:x", "a")
	save(t, b, "x", "b")
	save(t, a, "x", "c")
	want(t, a, "thread:x", "a")
	want(t, b, "x", "b")
}

func TestAClusterNeedsTheTaggedLayout(t *testing.T) {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: client}); err == nil ||
		!strings.Contains(err.Error(), "RedisConfig.Tagged") {
		t.Errorf("%v", err)
	}
	onRedis(t, checkpoint.RedisConfig{Client: client, Tagged: true})
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{}); err == nil || !strings.Contains(err.Error(), "RedisConfig.Client") {
		t.Errorf("without a client: %v", err)
	}
	lazy := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = lazy.Close() })
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: lazy}); err == nil ||
		!strings.Contains(err.Error(), "ContextTimeoutEnabled") {
		t.Errorf("with a client that ignores deadlines: %v", err)
	}
}

func TestTenantsCannotReadListEvictOrDeleteEachOthersThreads(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		tenant := func(name string) *checkpoint.Store {
			return process(t, client, func(c *checkpoint.Config) {
				c.Tenant = name
				c.Backend = onRedis(t, checkpoint.RedisConfig{Client: client, Tenant: name})
			})
		}
		stores := map[string]*checkpoint.Store{"": tenant(""), "acme": tenant("acme"), "acme2": tenant("acme2")}
		hostile := []string{"t", "*", "@acme:agents:thread:t", "acme:t", "../t", "t\x00", "{t}", ":", "@acme"}
		for name, s := range stores {
			ready(t, s)
			for _, id := range hostile {
				save(t, s, id, name)
			}
		}
		for name, s := range stores {
			for _, id := range hostile {
				want(t, s, id, name)
			}
			if got := ids(t, s, 2); len(got) != len(hostile) {
				t.Errorf("%q lists %q", name, got)
			}
		}
		for _, id := range hostile {
			if err := stores["acme"].Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if got := ids(t, stores["acme"], 10); len(got) != 0 {
			t.Errorf("%q", got)
		}
		for _, name := range []string{"", "acme2"} {
			for _, id := range hostile {
				want(t, stores[name], id, name)
			}
			if got := ids(t, stores[name], 10); len(got) != len(hostile) {
				t.Errorf("%q lists %q", name, got)
			}
		}
		if client.Exists(t.Context(), "agents:thread:t").Val() != 1 {
			t.Error("the empty tenant has other keys than the original system")
		}
		// A token or a cursor of one says nothing to another.
		token := save(t, stores["acme2"], "t", "2").Token()
		if _, err := stores[""].Load(t.Context(), "t", readthrough.AtLeast(token)); !errors.Is(err, readthrough.ErrBadToken) {
			t.Errorf("another tenant's token: %v", err)
		}
	})
}

func TestLosingASingleKeyLosesNoUpdateAndAtMostTheOrder(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		n := 50 // miniredis is slow
		if real {
			n = 1200 // more than one script adopts
		}
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		var saved checkpoint.Saved
		fill := func() {
			flush(t, client)
			for i := range n {
				saved = save(t, s, strconv.Itoa(i), "x")
			}
		}
		all := func(key string) {
			t.Helper()
			got := ids(t, s, 100)
			slices.Sort(got)
			if listed := len(slices.Compact(got)); listed != n {
				t.Errorf("%d threads are listed without %s", listed, key)
			}
			if set, index := size(t, client); set != int64(n) || index != int64(n) {
				t.Errorf("%d and %d without %s", set, index, key)
			}
		}
		fill()
		for _, key := range []string{"agents:threads", "agents:threads.index"} {
			if client.Del(t.Context(), key).Val() != 1 {
				t.Fatalf("there was no %s", key)
			}
			all(key)
		}
		last := strconv.Itoa(n - 1)
		client.Del(t.Context(), "agents:thread.mark:"+last)
		if _, err := s.SaveIf(t.Context(), last, []byte("y"), saved.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("without a mark nobody knows the version: %v", err)
		}
		if _, err := s.SaveIf(t.Context(), last, []byte("y"), want(t, s, last, "x").Version); err != nil {
			t.Error(err)
		}
		client.Del(t.Context(), "agents:thread:7")
		if !absent(t, s, "7") {
			t.Error("there is a thread without its state")
		}
		if _, err := s.SaveIf(t.Context(), "7", []byte("y"), 0); err != nil {
			t.Error(err)
		}
	})
}

func TestAServerThatAnswersNonsenseIsUnavailable(t *testing.T) {
	client := redistest.Start(t).Client()
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
	client.RPush(t.Context(), "agents:thread:t", "a list")
	if _, err := s.Load(t.Context(), "t"); !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := s.SaveIf(t.Context(), "t", []byte("x"), 1); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	save(t, s, "t", "repaired")
	want(t, s, "t", "repaired")
	client.Del(t.Context(), "agents:threads.index")
	client.Set(t.Context(), "agents:threads.index", "x", 0)
	if page, err := s.List(t.Context(), "", 1); !errors.Is(err, readthrough.ErrUnavailable) || page.Threads != nil {
		t.Errorf("%v, %v", page, err)
	}
	client.Set(t.Context(), "agents:thread:big", bytes.Repeat([]byte("x"), 17<<20), 0)
	_, err := s.Load(t.Context(), "big")
	if large, ok := errors.AsType[*checkpoint.TooLargeError](err); !ok || large.Size != 17<<20 ||
		!errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
