package layout_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

func space(t testing.TB, cfg layout.Config) layout.Space {
	t.Helper()
	s, err := layout.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func key(t testing.TB, s layout.Space, kind, id string) string {
	t.Helper()
	k, err := s.Key(kind, id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreTheOriginalSystems(t *testing.T) {
	for want, got := range map[string]string{
		"aa:session:0a":                 key(t, space(t, layout.Config{Prefix: "aa"}), "session", "0a"),
		"agents:threads":                space(t, layout.Config{Prefix: "agents"}).Name("threads"),
		"agents:thread:a:b-c_d.E%2F%2A": key(t, space(t, layout.Config{Prefix: "agents"}), "thread", "a:b-c_d.E/*"),
		"@acme:agents:thread:t":         key(t, space(t, layout.Config{Prefix: "agents", Tenant: "acme"}), "thread", "t"),
		"{agents}:thread:t":             key(t, space(t, layout.Config{Prefix: "agents", Tagged: true}), "thread", "t"),
		"{@acme:agents}:threads":        space(t, layout.Config{Prefix: "agents", Tenant: "acme", Tagged: true}).Name("threads"),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestRecordKeepsItsKeysInOneSlot(t *testing.T) {
	for want, cfg := range map[string]layout.Config{
		"{runs:a:b%7D}:events":       {Prefix: "runs"},
		"{@acme:runs:a:b%7D}:events": {Prefix: "runs", Tenant: "acme", Tagged: true},
	} {
		record, err := space(t, cfg).Record("a:b}")
		if err != nil || record.Name("events") != want {
			t.Errorf("%s, %v, want %s", record.Name("events"), err, want)
		}
	}
	if _, err := space(t, layout.Config{Prefix: "runs"}).Record(""); err == nil {
		t.Error("the empty id has a space")
	}
}

func TestPrefixesAndTenantsThatCouldSeparateOrMatchAreRefusedAndNotShown(t *testing.T) {
	for _, odd := range []string{"a:b", "a*", "a?", "[a]", "{a}", "@a", "a b", "é", "a\x00", "", strings.Repeat("a", 129)} {
		if _, err := layout.New(layout.Config{Prefix: odd}); err == nil || !strings.HasPrefix(err.Error(), "Prefix ") {
			t.Errorf("prefix %q: %v", odd, err)
		}
		_, err := layout.New(layout.Config{Prefix: "p", Tenant: odd})
		if odd != "" && (err == nil || !strings.HasPrefix(err.Error(), "Tenant ") || strings.Contains(err.Error(), odd)) {
			t.Errorf("tenant %q: %v", odd, err)
		}
	}
}

func TestIDsThatAreEmptyOrTooLongAreRefused(t *testing.T) {
	s := space(t, layout.Config{Prefix: "p"})
	for _, id := range []string{"", strings.Repeat("a", 1025)} {
		if k, err := s.Key("thread", id); err == nil {
			t.Errorf("%d bytes: %s", len(id), k)
		}
	}
}

// FuzzNoTwoSpacesShareAKey looks for two (tenant, prefix, id) that make one key.
func FuzzNoTwoSpacesShareAKey(f *testing.F) {
	f.Add("", "agents", "t1", "thread", "agents", "x")
	f.Add("", "t", "thread:x", "t", "thread", "x")
	f.Add("acme", "p", "a:b", "", "p", "acme:a:b")
	f.Fuzz(func(t *testing.T, tenant1, prefix1, id1, tenant2, prefix2, id2 string) {
		if tenant1 == tenant2 && prefix1 == prefix2 && id1 == id2 {
			return
		}
		for _, tagged := range []bool{false, true} {
			a, errA := layout.New(layout.Config{Prefix: prefix1, Tenant: tenant1, Tagged: tagged})
			b, errB := layout.New(layout.Config{Prefix: prefix2, Tenant: tenant2, Tagged: tagged})
			if errA != nil || errB != nil {
				return
			}
			k1, err1 := a.Key("thread", id1)
			k2, err2 := b.Key("thread", id2)
			if err1 == nil && err2 == nil && k1 == k2 || a.Name("threads") == k2 {
				t.Fatalf("%q", k1)
			}
			r1, err1 := a.Record(id1)
			r2, err2 := b.Record(id2)
			if err1 != nil || err2 != nil {
				continue
			}
			if own := r1.Name("events"); own == r2.Name("events") || own == k1 || own == k2 || own == a.Name("events") {
				t.Fatalf("%q", own)
			}
		}
	})
}

var add = layout.NewScript(`return redis.call('INCRBY', KEYS[1], ARGV[1])`)

func TestScriptsRunOnceEachInOneRoundTrip(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	for want := int64(1); want <= 3; want++ {
		if got, err := add.Run(t.Context(), client, []string{"n"}, 1); got != want || err != nil {
			t.Fatalf("%v, %v", got, err)
		}
	}
	before := redistest.CountCommands(t, client)
	if _, err := add.Run(t.Context(), client, []string{"n"}, 1); err != nil {
		t.Fatal(err)
	}
	if n := redistest.CountCommands(t, client).Since(before).Scripts(); n != 1 {
		t.Fatalf("%d round trips", n)
	}
	if got, err := layout.NewScript(`return false`).Run(t.Context(), client, nil); got != nil || err != nil {
		t.Fatalf("%v, %v of a script that answers nothing", got, err)
	}
}

// A client that repeats what failed would count twice.
func TestAScriptWhoseAnswerIsLostIsNotSentAgain(t *testing.T) {
	server := redistest.Start(t)
	server.Client().Set(t.Context(), "n", 0, 0)
	if _, err := add.Run(t.Context(), server.Client(), []string{"n"}, 0); err != nil {
		t.Fatal(err) // the server knows it now
	}
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), MaxRetries: 3, ReadTimeout: 50 * time.Millisecond})
	t.Cleanup(func() { _ = client.Close() })
	redistest.Idle(t, client, 4) // which would carry a second attempt
	proxy.BlackholeToClient()
	if _, err := add.Run(t.Context(), client, []string{"n"}, 1); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatal(err)
	}
	redistest.Eventually(t, 10*time.Second, "count", func() bool { return server.Client().Get(t.Context(), "n").Val() != "0" })
	if n := server.Client().Get(t.Context(), "n").Val(); n != "1" {
		t.Fatalf("counted %s times", n)
	}
}

func TestFailuresAreUnavailable(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	if _, err := add.Run(t.Context(), client, []string{"n"}, 1); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := add.Run(ctx, client, []string{"n"}, 1); !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNoFailureRepeatsWhatWasSent(t *testing.T) {
	const secret = "s3cret"
	client := redis.NewClient(&redis.Options{Addr: redistest.Parrot(t, redistest.ParrotsRedis), Password: secret, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	_, err := add.Run(t.Context(), client, []string{"n"}, 1)
	if !errors.Is(err, readthrough.ErrUnavailable) || !redis.HasErrorPrefix(err, "unknown command") || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
}
