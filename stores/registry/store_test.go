package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

func TestRegisterIsInForceInEveryProcessWhenItReturns(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b := f.open(t), f.open(t)
		wantList(t, b)
		if err := a.Register(t.Context(), registry.Agent{ID: "x", Name: "n", Capabilities: registry.Capable("go")}); err != nil {
			t.Fatal(err)
		}
		wantList(t, b, "x")
		if got := get(t, b, "x"); got.Name != "n" || got.Status != registry.Available || got.LastHeartbeat.IsZero() {
			t.Errorf("%+v", got)
		}
		if err := a.SetStatus(t.Context(), "x", registry.Busy); err != nil {
			t.Fatal(err)
		}
		if got := get(t, b, "x").Status; got != registry.Busy {
			t.Errorf("status %s", got)
		}
		if err := b.SetLoad(t.Context(), "x", 7); err != nil {
			t.Fatal(err)
		}
		if got := get(t, a, "x").CurrentLoad; got != 7 {
			t.Errorf("load %d", got)
		}
		if err := b.Deregister(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		wantList(t, a)
		_, err := a.Get(t.Context(), "x")
		wantCode(t, "Get", err, registry.Unknown)
	})
}

// silently is a store that answers from memory for an hour, and the backend of a writer that does not tell.
func (f *fleet) silently(t testing.TB) (*registry.Store, registry.Backend) {
	t.Helper()
	s := f.open(t, func(c *registry.Config) { c.MaxAge, c.Relay, c.Poll = time.Hour, time.Hour, time.Hour })
	register(t, s, registry.Agent{ID: "a"})
	wantList(t, s, "a")
	return s, f.connect(t, "").Backend
}

// Its writer may have died before it told, or tells after this one has returned.
func TestWhatIsSoAlreadyIsInForceWhenItIsSetAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s, silent := f.silently(t)
		there := f.open(t, func(c *registry.Config) { c.MaxAge = time.Hour })
		for _, u := range []registry.Update{{Kind: registry.SetStatus, Status: registry.Busy}, {Kind: registry.SetLoad, Load: 7}} {
			wantList(t, s, "a")
			wantList(t, there, "a")
			if changed, _, err := silent.Update(t.Context(), "a", u); err != nil || !changed {
				t.Fatal(changed, err)
			}
			set := func() error { return s.SetStatus(t.Context(), "a", u.Status) }
			if u.Kind == registry.SetLoad {
				set = func() error { return s.SetLoad(t.Context(), "a", u.Load) }
			}
			if err := set(); err != nil {
				t.Fatal(err)
			}
			for where, s := range map[string]*registry.Store{"here": s, "there": there} {
				if got := get(t, s, "a"); got.Status != registry.Busy || got.CurrentLoad != u.Load {
					t.Errorf("in force, and %s it is %s with a load of %d", where, got.Status, got.CurrentLoad)
				}
			}
		}
	})
}

func TestWhoWasDeniedByAWriteIsNotAnsweredFromMemory(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s, silent := f.silently(t)
		for what, write := range map[string]func() error{
			"deregister": func() error { return s.Deregister(t.Context(), "a") },
			"heartbeat":  func() error { return s.Heartbeat(t.Context(), "a") },
			"set status": func() error { return s.SetStatus(t.Context(), "a", registry.Busy) },
			"release":    func() error { return s.Release(t.Context(), "a") },
		} {
			register(t, s, registry.Agent{ID: "a"})
			wantList(t, s, "a")
			if _, err := silent.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			wantCode(t, what, write(), registry.Unknown)
			_, err := s.Get(t.Context(), "a")
			wantCode(t, "get after "+what, err, registry.Unknown)
		}
	})
}

// Without a lease memory may not answer, and may again with the next.
func TestWhoWasDeniedAfterASilenceOfReadersIsNotAnsweredFromMemory(t *testing.T) {
	for _, name := range []string{"redis", "postgres+redis"} {
		t.Run(name, func(t *testing.T) {
			s, silent := newFleet(t, name).silently(t)
			if _, err := silent.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			pass(t, 4*bound)
			wantCode(t, "heartbeat", s.Heartbeat(t.Context(), "a"), registry.Unknown)
			_, err := s.Get(t.Context(), "a")
			wantCode(t, "get", err, registry.Unknown)
		})
	}
}

func TestATokenReadsTheChangeAnywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b := f.open(t), f.open(t)
		wantList(t, b)
		for i := range 5 {
			r, err := a.RegisterAsync(t.Context(), registry.Agent{ID: "x", Name: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			if f.name == "memory" || f.redis != nil || f.name == "miniredis" || r.AsOf() > 0 {
				got, err := b.Get(t.Context(), "x", readthrough.AtLeast(r.Token()))
				if err != nil || got.Name != fmt.Sprint(i) {
					t.Errorf("%q, %v after registration %d", got.Name, err, i)
				}
			}
			if got := get(t, a, "x"); got.Name != fmt.Sprint(i) {
				t.Errorf("the writer reads %q after registration %d", got.Name, i)
			}
		}
	})
}

func TestErrorsCarryTheCodesAndTextsOfTheContract(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t)
		_, getEmpty := s.Get(t.Context(), "")
		_, claimEmpty := s.Claim(t.Context(), "")
		for what, err := range map[string]error{
			"register": s.Register(t.Context(), registry.Agent{}), "deregister": s.Deregister(t.Context(), ""), "get": getEmpty,
			"heartbeat": s.Heartbeat(t.Context(), ""), "claim": claimEmpty, "release": s.Release(t.Context(), ""),
			"set status": s.SetStatus(t.Context(), "", registry.Busy), "set load": s.SetLoad(t.Context(), "", 1),
		} {
			wantCode(t, what, err, registry.BadInput)
			if err.Error() != "agent ID is required" {
				t.Errorf("%s: %q", what, err)
			}
		}
		_, getNobody := s.Get(t.Context(), "nobody")
		_, claimNobody := s.Claim(t.Context(), "nobody")
		for what, err := range map[string]error{
			"deregister": s.Deregister(t.Context(), "nobody"), "get": getNobody, "heartbeat": s.Heartbeat(t.Context(), "nobody"),
			"claim": claimNobody, "release": s.Release(t.Context(), "nobody"),
			"set status": s.SetStatus(t.Context(), "nobody", registry.Busy), "set load": s.SetLoad(t.Context(), "nobody", 1),
		} {
			wantCode(t, what, err, registry.Unknown)
			if err.Error() != "agent not found: nobody" {
				t.Errorf("%s: %q", what, err)
			}
		}
		_, reap := s.Reap(t.Context(), -1)
		for what, err := range map[string]error{
			"status":     s.Register(t.Context(), registry.Agent{ID: "a", Status: "asleep"}),
			"set status": s.SetStatus(t.Context(), "a", "asleep"),
			"load":       s.Register(t.Context(), registry.Agent{ID: "a", CurrentLoad: -1}),
			"set load":   s.SetLoad(t.Context(), "a", -1),
			"max load":   s.Register(t.Context(), registry.Agent{ID: "a", MaxLoad: -1}),
			"text":       s.Register(t.Context(), registry.Agent{ID: "a", Name: "\xff"}),
			"NUL":        s.Register(t.Context(), registry.Agent{ID: "a\x00"}),
			"long":       s.Register(t.Context(), registry.Agent{ID: string(make([]byte, 2000))}),
			"large":      s.Register(t.Context(), registry.Agent{ID: "a", Name: string(slices.Repeat([]byte("x"), registry.MaxDocument))}),
			"reap":       reap,
		} {
			wantCode(t, what, err, registry.BadInput)
		}
		wantList(t, s)
		for _, foreign := range []bool{false, true} {
			s := f.open(t, func(cfg *registry.Config) { cfg.Foreign = foreign })
			for _, id := range []string{"\xff", "a\x00", strings.Repeat("x", 1025)} {
				_, err := s.Get(t.Context(), id)
				wantCode(t, fmt.Sprintf("get of %.5q, foreign %t", id, foreign), err, registry.BadInput)
			}
		}
	})
}

func TestListIsNeverNilAndFindSaysNoneWithoutAnError(t *testing.T) {
	s := open(t, registry.Config{Backend: &registry.Memory{}})
	all, err := s.List(t.Context())
	if err != nil || all.Len() != 0 {
		t.Errorf("%d, %v", all.Len(), err)
	}
	for range all.All() {
		t.Error("an agent of none")
	}
	if found, err := s.Find(t.Context(), registry.Query{}); err != nil || found.Len() != 0 {
		t.Errorf("%d, %v", found.Len(), err)
	}
	if ids, err := s.Reap(t.Context(), time.Hour); ids == nil || len(ids) != 0 || err != nil {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestFindAnswersTheLeastLoadedWithRoomFirstAndTiesByID(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t)
		both := registry.Capable("go", "sql")
		register(t, s,
			registry.Agent{ID: "d", Capabilities: both, CurrentLoad: 1, MaxLoad: 9},
			registry.Agent{ID: "c", Capabilities: both, CurrentLoad: 1},
			registry.Agent{ID: "e", Capabilities: both, CurrentLoad: 0, MaxLoad: 1},
			registry.Agent{ID: "full", Capabilities: both, CurrentLoad: 2, MaxLoad: 2},
			registry.Agent{ID: "busy", Capabilities: both, Status: registry.Busy},
			registry.Agent{ID: "off", Capabilities: both, Status: registry.Offline},
			registry.Agent{ID: "half", Capabilities: registry.Capable("go")},
			registry.Agent{ID: "none"},
		)
		for _, test := range []struct {
			query registry.Query
			want  []string
		}{
			{registry.Query{Capabilities: []string{"go", "sql"}}, []string{"e", "c", "d"}},
			{registry.Query{Capabilities: []string{"go", "sql"}, Limit: 2}, []string{"e", "c"}},
			{registry.Query{Capabilities: []string{"go"}}, []string{"e", "half", "c", "d"}},
			{registry.Query{}, []string{"e", "half", "none", "c", "d"}},
			{registry.Query{Capabilities: []string{"rust"}}, nil},
		} {
			found, err := s.Find(t.Context(), test.query)
			if got := ids(found); err != nil || !slices.Equal(got, append([]string{}, test.want...)) {
				t.Errorf("%v: %v, %v, want %v", test.query, got, err, test.want)
			}
		}
	})
}

func TestALimitBelowNoneIsRefused(t *testing.T) {
	s := open(t, registry.Config{Backend: &registry.Memory{}})
	register(t, s, registry.Agent{ID: "a"})
	found, err := s.Find(t.Context(), registry.Query{Limit: -1})
	wantCode(t, "find", err, registry.BadInput)
	if err == nil || err.Error() != "query Limit must be at least 0, got -1" || found.Len() > 0 {
		t.Errorf("%v, and %d agents", err, found.Len())
	}
	if found, err = s.Find(t.Context(), registry.Query{}); err != nil || found.Len() != 1 {
		t.Errorf("%d agents without a limit, %v", found.Len(), err)
	}
}

func TestNoMoreClaimsSucceedThanThereIsRoomFor(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		stores := []*registry.Store{f.open(t), f.open(t)}
		register(t, stores[0], registry.Agent{ID: "a", MaxLoad: 5})
		var claimed atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				ok, err := stores[i%2].Claim(t.Context(), "a")
				if err != nil {
					t.Error(err)
				}
				if ok {
					claimed.Add(1)
				}
			})
		}
		wg.Wait()
		if claimed.Load() != 5 {
			t.Errorf("%d claims", claimed.Load())
		}
		if err := stores[0].Release(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := get(t, stores[0], "a").CurrentLoad; got != 4 {
			t.Errorf("load %d", got)
		}
	})
}

// An answer shares the list with every other caller: nothing of it may be written through.
func TestASliceIsNotSharedWithTheCaller(t *testing.T) {
	s := open(t, registry.Config{Backend: &registry.Memory{}})
	names := []string{"go", "sql"}
	register(t, s, registry.Agent{ID: "a", Name: "n", Capabilities: registry.Capable(names...)}, registry.Agent{ID: "b"})
	names[0] = "changed"
	all, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []registry.Agent{all.At(0), get(t, s, "a")} {
		if err := json.Unmarshal([]byte(`["changed"]`), &a.Capabilities); err != nil || !a.Capabilities.Has("changed") {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	found, err := s.Find(t.Context(), registry.Query{Capabilities: []string{"go"}})
	if err != nil || found.Len() != 1 || found.At(0).Name != "n" {
		t.Errorf("%v, %v", ids(found), err)
	}
	if got := all.At(0); got.Name != "n" || got.Capabilities.String() != "[go sql]" {
		t.Errorf("%+v", got)
	}
}

func TestSilenceIsTheSameInEveryBackendAlsoFromAWarmMemory(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t, func(cfg *registry.Config) { cfg.TTL, cfg.MaxAge = 400*time.Millisecond, time.Hour })
		long := f.open(t)
		register(t, long, registry.Agent{ID: "stays"})
		register(t, s, registry.Agent{ID: "goes"})
		if _, err := s.List(t.Context()); err != nil { // memory holds it now
			t.Fatal(err)
		}
		eventually(t, "an agent that is silent to go", func() bool {
			_, err := s.Get(t.Context(), "goes")
			return errors.Is(err, readthrough.ErrNotFound)
		})
		wantList(t, s, "stays")
		wantCode(t, "heartbeat", s.Heartbeat(t.Context(), "goes"), registry.Unknown)
	})
}

func TestReapMarksWhoMissedMoreThanTheGrace(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a := f.open(t, func(cfg *registry.Config) { cfg.Grace = 300 * time.Millisecond })
		b := f.open(t)
		register(t, a,
			registry.Agent{ID: "silent", LastHeartbeat: time.Now().Add(-time.Hour)},
			registry.Agent{ID: "missed one", LastHeartbeat: time.Now().Add(-time.Minute)},
		)
		wantList(t, b, "missed one", "silent")
		eventually(t, "a reap that marks", func() bool {
			marked, err := a.Reap(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			return slices.Contains(marked, "silent")
		})
		if got := get(t, b, "silent").Status; got != registry.Offline {
			t.Errorf("%s in another process when Reap has returned", got)
		}
		if err := a.Heartbeat(t.Context(), "silent"); err != nil {
			t.Fatal(err)
		}
		if marked, err := a.Reap(t.Context(), 20*time.Minute); len(marked) > 0 || err != nil {
			t.Errorf("%v, %v", marked, err)
		}
		if got := get(t, a, "silent").Status; got != registry.Available {
			t.Errorf("%s after a heartbeat", got)
		}
		eventually(t, "the other process to see who is back", func() bool { return get(t, b, "silent").Status == registry.Available })
	})
}

// A missed single beat is no death: with the silence that is asked for alone, the agent would be marked.
func TestAMissedBeatIsNotTakenForDeath(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	m := &registry.Memory{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }}
	forward := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	s := open(t, registry.Config{Backend: m})
	register(t, s, registry.Agent{ID: "a"}, registry.Agent{ID: "b"})
	reap := func() []string {
		t.Helper()
		if err := s.Heartbeat(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		marked, err := s.Reap(t.Context(), 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return marked
	}
	for passed := 0; passed < 50; passed += 10 {
		forward(10 * time.Second)
		if marked := reap(); len(marked) > 0 {
			t.Fatalf("%v after %d s of silence, with 20 s asked for and a grace of 30", marked, passed+10)
		}
	}
	forward(time.Second)
	if marked := reap(); !slices.Equal(marked, []string{"a"}) {
		t.Fatalf("%v after 51 s", marked)
	}
}

func TestFlushRemovesTheRegistrysOwnAndIsSeenEverywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b, other := f.open(t), f.open(t), f.openAs(t, "other")
		register(t, a, registry.Agent{ID: "x"}, registry.Agent{ID: "y"})
		register(t, other, registry.Agent{ID: "x"})
		wantList(t, b, "x", "y")
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantList(t, b)
		wantList(t, other, "x")
	})
}

func TestFlushTouchesNoKeyOfAnyoneElse(t *testing.T) {
	server := redistest.Start(t)
	c := server.Client()
	for _, key := range []string{"agentic:agents", "agentic2:agent:x", "agentic:agentx", "xagentic:agent:x", "@t:agentic:agent:x", "other"} {
		c.Set(t.Context(), key, "mine", 0)
	}
	s := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c})})
	register(t, s, registry.Agent{ID: "x"})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys := c.Keys(t.Context(), "*").Val()
	kept := 0
	for _, key := range keys {
		if v, err := c.Get(t.Context(), key).Result(); err == nil && v == "mine" {
			kept++
		}
	}
	if kept != 6 || c.Exists(t.Context(), "agentic:agent:x").Val() != 0 {
		t.Errorf("%d of 6 keys of others left in %q", kept, keys)
	}
}

func TestCallsAfterCloseAreErrClosed(t *testing.T) {
	s := open(t, registry.Config{Backend: &registry.Memory{}})
	register(t, s, registry.Agent{ID: "a"})
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, list := s.List(t.Context())
	_, found := s.Get(t.Context(), "b")
	_, reap := s.Reap(t.Context(), time.Second)
	for what, err := range map[string]error{
		"list": list, "get": found, "register": s.Register(t.Context(), registry.Agent{ID: "a"}), "heartbeat": s.Heartbeat(t.Context(), "a"),
		"reap": reap, "flush": s.Flush(t.Context()), "ready": s.Ready(t.Context()),
	} {
		if e, ok := errors.AsType[*registry.Error](err); !errors.Is(err, readthrough.ErrClosed) || !ok || e.Code != registry.Failed {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// holding is a backend whose deletions say that they have begun and wait to be let go on.
type holding struct {
	registry.Backend
	in, on chan struct{}
}

func (h *holding) Delete(ctx context.Context, id string) (uint64, error) {
	close(h.in)
	<-h.on
	return h.Backend.Delete(ctx, id)
}

// Else the agent would be answered elsewhere for MaxAge.
func TestCloseWaitsUntilAWriteUnderWayIsToldButNoLongerThanItsContext(t *testing.T) {
	for _, name := range []string{"memory", "redis"} {
		for _, patient := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%t", name, patient), func(t *testing.T) {
				f := newFleet(t, name)
				h := &holding{Backend: f.connect(t, "").Backend, in: make(chan struct{}), on: make(chan struct{})}
				local := &invalidation.Local{}
				bus := func(c *registry.Config) {
					if c.Local = local; f.redis != nil {
						c.Link, c.Local = link(t, f.redis.Client()), nil
					}
				}
				s := f.open(t, bus, func(c *registry.Config) { c.Backend = h })
				there := f.open(t, bus, func(c *registry.Config) { c.MaxAge = time.Hour })
				register(t, s, registry.Agent{ID: "a"})
				wantList(t, there, "a")
				closed, deleted := make(chan error, 1), make(chan error, 1)
				go func() { deleted <- s.Deregister(context.Background(), "a") }() // ends when it is let go on
				<-h.in
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { closed <- s.Close(ctx) }() // ends with the write or with ctx
				eventually(t, "no more writes", func() bool { return errors.Is(s.Release(t.Context(), "b"), readthrough.ErrClosed) })
				if !patient {
					cancel()
					if err := <-closed; !errors.Is(err, context.Canceled) {
						t.Errorf("closed: %v", err)
					}
					close(h.on)
					err := <-deleted
					if _, committed := errors.AsType[*readthrough.NotInForceError](err); !committed || !errors.Is(err, readthrough.ErrClosed) {
						t.Errorf("a write that Close did not wait for: %v", err)
					}
					return
				}
				select {
				case err := <-closed:
					t.Errorf("closed during a write: %v", err)
				case <-time.After(50 * time.Millisecond):
				}
				ended, end := context.WithCancel(t.Context())
				end()
				if err := s.Close(ended); !errors.Is(err, context.Canceled) {
					t.Errorf("a second Close did not wait for the first: %v", err)
				}
				close(h.on)
				if err := <-closed; err != nil {
					t.Error(err)
				}
				if err := s.Close(ended); err != nil {
					t.Errorf("closed once more: %v", err)
				}
				if err := <-deleted; err != nil {
					t.Error(err)
				}
				wantList(t, there)
			})
		}
	}
}

func TestAWriteUnderAnEndedContextSaysThatItIsCommitted(t *testing.T) {
	f := newFleet(t, "redis")
	proxy := redistest.NewProxy(t, f.redis.Addr())
	long := func(cfg *registry.Config) { cfg.Bound = time.Minute }
	a := f.open(t, long)
	deaf := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: client(t, proxy.Addr())}), Bound: time.Minute})
	wantList(t, deaf)
	proxy.Blackhole() // it holds a lease for a minute, and acknowledges nothing
	defer proxy.Restore()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := a.Register(ctx, registry.Agent{ID: "a"})
	nif, ok := errors.AsType[*readthrough.NotInForceError](err)
	if e, coded := errors.AsType[*registry.Error](err); !ok || !nif.Committed || !coded || e.Code != registry.Failed {
		t.Fatalf("%v", err)
	}
	wantList(t, a, "a")
}

// As the other stores do: else an agent that is gone would be found for MaxAge, and a task be routed to it.
func TestWhereNobodyIsToldNothingIsAnsweredFromMemory(t *testing.T) {
	shared := struct{ registry.Backend }{&registry.Memory{}} // a third party's, without a log
	here, there := open(t, registry.Config{Backend: shared, MaxAge: time.Hour}), open(t, registry.Config{Backend: shared, MaxAge: time.Hour})
	ctx := t.Context()
	if err := here.Register(ctx, registry.Agent{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	for _, status := range []registry.Status{registry.Busy, registry.Available, registry.Offline} {
		if err := here.SetStatus(ctx, "a", status); err != nil {
			t.Fatal(err)
		}
		if a, err := there.Get(ctx, "a"); err != nil || a.Status != status {
			t.Errorf("Get: %+v, %v; want %s", a, err, status)
		}
		all, err := there.List(ctx)
		if err != nil || all.Len() != 1 || all.At(0).Status != status {
			t.Errorf("List: %+v, %v; want %s", all, err, status)
		}
		found, err := there.Find(ctx, registry.Query{})
		if err != nil || (found.Len() == 1) != (status == registry.Available) {
			t.Errorf("Find: %+v, %v while %s", found, err, status)
		}
	}
	if err := here.Deregister(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if all, err := there.List(ctx); err != nil || all.Len() != 0 {
		t.Errorf("List: %+v, %v", all, err)
	}
}
