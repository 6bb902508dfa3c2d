package policy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/policy"
)

func TestPutIsInForceInEveryStoreWhenItReturns(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		stores := []*policy.Store{f.open(t), f.open(t)}
		for i := range 6 {
			verdict := policy.Verdict(1 + i%2)
			version := put(t, stores[i%2], agent(1), verdict)
			for n, s := range stores {
				d, err := s.Decide(t.Context(), agent(1), "tool:shell")
				if err != nil || d.Verdict() != verdict || d.AsOf() < uint64(version) {
					t.Fatalf("put %d, store %d: %v as of %d, %v; want %v as of %d", i, n, d.Verdict(), d.AsOf(), err, verdict, version)
				}
			}
		}
	})
}

func TestDeleteIsInForceInEveryStoreWhenItReturns(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b := f.open(t), f.open(t)
		put(t, a, agent(1), policy.Allow)
		decide(t, b, agent(1))
		version, err := a.Delete(t.Context(), agent(1))
		if err != nil || version == 0 {
			t.Fatalf("Delete: %d, %v", version, err)
		}
		for _, s := range []*policy.Store{a, b} {
			d, err := s.Decide(t.Context(), agent(1), "tool:shell")
			denied(t, "after Delete", readthrough.ErrNotFound, d, err)
		}
		again, err := a.Delete(t.Context(), agent(1))
		if err != nil || again < version {
			t.Fatalf("Delete of nothing: %d, %v", again, err)
		}
		put(t, b, agent(1), policy.Allow)
		if got := decide(t, a, agent(1)); got != policy.Allow {
			t.Fatalf("after another Put: %v; the absence outlived it", got)
		}
	})
}

func TestTokenReadsAnAsyncChangeInAnyStore(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b := f.open(t), f.open(t)
		put(t, a, agent(1), policy.Deny)
		for i := range 10 {
			verdict := policy.Verdict(1 + i%2)
			decide(t, b, agent(1)) // something old to be answered with
			r, err := a.PutAsync(t.Context(), agent(1), answer(t, verdict))
			if err != nil {
				t.Fatal(err)
			}
			if got := decide(t, b, agent(1), readthrough.AtLeast(r.Token())); got != verdict {
				t.Fatalf("with the token %v, want %v", got, verdict)
			}
			if got := decide(t, a, agent(1)); got != verdict {
				t.Fatalf("the writer reads %v, and wrote %v", got, verdict)
			}
		}
		r, err := a.DeleteAsync(t.Context(), agent(1))
		if err != nil {
			t.Fatal(err)
		}
		d, err := b.Decide(t.Context(), agent(1), "tool:shell", readthrough.AtLeast(r.Token()))
		denied(t, "with the token of a deletion", readthrough.ErrNotFound, d, err)
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDecideFollowsTheFirstMatchAndTheMode(t *testing.T) {
	s := newFleet(t, "memory", "local").open(t)
	rules := []policy.Rule{
		{ActionPattern: "tool:pay.*", Decision: policy.RequireApproval},
		{ActionPattern: "tool:*", Decision: policy.Allow},
		{ActionPattern: "tool:shell", Decision: policy.Deny},
	}
	for mode, id := range map[policy.Mode]policy.AgentID{policy.Enforce: agent(1), policy.Observe: agent(2), policy.Disabled: agent(3)} {
		version, err := s.Put(t.Context(), id, document(t, policy.Draft{Mode: mode, Rules: rules}))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			action  string
			verdict policy.Verdict
			rule    int
			allowed bool // under Enforce
		}{
			{"tool:pay.refund", policy.RequireApproval, 0, false},
			{"tool:shell", policy.Allow, 1, true},
			{"agent:spawn", policy.Deny, -1, false},
			{"", policy.Deny, -1, false},
		} {
			for _, tier := range []string{"first read", "hit"} {
				d, err := s.Decide(t.Context(), id, c.action)
				if err != nil || d.Verdict() != c.verdict || d.Rule() != c.rule || d.Mode() != mode || d.AsOf() < uint64(version) ||
					d.Allowed() != (c.allowed || mode != policy.Enforce) || !d.Decided() {
					t.Errorf("%v, %q, %s: %+v, %v", mode, c.action, tier, d, err)
				}
			}
		}
	}
}

func TestDecisionBesideAnErrorDenies(t *testing.T) {
	var m meddler
	f := newFleet(t, "memory", "local")
	s := f.open(t, meddle(&m))
	if _, err := s.Put(t.Context(), agent(1), document(t, policy.Draft{Mode: policy.Disabled})); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ask := func(ctx context.Context, id policy.AgentID, action string, opts ...readthrough.Option) (policy.Decision, error) {
		return s.Decide(ctx, id, action, opts...)
	}

	d, err := ask(t.Context(), agent(9), "tool:shell")
	denied(t, "no policy", readthrough.ErrNotFound, d, err)
	d, err = ask(t.Context(), agent(1), strings.Repeat("x", policy.MaxAction+1))
	denied(t, "an action that is too long", policy.ErrActionTooLong, d, err)
	if d, err := ask(t.Context(), agent(1), strings.Repeat("x", policy.MaxAction)); err != nil || !d.Allowed() {
		t.Errorf("the longest action: %v, %v", d, err)
	}
	d, err = ask(t.Context(), agent(1), "tool:shell", readthrough.AtLeast("nonsense"))
	denied(t, "a bad token", readthrough.ErrBadToken, d, err)
	d, err = ask(ended, agent(8), "tool:shell")
	denied(t, "a context that has ended", context.Canceled, d, err)
	cause := errors.New("no route to the database")
	m.fail(cause)
	d, err = ask(t.Context(), agent(7), "tool:shell")
	denied(t, "an authority that is out", readthrough.ErrUnavailable, d, err)
	denied(t, "an authority that is out", cause, d, err)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, err = ask(t.Context(), agent(1), "tool:shell")
	denied(t, "a closed store", readthrough.ErrClosed, d, err)
}

func TestPutOfNoDocumentStoresNothing(t *testing.T) {
	f := newFleet(t, "memory", "local")
	s := f.open(t)
	for name, doc := range map[string]*policy.Document{"nil": nil, "zero": {}} {
		v, err := s.Put(t.Context(), agent(1), doc)
		if err == nil || v != 0 {
			t.Errorf("%s: %d, %v", name, v, err)
		}
		if _, err := s.PutAsync(t.Context(), agent(1), doc); err == nil {
			t.Errorf("%s: PutAsync accepts it", name)
		}
		n, err := s.Import(t.Context(), maps.All(map[policy.AgentID]*policy.Document{agent(1): doc}))
		if err == nil || n != 0 {
			t.Errorf("%s: Import stores %d, %v", name, n, err)
		}
	}
	if head, err := f.connect(t).Head(t.Context()); err != nil || head != 0 {
		t.Errorf("version %d, %v: something was stored", head, err)
	}
}

// Who recovers, as a server does, would answer with what was revoked until it ends by itself.
func TestAnImportWhoseDocumentsPanicIsInForceAsFarAsItHasCome(t *testing.T) {
	for _, f := range []*fleet{newFleet(t, "memory", "local"), newFleet(t, "memory", "redis"), newFleet(t, "sqlite", "redis")} {
		t.Run(f.name, func(t *testing.T) {
			s := f.open(t)
			if _, err := s.Put(t.Context(), agent(1), answer(t, policy.Allow)); err != nil {
				t.Fatal(err)
			}
			if got := decide(t, s, agent(1)); got != policy.Allow {
				t.Fatal(got)
			}
			deny := answer(t, policy.Deny)
			recovered := func() (v any) {
				defer func() { v = recover() }()
				_, _ = s.Import(t.Context(), func(yield func(policy.AgentID, *policy.Document) bool) {
					for i := range byte(200) {
						for j := range byte(20) { // more in all than a batch
							if !yield(policy.AgentID{15: i, 14: j}, deny) {
								return
							}
						}
					}
					panic("the caller's")
				})
				return nil
			}()
			if recovered != "the caller's" {
				t.Fatalf("recovered %v", recovered)
			}
			if got := decide(t, s, agent(1)); got != policy.Deny {
				t.Errorf("what was stored before the panic is not in force: %v", got)
			}
			if n, err := s.Import(t.Context(), nil); n != 0 || err == nil {
				t.Errorf("an import of nil: %d, %v", n, err)
			}
		})
	}
}

func TestImportIsInForceInEveryStoreWhenItReturns(t *testing.T) {
	for _, f := range []*fleet{newFleet(t, "memory", "redis"), newFleet(t, "sqlite", "redis"), newFleet(t, "sqlite", "local")} {
		t.Run(f.name, func(t *testing.T) {
			a, b := f.open(t), f.open(t)
			const agents = 80 // more than a log names one by one
			for i := range byte(agents) {
				d, err := b.Decide(t.Context(), agent(i), "tool:shell") // an absence to be answered with
				denied(t, "before the import", readthrough.ErrNotFound, d, err)
			}
			allow := answer(t, policy.Allow)
			n, err := a.Import(t.Context(), func(yield func(policy.AgentID, *policy.Document) bool) {
				for i := range byte(agents) {
					if !yield(agent(i), allow) {
						return
					}
				}
			})
			if err != nil || n != agents {
				t.Fatalf("imported %d, %v", n, err)
			}
			for i := range byte(agents) {
				if got := decide(t, b, agent(i)); got != policy.Allow {
					t.Fatalf("agent %d: %v", i, got)
				}
			}
			n, err = a.Import(t.Context(), func(yield func(policy.AgentID, *policy.Document) bool) {
				_ = yield(agent(1), answer(t, policy.RequireApproval)) && yield(agent(2), nil)
			})
			if err == nil || n != 1 {
				t.Fatalf("an import that ends with a nil document: %d, %v", n, err)
			}
			if got := decide(t, b, agent(1)); got != policy.RequireApproval {
				t.Fatalf("what it stored before is not in force: %v", got)
			}
			if n, err := a.Import(t.Context(), maps.All(map[policy.AgentID]*policy.Document{})); n != 0 || err != nil {
				t.Fatalf("an empty import: %d, %v", n, err)
			}
		})
	}
}

func TestInvalidateReadsAnewWhatTheLibraryDidNotSee(t *testing.T) {
	for name, invalidate := range map[string]func(*policy.Store) error{
		"Invalidate":         func(s *policy.Store) error { return s.Invalidate(t.Context(), agent(1), agent(2)) },
		"InvalidateAll":      func(s *policy.Store) error { return s.InvalidateAll(t.Context()) },
		"push of everything": func(s *policy.Store) error { return s.ApplyPush(t.Context(), "") },
		"push of each": func(s *policy.Store) error {
			return errors.Join(s.ApplyPush(t.Context(), agent(1).String()),
				s.ApplyPush(t.Context(), strings.ToUpper(agent(2).String())))
		},
		"InvalidateAsync": func(s *policy.Store) error {
			r, err := s.InvalidateAsync(t.Context(), agent(1), agent(2))
			if err != nil {
				return err
			}
			return r.Wait(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "memory", "redis")
			a, b := f.open(t, meddle(&meddler{})), f.open(t, meddle(&meddler{})) // no *Memory to New: with L2
			ids := []policy.AgentID{agent(1), agent(2)}
			for _, id := range ids {
				put(t, a, id, policy.Allow)
			}
			for _, id := range ids {
				for _, s := range []*policy.Store{a, b} {
					decide(t, s, id)
				}
				if _, err := f.connect(t).Put(t.Context(), id.String(), fmt.Append(nil, revoked), ""); err != nil {
					t.Fatal(err)
				}
			}
			if got := decide(t, b, agent(1)); got != policy.Allow {
				t.Fatalf("%v before the invalidation: the test proves nothing", got)
			}
			eventually(t, "fill", func() bool { return filled(t, f, agent(1)) && filled(t, f, agent(2)) })
			if err := invalidate(a); err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				for _, s := range []*policy.Store{a, b} {
					if got := decide(t, s, id); got != policy.Deny {
						t.Errorf("%v after it", got)
					}
				}
			}
		})
	}
}

// revoked is a document that a foreign program writes.
const revoked = `{"version":9,"name":"revoked","rules":[{"action_pattern":"*","decision":"Deny"}]}`

func TestPushOfABadIDInvalidatesNothing(t *testing.T) {
	var m meddler
	s := newFleet(t, "memory", "local").open(t, meddle(&m))
	put(t, s, agent(1), policy.Allow)
	decide(t, s, agent(1))
	loads := m.loads.Load()
	for _, raw := range []string{"*", " ", "00", agent(1).String() + "0", strings.Repeat("g", 32), "all"} {
		if err := s.ApplyPush(t.Context(), raw); err == nil {
			t.Errorf("%q is accepted", raw)
		} else if len(raw) > 1 && strings.Contains(err.Error(), raw) {
			t.Errorf("the error repeats what was pushed: %v", err)
		}
	}
	if err := s.Invalidate(t.Context()); err != nil {
		t.Errorf("Invalidate of nothing: %v", err)
	}
	decide(t, s, agent(1))
	if got := m.loads.Load(); got != loads {
		t.Errorf("%d loads after it: something was invalidated", got-loads)
	}
}

func TestClosedStoreStoresNothing(t *testing.T) {
	f := newFleet(t, "sqlite", "local")
	s := f.open(t)
	put(t, s, agent(1), policy.Allow)
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, putErr := s.Put(t.Context(), agent(1), answer(t, policy.Deny))
	_, deleteErr := s.Delete(t.Context(), agent(1))
	_, importErr := s.Import(t.Context(), maps.All(map[policy.AgentID]*policy.Document{agent(2): answer(t, policy.Deny)}))
	_, getErr := s.Get(t.Context(), agent(1))
	_, manyErr := s.GetMany(t.Context(), []policy.AgentID{agent(1)})
	for name, err := range map[string]error{
		"Put": putErr, "Delete": deleteErr, "Import": importErr, "Get": getErr, "GetMany": manyErr,
		"Invalidate": s.Invalidate(t.Context(), agent(1)), "InvalidateAll": s.InvalidateAll(t.Context()),
		"ApplyPush": s.ApplyPush(t.Context(), ""), "Ready": s.Ready(t.Context()),
	} {
		if !errors.Is(err, readthrough.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if head, err := f.connect(t).Head(t.Context()); err != nil || head != 1 {
		t.Errorf("version %d, %v: something was stored", head, err)
	}
}

func TestDecideHitAllocatesNothing(t *testing.T) {
	for _, bus := range []string{"local", "redis"} {
		f := newFleet(t, "sqlite", bus)
		s := f.open(t, func(cfg *policy.Config) { cfg.Bound, cfg.Sole = 0, bus == "local" })
		r, err := s.PutAsync(t.Context(), agent(1), answer(t, policy.Allow))
		if err != nil {
			t.Fatal(err)
		}
		token, ctx := r.Token(), t.Context()
		for name, decide := range map[string]func() (policy.Decision, error){
			"plain": func() (policy.Decision, error) { return s.Decide(ctx, agent(1), "tool:shell") },
			"with token": func() (policy.Decision, error) {
				return s.Decide(ctx, agent(1), "tool:shell", readthrough.AtLeast(token))
			},
		} {
			least := 1.0
			for range 20 { // renewals go on beside some of them
				least = min(least, testing.AllocsPerRun(100, func() {
					if d, err := decide(); err != nil || !d.Allowed() {
						t.Fatal(d, err)
					}
				}))
			}
			if least > 0 {
				t.Errorf("%s, %s: %v allocations", bus, name, least)
			}
		}
	}
}

// Else the old policy would be answered elsewhere until somebody's relay told of the new one, or the bound of what is in memory.
func TestCloseWaitsUntilAWriteUnderWayIsInForce(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		var m meddler
		s, there := f.open(t, meddle(&m)), f.open(t)
		put(t, s, agent(1), policy.Allow)
		decide(t, there, agent(1))
		begun, goOn, deny := make(chan struct{}), make(chan struct{}), answer(t, policy.Deny)
		m.after(func(uint64) error {
			close(begun)
			<-goOn
			return nil
		})
		written, closed := make(chan error, 1), make(chan error, 1)
		go func() { // ends when it may go on
			_, err := s.Put(context.Background(), agent(1), deny)
			written <- err
		}()
		<-begun
		go func() { closed <- s.Close(context.Background()) }() // ends with the write
		eventually(t, "no more writes", func() bool {
			_, err := s.DeleteAsync(t.Context(), agent(2))
			return errors.Is(err, readthrough.ErrClosed)
		})
		close(goOn)
		if err := <-written; err != nil {
			t.Error(err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if f.name == "memory" && f.redis == "" {
			return // it tells those who have it themselves, and not behind a meddler
		}
		if got := decide(t, there, agent(1)); got != policy.Deny {
			t.Errorf("%v", got)
		}
	})
}

// As the other stores do: else a revoked policy would be answered for its TTL, whatever Put said.
func TestWhereNobodyIsToldNothingIsAnsweredFromMemory(t *testing.T) {
	shared := struct{ policy.Authority }{&policy.Memory{}} // a third party's, without a log
	here, there := open(t, policy.Config{Authority: shared}), open(t, policy.Config{Authority: shared})
	id := agent(1)
	for _, verdict := range []policy.Verdict{policy.Allow, policy.Deny, policy.Allow} {
		if _, err := here.Put(t.Context(), id, answer(t, verdict)); err != nil {
			t.Fatal(err)
		}
		d, err := there.Decide(t.Context(), id, "tool:x")
		if err != nil || d.Verdict() != verdict {
			t.Errorf("Decide: %v, %v; want %v", d.Verdict(), err, verdict)
		}
		doc, err := there.Get(t.Context(), id)
		if err != nil || doc.Decide("tool:x").Verdict() != verdict {
			t.Errorf("Get: %v; want %v", err, verdict)
		}
		many, err := there.GetMany(t.Context(), []policy.AgentID{id})
		if err != nil || many[id].Decide("tool:x").Verdict() != verdict {
			t.Errorf("GetMany: %v; want %v", err, verdict)
		}
	}
	if _, err := here.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if d, err := there.Decide(t.Context(), id, "tool:x"); !errors.Is(err, readthrough.ErrNotFound) || d.Allowed() {
		t.Errorf("%+v, %v", d, err)
	}
}

// Memory is lost with its process: what it had must not come back from Redis.
func TestWhatAMemoryHadIsGoneWithIt(t *testing.T) {
	f := newFleet(t, "memory", "miniredis")
	first := f.open(t)
	put(t, first, agent(1), policy.Allow)
	decide(t, first, agent(1))
	if err := first.Close(t.Context()); err != nil { // and its fill is done
		t.Fatal(err)
	}
	f.authority = inMemory()
	if d, err := f.open(t).Decide(t.Context(), agent(1), "tool:x"); !errors.Is(err, readthrough.ErrNotFound) || d.Allowed() {
		t.Errorf("%+v, %v: no authority has such a policy", d, err)
	}
}
