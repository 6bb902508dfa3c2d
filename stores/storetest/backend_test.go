package storetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
	"github.com/layercache/layercache/stores/storetest"
)

func TestTheBackendOfTestsConforms(t *testing.T) {
	t.Run("policies", func(t *testing.T) {
		storetest.Policies(t, func(t testing.TB) policy.Authority {
			t.Helper()
			return storetest.New(t).PolicyAuthority()
		})
	})
	t.Run("sessions", func(t *testing.T) {
		storetest.Sessions(t, func(t testing.TB) session.Backend {
			t.Helper()
			return storetest.New(t).SessionBackend()
		})
	})
	t.Run("rate limits", func(t *testing.T) {
		storetest.RateLimits(t, func(t testing.TB) ratelimit.Backend {
			t.Helper()
			return storetest.New(t).RateLimitBackend()
		})
	})
	t.Run("agents", func(t *testing.T) {
		storetest.Registries(t, func(t testing.TB) registry.Backend {
			t.Helper()
			return storetest.New(t).RegistryBackend()
		})
	})
	t.Run("threads", func(t *testing.T) {
		storetest.Checkpoints(t, func(t testing.TB) checkpoint.Backend {
			t.Helper()
			return storetest.New(t).CheckpointBackend()
		})
	})
	t.Run("runs", func(t *testing.T) {
		storetest.RunLogs(t, func(t testing.TB) runlog.Backend {
			t.Helper()
			return storetest.New(t).RunLogBackend()
		})
	})
}

var (
	agentID   = policy.AgentID{15: 1}
	sessionID = session.ID{15: 1}
)

// document makes a policy whose one rule has n in its pattern.
func document(t testing.TB, n int) *policy.Document {
	t.Helper()
	doc, err := policy.NewDocument(policy.Draft{Version: 1, Name: "n", Rules: []policy.Rule{
		{ActionPattern: fmt.Sprintf("tool:%d", n), Decision: policy.Allow},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// write stores the n-th state of one record of each kind.
func write(t testing.TB, b *stores.Backend, n int) {
	t.Helper()
	ctx := t.Context()
	_, policyErr := b.Policies().Put(ctx, agentID, document(t, n))
	_, threadErr := b.Threads().Save(ctx, "thread", fmt.Appendf(nil, `{"n":%d}`, n))
	_, runErr := b.Runs().Append(ctx, "run", runlog.Event{Body: json.RawMessage(fmt.Sprintf(`{"TextDelta":{"n":%d}}`, n))})
	_, countErr := b.RateLimits().Increment(ctx, "key", 1, time.Hour)
	must(t, policyErr, threadErr, runErr, countErr,
		b.Sessions().Save(ctx, session.Session{ID: sessionID, StartedAt: time.Unix(int64(n), 0)}),
		b.Agents().Register(ctx, registry.Agent{ID: "agent", Name: fmt.Sprint(n)}))
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// read answers which state of each kind a process sees, -1 for an absence, and the errors of those that failed.
func read(ctx context.Context, b *stores.Backend) (states map[string]int, failed map[string]error) {
	states, failed = map[string]int{}, map[string]error{}
	note := func(kind, text string, err error) {
		n := -1
		if err == nil {
			_, err = fmt.Sscan(text, &n)
		}
		if err != nil && !errors.Is(err, readthrough.ErrNotFound) {
			failed[kind] = err
			return
		}
		states[kind] = n
	}
	d, err := b.Policies().Decide(ctx, agentID, "tool:1")
	switch {
	case err != nil:
		note("policy", "", err)
	case d.Allowed():
		note("policy", "1", nil)
	default:
		note("policy", "2", nil)
	}
	s, err := b.Sessions().Load(ctx, sessionID)
	note("session", fmt.Sprint(s.StartedAt.Unix()), err)
	a, err := b.Agents().Get(ctx, "agent")
	note("agent", a.Name, err)
	all, err := b.Agents().List(ctx)
	name := "-1"
	for a := range all.All() {
		name = a.Name
	}
	note("agents", name, err)
	state, err := b.Threads().Load(ctx, "thread")
	note("thread", strings.Trim(string(state.Data), `{"n:}`), err)
	threads, err := b.Threads().List(ctx, "", 10)
	note("threads", fmt.Sprint(len(threads.Threads)), err)
	events, err := b.Runs().ListAfter(ctx, "run", runlog.Cursor{}, 10)
	note("run", fmt.Sprint(len(events.Events)), err)
	last, err := b.Runs().Last(ctx, "run")
	note("last", fmt.Sprint(last.Seq), err)
	count, err := b.RateLimits().Current(ctx, "key")
	note("count", fmt.Sprint(count), err)
	return states, failed
}

// sees fails the test unless a process sees this state of everything but the exceptions.
func sees(t testing.TB, b *stores.Backend, n int, but map[string]int) {
	t.Helper()
	got, failed := read(t.Context(), b)
	want := map[string]int{
		"policy": n, "session": n, "agent": n, "agents": n, "thread": n, "threads": min(n, 1), "run": n, "last": n, "count": n,
	}
	if n < 0 {
		want["run"], want["threads"], want["count"] = 0, 0, 0
	}
	maps.Copy(want, but)
	if !maps.Equal(got, want) || len(failed) > 0 {
		t.Errorf("got  %v\nwant %v\nfailed %v", got, want, failed)
	}
}

func TestProcessesOfATestShareTheRecordsAndTellEachOther(t *testing.T) {
	b := storetest.New(t)
	sees(t, b.Backend, -1, nil)
	sees(t, b.Elsewhere(), -1, nil)
	write(t, b.Backend, 1)
	sees(t, b.Backend, 1, nil)
	sees(t, b.Elsewhere(), 1, nil)
	write(t, b.Elsewhere(), 2)
	sees(t, b.Backend, 2, nil)
	must(t, b.Ready(t.Context()))
	sees(t, storetest.New(t).Backend, -1, nil)
}

func TestAStaleProcessReadsWhatWasTrueUntilItIsFresh(t *testing.T) {
	for name, before := range map[string]func(*storetest.Backend){
		"with the old in memory": func(b *storetest.Backend) { _, _ = read(t.Context(), b.Backend) },
		"with an empty memory":   func(b *storetest.Backend) { b.Forget() },
	} {
		t.Run(name, func(t *testing.T) {
			b := storetest.New(t)
			write(t, b.Elsewhere(), 1)
			before(b)
			b.Stale()
			write(t, b.Elsewhere(), 2)
			sees(t, b.Elsewhere(), 2, nil)
			sees(t, b.Backend, 1, map[string]int{"count": 2})
			b.Forget()
			sees(t, b.Backend, 1, map[string]int{"count": 2})
			b.Fresh()
			sees(t, b.Backend, 2, nil)
		})
	}
}

func TestAStaleProcessSeesWhatWasDeletedAndNotWhatWasMade(t *testing.T) {
	b := storetest.New(t)
	write(t, b.Elsewhere(), 1)
	b.Stale()
	other, ctx := b.Elsewhere(), t.Context()
	_, err := other.Policies().Delete(ctx, agentID)
	must(t, err, other.Sessions().Delete(ctx, sessionID), other.Agents().Deregister(ctx, "agent"), other.Threads().Delete(ctx, "thread"),
		other.Runs().Delete(ctx, "run"))
	sees(t, b.Backend, 1, nil)
	b.Fresh()
	sees(t, b.Backend, -1, map[string]int{"count": 1})

	b = storetest.New(t)
	b.Stale()
	write(t, b.Elsewhere(), 1)
	sees(t, b.Backend, -1, map[string]int{"count": 1})
	b.Fresh()
	sees(t, b.Backend, 1, nil)
}

// Else a test would see the library answer a revoked policy to who asks for what is newer.
func TestAStaleProcessAnswersNoTokenWithWhatIsOlder(t *testing.T) {
	b := storetest.New(t)
	write(t, b.Elsewhere(), 1)
	b.Stale()
	r, err := b.Elsewhere().Policies().PutAsync(t.Context(), agentID, document(t, 2))
	must(t, err)
	newer := readthrough.AtLeast(r.Token())
	for range 2 { // the one must not fill memory for the other
		if many, err := b.Policies().GetMany(t.Context(), []policy.AgentID{agentID, {1}, {2}}, newer); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("GetMany: %v, %v", many, err)
		}
		if d, err := b.Policies().Decide(t.Context(), agentID, "x", newer); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("Decide: %v, %v", d.Verdict(), err)
		}
	}
}

func TestAStaleProcessReadsItsOwnWrites(t *testing.T) {
	b := storetest.New(t)
	write(t, b.Elsewhere(), 1)
	b.Stale()
	write(t, b.Backend, 2)
	sees(t, b.Backend, 2, nil)
	sees(t, b.Elsewhere(), 2, nil)
	state, err := b.Threads().Load(t.Context(), "thread")
	must(t, err)
	_, err = b.Elsewhere().Threads().Save(t.Context(), "thread", []byte(`{"n":3}`))
	must(t, err)
	// What a late process decides by what it reads conflicts with what was written meanwhile.
	if _, err := b.Threads().SaveIf(t.Context(), "thread", []byte(`{"n":4}`), state.Version); !errors.Is(err, checkpoint.ErrConflict) {
		t.Errorf("SaveIf: %v", err)
	}
}

func TestADownBackendIsUnavailableAndNeverAbsent(t *testing.T) {
	b := storetest.New(t)
	write(t, b.Backend, 1)
	sees(t, b.Backend, 1, nil)
	cause := errors.New("the cable")
	b.Down(cause)
	states, failed := read(t.Context(), b.Backend)
	if len(states) > 0 {
		t.Errorf("answered: %v", states)
	}
	for kind, err := range failed {
		if !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, cause) {
			t.Errorf("%s: %v", kind, err)
		}
		if n := strings.Count(err.Error(), readthrough.ErrUnavailable.Error()); n != 1 {
			t.Errorf("%s: says %d times that it is unavailable: %v", kind, n, err)
		}
	}
	_, policyErr := b.Policies().Put(t.Context(), agentID, document(t, 2))
	_, threadErr := b.Threads().Save(t.Context(), "thread", nil)
	for what, err := range map[string]error{
		"a policy": policyErr, "a thread": threadErr, "a heartbeat": b.Agents().Heartbeat(t.Context(), "agent"),
		"a session": b.Sessions().Delete(t.Context(), sessionID), "ready": b.Ready(t.Context()),
	} {
		if !errors.Is(err, cause) {
			t.Errorf("writing %s: %v", what, err)
		}
	}
	if r, err := b.RateLimits().Allow(t.Context(), "key", 1, ratelimit.Limit{Max: 10, Window: time.Hour}); r.Allowed || !errors.Is(err, cause) {
		t.Errorf("Allow: %+v, %v", r, err)
	}
	sees(t, b.Elsewhere(), 1, nil) // which is not down
	b.Up()
	sees(t, b.Backend, 1, nil)
	b.Down(nil)
	if err := b.Agents().Heartbeat(t.Context(), "agent"); !errors.Is(err, readthrough.ErrUnavailable) || !strings.Contains(err.Error(), "storetest") {
		t.Errorf("without a cause: %v", err)
	}
}

func TestASlowBackendTakesItsTimeAndEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := storetest.New(t)
		write(t, b.Backend, 1)
		sees(t, b.Backend, 1, nil)
		b.Slow(100 * time.Millisecond)
		took := func(f func(ctx context.Context) error) (time.Duration, error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			err := f(ctx)
			return time.Since(began), err
		}
		decide := func(ctx context.Context) error {
			_, err := b.Policies().Decide(ctx, agentID, "tool:1")
			return err
		}
		if d, err := took(decide); d != 0 || err != nil {
			t.Errorf("from memory: %v, %v", d, err)
		}
		b.Forget()
		if d, err := took(decide); d != 100*time.Millisecond || err != nil {
			t.Errorf("from the records: %v, %v", d, err)
		}
		if d, err := took(func(ctx context.Context) error { return b.Agents().Heartbeat(ctx, "agent") }); d != 100*time.Millisecond || err != nil {
			t.Errorf("a heartbeat: %v, %v", d, err)
		}
		b.Slow(time.Hour)
		d, err := took(func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return b.Sessions().Delete(ctx, sessionID)
		})
		if d != time.Second || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("beyond the deadline: %v, %v", d, err)
		}
		b.Up()
		if d, err := took(func(ctx context.Context) error { _, err := b.Sessions().Load(ctx, sessionID); return err }); d != 0 || err != nil {
			t.Errorf("after it: %v, %v", d, err)
		}
	})
}

func TestTimeToLiveIsTheBubbles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := storetest.New(t)
		write(t, b.Elsewhere(), 1)
		b.Stale()
		write(t, b.Elsewhere(), 2)
		wait(t, 2*time.Hour) // a session lives for an hour, an agent for five minutes
		if _, err := b.Sessions().Load(t.Context(), sessionID); !errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
}

// wait lets the bubble's time pass.
func wait(t testing.TB, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}

func TestAFollowerOfTheTestSeesWhatIsAppendedElsewhere(t *testing.T) {
	b := storetest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	write(t, b.Elsewhere(), 1)
	var seen []uint64
	for e, err := range b.Runs().Follow(ctx, "run", runlog.Cursor{}) {
		must(t, err)
		if seen = append(seen, e.Seq); len(seen) == 3 {
			break
		}
		write(t, b.Elsewhere(), 2)
	}
	if !slices.Equal(seen, []uint64{1, 2, 3}) {
		t.Errorf("%v", seen)
	}
}
