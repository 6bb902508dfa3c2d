package storetest_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
	"github.com/layercache/layercache/stores/storetest"
)

// takenForAnother are the ways in which databases take one id for another.
var takenForAnother = map[string]func(string) string{
	"folds case":       strings.ToLower,
	"trims space":      strings.TrimSpace,
	"cuts at 64":       func(id string) string { return id[:min(len(id), 64)] },
	"cuts at 191":      func(id string) string { return id[:min(len(id), 191)] },
	"cuts at 255":      func(id string) string { return id[:min(len(id), 255)] },
	"cuts at 1023":     func(id string) string { return id[:min(len(id), 1023)] },
	"replaces no text": func(id string) string { return strings.ToValidUTF8(id, "?") },
}

// wrong makes a process of this test run a suite over a backend that is wrong in the way that it names.
const wrong = "LAYERCACHE_TEST_WRONG"

func TestASuiteFailsABackendThatIsWrong(t *testing.T) {
	if how := os.Getenv(wrong); how != "" {
		suite, fault, _ := strings.Cut(how, ": ")
		runOverWrong(t, suite, fault)
		return
	}
	var all []string
	for fault := range takenForAnother {
		if testing.Short() && fault != "folds case" {
			continue // each is a process of its own
		}
		all = append(all, "rate limits: "+fault, "threads: "+fault)
		if fault != "replaces no text" { // all ids of these are text
			all = append(all, "agents: "+fault, "runs: "+fault)
		}
	}
	all = append(all, "rate limits: resets a second late", "rate limits: retries what fits",
		"sessions: touches in two steps", "sessions: loads in two steps", "threads in two steps: keeps", "threads in two steps: loads")
	for _, how := range all {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.failfast", "-test.run=^"+t.Name()+"$/(Algorithms|Hostile|apart|ResetIsNot|stays)")
		cmd.Env = append(os.Environ(), wrong+"="+how)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "--- FAIL: "+t.Name()+"/") {
			t.Errorf("%s: it passes: %v %s", how, err, out)
		}
	}
}

func runOverWrong(t *testing.T, suite, fault string) {
	id := takenForAnother[fault]
	if id == nil {
		id = func(id string) string { return id }
	}
	switch suite {
	case "rate limits":
		storetest.RateLimits(t, func(testing.TB) ratelimit.Backend {
			return &wrongLimits{Backend: &ratelimit.Memory{}, key: id, fault: fault}
		})
	case "agents":
		storetest.Registries(t, func(testing.TB) registry.Backend { return &wrongAgents{Backend: &registry.Memory{}, id: id} })
	case "threads":
		storetest.Checkpoints(t, func(testing.TB) checkpoint.Backend { return &wrongThreads{Backend: &checkpoint.Memory{}, id: id} })
	case "sessions":
		storetest.Sessions(t, func(testing.TB) session.Backend { return &slowSessions{Backend: &session.Memory{}, fault: fault} })
	case "threads in two steps":
		storetest.Checkpoints(t, func(testing.TB) checkpoint.Backend { return &slowThreads{Backend: &checkpoint.Memory{}, fault: fault} })
	case "runs":
		storetest.RunLogs(t, func(testing.TB) runlog.Backend { return &wrongRuns{Backend: &runlog.Memory{}, id: id} })
	}
}

type wrongLimits struct {
	ratelimit.Backend
	key   func(string) string
	fault string
}

func (w *wrongLimits) Increment(ctx context.Context, key string, amount int64, window time.Duration) (int64, error) {
	return w.Backend.Increment(ctx, w.key(key), amount, window)
}

func (w *wrongLimits) Current(ctx context.Context, key string) (int64, error) {
	return w.Backend.Current(ctx, w.key(key))
}

func (w *wrongLimits) Reset(ctx context.Context, key string) error {
	return w.Backend.Reset(ctx, w.key(key))
}

func (w *wrongLimits) Take(ctx context.Context, demands []ratelimit.Demand) ([]ratelimit.Answer, error) {
	demands = slices.Clone(demands)
	for i := range demands {
		demands[i].Key = w.key(demands[i].Key)
	}
	answers, err := w.Backend.Take(ctx, demands)
	for i := range answers {
		switch {
		case w.fault == "resets a second late":
			answers[i].Reset += time.Second
		case w.fault == "retries what fits" && answers[i].Fits:
			answers[i].Retry = answers[i].Reset
		}
	}
	return answers, err
}

type wrongAgents struct {
	registry.Backend
	id func(string) string
}

func (w *wrongAgents) Put(ctx context.Context, a registry.Agent, terms registry.Terms) (registry.Agent, uint64, error) {
	a.ID = w.id(a.ID)
	return w.Backend.Put(ctx, a, terms)
}

func (w *wrongAgents) Get(ctx context.Context, id string) (registry.Agent, error) {
	return w.Backend.Get(ctx, w.id(id))
}

func (w *wrongAgents) Delete(ctx context.Context, id string) (uint64, error) {
	return w.Backend.Delete(ctx, w.id(id))
}

func (w *wrongAgents) Beat(ctx context.Context, id string, terms registry.Terms) (bool, uint64, error) {
	return w.Backend.Beat(ctx, w.id(id), terms)
}

type wrongThreads struct {
	checkpoint.Backend
	id func(string) string
}

func (w *wrongThreads) Load(ctx context.Context, id string, r checkpoint.Read) (checkpoint.Record, error) {
	return w.Backend.Load(ctx, w.id(id), r)
}

func (w *wrongThreads) Save(ctx context.Context, id string, write checkpoint.Write) (checkpoint.Version, error) {
	return w.Backend.Save(ctx, w.id(id), write)
}

func (w *wrongThreads) Delete(ctx context.Context, id string) error {
	return w.Backend.Delete(ctx, w.id(id))
}

// steps lets a driver that reads first and writes then wait for a deletion between the two.
type steps struct{ deleted atomic.Int64 }

func (s *steps) wait() {
	before, until := s.deleted.Load(), time.Now().Add(20*time.Millisecond)
	for s.deleted.Load() == before && time.Now().Before(until) {
		runtime.Gosched()
	}
}

type slowSessions struct {
	session.Backend
	steps
	fault string
}

func (s *slowSessions) Touch(ctx context.Context, id session.ID, ttl time.Duration) (bool, error) {
	if s.fault != "touches in two steps" {
		return s.Backend.Touch(ctx, id, ttl)
	}
	_, _, found, err := s.rearm(ctx, id, ttl)
	return found, err
}

func (s *slowSessions) Load(ctx context.Context, id session.ID, rearm time.Duration) (session.Record, time.Duration, bool, error) {
	if s.fault != "loads in two steps" || rearm == 0 {
		return s.Backend.Load(ctx, id, rearm)
	}
	return s.rearm(ctx, id, rearm)
}

func (s *slowSessions) rearm(ctx context.Context, id session.ID, ttl time.Duration) (session.Record, time.Duration, bool, error) {
	rec, left, found, err := s.Backend.Load(ctx, id, 0)
	if err != nil || !found || ttl <= left {
		return rec, left, found, err
	}
	s.wait()
	return rec, ttl, true, s.Save(ctx, id, rec, ttl)
}

func (s *slowSessions) Delete(ctx context.Context, id session.ID) error {
	defer s.deleted.Add(1)
	return s.Backend.Delete(ctx, id)
}

type slowThreads struct {
	checkpoint.Backend
	steps
	fault string
}

func (s *slowThreads) Keep(ctx context.Context, id string, k checkpoint.Keep) error {
	if s.fault != "keeps" {
		return s.Backend.Keep(ctx, id, k)
	}
	rec, err := s.Backend.Load(ctx, id, checkpoint.Read{Max: 1 << 20})
	if err != nil {
		return err
	}
	s.wait()
	_, err = s.Save(ctx, id, checkpoint.Write{Value: rec.Value, TTL: k.TTL})
	return err
}

func (s *slowThreads) Load(ctx context.Context, id string, r checkpoint.Read) (checkpoint.Record, error) {
	rec, err := s.Backend.Load(ctx, id, r)
	if s.fault == "loads" && err == nil && r.Refresh != 0 {
		s.wait()
		_, err = s.Save(ctx, id, checkpoint.Write{Value: rec.Value, TTL: r.Refresh})
	}
	return rec, err
}

func (s *slowThreads) Delete(ctx context.Context, id string) error {
	defer s.deleted.Add(1)
	return s.Backend.Delete(ctx, id)
}

type wrongRuns struct {
	runlog.Backend
	id func(string) string
}

func (w *wrongRuns) Append(ctx context.Context, run string, drafts []runlog.Draft, keep runlog.Retention) (runlog.Appended, error) {
	return w.Backend.Append(ctx, w.id(run), drafts, keep)
}

func (w *wrongRuns) List(ctx context.Context, run string, after uint64, limit int) (runlog.Slice, error) {
	return w.Backend.List(ctx, w.id(run), after, limit)
}

func (w *wrongRuns) Delete(ctx context.Context, run string) error {
	return w.Backend.Delete(ctx, w.id(run))
}
