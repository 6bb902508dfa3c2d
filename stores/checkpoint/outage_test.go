package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

// unknown fails the test unless an error says that nothing is known.
func unknown(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) ||
		errors.Is(err, checkpoint.ErrConflict) {
		t.Errorf("%s: %v", what, err)
	}
}

// everyVerb calls all verbs and expects that nothing is known.
func everyVerb(t testing.TB, what string, s *checkpoint.Store) {
	t.Helper()
	ctx := t.Context()
	_, err := s.Load(ctx, "none")
	unknown(t, what+": load", err)
	_, _, err = s.LoadSnapshot(ctx, "none")
	unknown(t, what+": load of a snapshot", err)
	page, err := s.List(ctx, "", 10)
	unknown(t, what+": list", err)
	if page.Threads != nil || page.Next != "" {
		t.Errorf("%s: a page beside an error: %+v", what, page)
	}
	_, err = s.List(ctx, "c1.zzzzzzzz", 10)
	unknown(t, what+": next page", err)
	_, err = s.Save(ctx, "t", []byte("x"))
	unknown(t, what+": save", err)
	_, err = s.SaveIf(ctx, "t", []byte("x"), 0)
	unknown(t, what+": saveif", err)
	unknown(t, what+": pin", s.Pin(ctx, "none"))
	unknown(t, what+": unpin", s.Unpin(ctx, "none"))
	unknown(t, what+": touch", s.Touch(ctx, "none"))
	unknown(t, what+": delete", s.Delete(ctx, "none"))
	unknown(t, what+": ready", s.Ready(ctx))
}

func TestWithRedisDownNoVerbAnswersNone(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := proxy.Client()
	b := onRedis(t, checkpoint.RedisConfig{Client: client})
	cached, direct := process(t, client), open(t, checkpoint.Config{Backend: b})
	foreign := process(t, client, shared)
	ready(t, cached, direct, foreign)
	save(t, cached, "t", "1")
	proxy.Refuse()
	proxy.CutAll()
	everyVerb(t, "refused", cached)
	everyVerb(t, "refused, no L1", direct)
	everyVerb(t, "refused, foreign", foreign)
	proxy.Restore()
	eventually(t, "Redis", func() bool { return direct.Ready(t.Context()) == nil })
	eventually(t, "lease", func() bool { return cached.Ready(t.Context()) == nil })
	want(t, direct, "t", "1")
	eventually(t, "load", func() bool { _, err := cached.Load(t.Context(), "t"); return err == nil })
	want(t, cached, "t", "1")
	server.Do("REPLICAOF", "127.0.0.1", "1") // demoted: it has all it had, and hears nothing new
	everyVerb(t, "demoted", direct)
	everyVerb(t, "demoted, foreign", foreign)
	if _, err := direct.Load(t.Context(), "t"); err == nil {
		t.Error("a replica answers a load")
	}
	server.Do("REPLICAOF", "NO", "ONE")
	want(t, direct, "t", "1")
	proxy.Blackhole()
	everyVerb(t, "hung", direct)
}

func TestWithRedisDownLoadsAreAnsweredFromL1WhileTheLeaseLasts(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	s := process(t, proxy.Client(), func(c *checkpoint.Config) { c.Bound = soon })
	ready(t, s)
	save(t, s, "t", "1")
	want(t, s, "t", "1")
	proxy.Refuse()
	proxy.CutAll()
	down := time.Now()
	eventually(t, "end of the lease", func() bool {
		asked := time.Now()
		state, err := s.Load(t.Context(), "t")
		if err != nil {
			unknown(t, "load", err)
			return true
		}
		if string(state.Data) != "1" || asked.Sub(down) > soon {
			t.Fatalf("%q %s after Redis was gone", state.Data, asked.Sub(down))
		}
		return false
	})
}

// The doc says: absent from then on, after what L1 still answers, and no save of before comes through.
func TestFlushAllLosesTheThreadsAndNoUpdate(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s, other := process(t, client), process(t, client)
		ready(t, s, other)
		saved := save(t, s, "t", "1")
		save(t, s, "u", "1")
		want(t, other, "t", "1")
		flush(t, client)
		if got := ids(t, s, 10); len(got) != 0 {
			t.Errorf("%q are listed", got)
		}
		if _, err := s.SaveIf(t.Context(), "t", []byte("2"), saved.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("a save over what is lost: %v", err)
		}
		eventually(t, "absence", func() bool { return absent(t, s, "t") && absent(t, other, "t") })
		again, err := s.SaveIf(t.Context(), "t", []byte("3"), 0)
		if err != nil || again.Version <= saved.Version {
			t.Errorf("%d after %d, %v", again.Version, saved.Version, err)
		}
		eventually(t, "the new thread", func() bool { return !absent(t, other, "t") })
		want(t, other, "t", "3", readthrough.AtLeast(again.Token()))
		if got := ids(t, other, 10); len(got) != 1 {
			t.Errorf("%q are listed", got)
		}
	})
}

func TestAFailureOfABackendIsNeverAbsence(t *testing.T) {
	m := &meddler{Backend: &checkpoint.Memory{}}
	m.down.Store(true)
	for _, cfg := range []checkpoint.Config{{Backend: m}, {Backend: m, Local: &invalidation.Local{}}} {
		s := open(t, cfg)
		_, err := s.Load(t.Context(), "t")
		unknown(t, "load", err)
		if !errors.Is(err, errDown) {
			t.Errorf("the cause is lost: %v", err)
		}
		_, err = s.List(t.Context(), "", 1)
		unknown(t, "list", err)
	}
}

// A save whose answer is lost may be done all the same: L1 must not go on with what was before it.
func TestASaveOfUnknownOutcomeIsToldAsIfItWasDone(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	proxy := redistest.NewProxy(t, server.Addr())
	behind := onRedis(t, checkpoint.RedisConfig{Client: proxy.Client()})
	s := process(t, client, func(c *checkpoint.Config) { c.Backend, c.L1TTL, c.Bound = behind, time.Hour, time.Hour })
	ready(t, s)
	save(t, s, "t", "1")
	want(t, s, "t", "1")
	proxy.BlackholeToClient()
	_, err := s.Save(t.Context(), "t", []byte("2"))
	unknown(t, "save", err)
	proxy.Restore()
	proxy.CutAll()
	eventually(t, "the save", func() bool {
		state, err := s.Load(t.Context(), "t")
		return err == nil && string(state.Data) == "2"
	})
}

func TestACallEndsByItsContext(t *testing.T) {
	server := redistest.Start(t)
	s := process(t, server.Client())
	ready(t, s)
	save(t, s, "t", "1")
	server.Stop()
	t.Cleanup(server.Cont)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func(ctx context.Context) error{
		"list":   func(ctx context.Context) error { _, err := s.List(ctx, "", 1); return err },
		"load":   func(ctx context.Context) error { _, err := s.Load(ctx, "none"); return err },
		"save":   func(ctx context.Context) error { _, err := s.Save(ctx, "t", nil); return err },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "t") },
		"pin":    func(ctx context.Context) error { return s.Pin(ctx, "t") },
	} {
		if err := redistest.Overdue(t, name, call); errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%s: unknown is answered as none: %v", name, err)
		}
		if err := call(over); !errors.Is(err, context.Canceled) {
			t.Errorf("%s that was cancelled before: %v", name, err)
		}
	}
}

func TestAServerThatRefusesTheGreetingIsUnavailableWithItsWords(t *testing.T) {
	client, err := l2.NewClient(l2.ClientConfig{Addrs: []string{redistest.Parrot(t, "ERR no %s with %s")}, Password: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
	_, saveErr := s.Save(t.Context(), "t", []byte("x"))
	_, loadErr := s.Load(t.Context(), "t")
	for what, err := range map[string]error{"save": saveErr, "load": loadErr} {
		unknown(t, what, err)
		if text := fmt.Sprint(err); !strings.Contains(text, "ERR no ") || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
