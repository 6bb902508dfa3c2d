package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

func TestASessionIsLoadedAsItWasSaved(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b := f.open(t), f.open(t)
		wantAbsent(t, b, sid(1))
		for n, at := range []time.Time{
			time.Unix(0, 0), time.Unix(-1, 999999999),
			time.Date(1678, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(2261, 12, 31, 23, 59, 59, 999999999, time.UTC),
			time.Now().In(time.FixedZone("elsewhere", 3600)),
		} {
			v := of(sid(1), byte(n))
			v.StartedAt = at
			save(t, a, v)
			v.StartedAt = at.UTC().Round(0)
			for _, s := range []*session.Store{a, b} { // the second answer is from memory
				want(t, s, v)
				want(t, s, v)
			}
		}
	})
}

func TestATimeWithoutNanosecondsOf64BitsIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
	s := f.open(t)
	for _, at := range []time.Time{{}, time.Date(1677, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2262, 12, 1, 0, 0, 0, 0, time.UTC)} {
		v := of(sid(1), 1)
		v.StartedAt = at
		if err := s.Save(t.Context(), v); err == nil || errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%s: %v", at, err)
		}
		wantAbsent(t, s, sid(1))
	}
}

func TestASessionDeletedInOneProcessIsGoneInAll(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		stores := []*session.Store{f.open(t), f.open(t), f.open(t)}
		ready(t, stores...)
		for round := range 5 {
			save(t, stores[0], of(sid(1), 1))
			for _, s := range stores {
				want(t, s, of(sid(1), 1))
			}
			if err := stores[round%3].Delete(t.Context(), sid(1)); err != nil {
				t.Fatal(err)
			}
			for _, s := range stores { // no waiting: Delete has waited
				wantAbsent(t, s, sid(1))
			}
		}
		if err := stores[0].Delete(t.Context(), sid(1)); err != nil {
			t.Fatalf("deleting what is gone: %v", err)
		}
	})
}

func TestStoresThatShareAMemoryTellEachOther(t *testing.T) {
	f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
	own := func(c *session.Config) { c.Local = nil }
	a, b := f.open(t, own), f.open(t, own)
	save(t, a, of(sid(1), 1))
	for n := byte(2); n < 5; n++ {
		want(t, b, of(sid(1), n-1))
		save(t, a, of(sid(1), n))
		want(t, b, of(sid(1), n))
	}
	if _, ok := session.Peek(b, sid(1)); !ok {
		t.Error("memory is off")
	}
}

// It has read the session before the delete, and answers after it.
func TestTenantsOfAMemoryDoNotSeeEachOther(t *testing.T) {
	f := &fleet{memory: &session.Memory{}}
	as := func(tenant string) *session.Store {
		return f.open(t, func(c *session.Config) { c.Tenant = tenant })
	}
	a, b, none := as("a"), as("b"), as("")
	save(t, a, of(sid(1), 1))
	wantAbsent(t, b, sid(1))
	wantAbsent(t, none, sid(1))
	save(t, b, of(sid(1), 2))
	if err := b.Delete(t.Context(), sid(1)); err != nil {
		t.Fatal(err)
	}
	want(t, as("a"), of(sid(1), 1))
}

func TestALoadUnderWayDoesNotBringADeletedSessionBack(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		var m meddler
		reader, writer := f.open(t, m.meddle), f.open(t)
		ready(t, reader, writer)
		save(t, writer, of(sid(1), 1))
		hold, before := make(chan struct{}), m.loads.Load()
		m.hold.Store(&hold)
		loaded := make(chan error, 1)
		go func() { // ends with its load
			_, err := reader.Load(t.Context(), sid(1))
			loaded <- err
		}()
		eventually(t, "load", func() bool { return m.loads.Load() > before })
		if err := writer.Delete(t.Context(), sid(1)); err != nil {
			t.Fatal(err)
		}
		m.hold.Store(nil)
		wantAbsent(t, reader, sid(1)) // does not join the old load
		close(hold)
		if err := <-loaded; err != nil {
			t.Fatalf("the load that began before the delete: %v", err)
		}
		wantAbsent(t, reader, sid(1))
	})
}

func TestASaveIsInForceEverywhereWhenItReturns(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		stores := []*session.Store{f.open(t), f.open(t)}
		ready(t, stores...)
		wantAbsent(t, stores[1], sid(1)) // the absence is remembered
		for n := byte(1); n < 6; n++ {
			save(t, stores[n%2], of(sid(1), n))
			want(t, stores[0], of(sid(1), n))
			want(t, stores[1], of(sid(1), n))
		}
	})
}

func TestATokenReadsTheWriteInEveryProcess(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b := f.open(t), f.open(t)
		ready(t, a, b)
		for n := byte(1); n < 20; n++ {
			token := saveAsync(t, a, of(sid(1), n)).Token()
			want(t, b, of(sid(1), n), readthrough.AtLeast(token))
			want(t, a, of(sid(1), n)) // a process reads its own writes without a token
		}
		receipt, err := a.DeleteAsync(t.Context(), sid(1))
		if err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, b, sid(1), readthrough.AtLeast(receipt.Token()))
		wantAbsent(t, a, sid(1))
		if err := receipt.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Load(t.Context(), sid(1), readthrough.AtLeast("nonsense")); !errors.Is(err, readthrough.ErrBadToken) {
			t.Fatalf("%v of a bad token", err)
		}
	})
}

func TestTouchOfAnAbsentSessionIsNotFoundAndRevivesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t)
		ready(t, s)
		absent := func(id session.ID) {
			t.Helper()
			if err := s.Touch(t.Context(), id); !errors.Is(err, readthrough.ErrNotFound) {
				t.Fatalf("Touch: %v", err)
			}
			wantAbsent(t, s, id)
		}
		absent(sid(1))
		save(t, s, of(sid(1), 1))
		if err := s.Touch(t.Context(), sid(1)); err != nil {
			t.Fatal(err)
		}
		want(t, s, of(sid(1), 1))
		if err := s.Delete(t.Context(), sid(1)); err != nil {
			t.Fatal(err)
		}
		absent(sid(1))
	})
}

// What a touch learns of the backend, this process does not deny afterwards.
func TestTouchVoidsWhatMemoryKnewOtherwise(t *testing.T) {
	f := onRedis(t)
	s, raw := f.open(t, func(c *session.Config) { c.Bound = time.Hour }), f.client(t)
	ready(t, s)
	original{t, raw}.save(of(sid(1), 1)) // no message of a save of ours voids it again
	want(t, s, of(sid(1), 1))
	raw.Del(t.Context(), key(sid(1)))
	want(t, s, of(sid(1), 1)) // from memory
	if err := s.Touch(t.Context(), sid(1)); !errors.Is(err, readthrough.ErrNotFound) {
		t.Fatal(err)
	}
	wantAbsent(t, s, sid(1))
	raw.HSet(t.Context(), key(sid(1)), "agent_id", string(make([]byte, 16)), "started_at_ns", "1")
	if err := s.Touch(t.Context(), sid(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), sid(1)); err != nil {
		t.Fatal(err)
	}
}

// Without a lease memory may not answer, and may again with the next.
func TestTouchAfterASilenceOfReadersVoidsWhatMemoryKnewOtherwise(t *testing.T) {
	f := onRedis(t)
	s, raw := f.open(t), f.client(t)
	ready(t, s)
	wantAbsent(t, s, sid(1))
	original{t, raw}.save(of(sid(1), 1))
	eventually(t, "silence", func() bool { return s.Health().Lease == 0 })
	if err := s.Touch(t.Context(), sid(1)); err != nil {
		t.Fatal(err)
	}
	want(t, s, of(sid(1), 1))
}

func TestTouchAndSaveLetASessionLiveOn(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		const ttl = 200 * time.Millisecond
		s := f.open(t, func(c *session.Config) { c.TTL = ttl })
		ready(t, s)
		for name, rearm := range map[string]func() error{
			"touch": func() error { return s.Touch(t.Context(), sid(1)) },
			"save": func() error {
				_, err := s.SaveAsync(t.Context(), of(sid(1), 1))
				return err
			},
		} {
			alive, last := 0, time.Now()
			saveAsync(t, s, of(sid(1), 1))
			for began := time.Now(); time.Since(began) < 2*ttl; {
				sent := time.Now()
				if err := rearm(); err != nil {
					if time.Since(last) < ttl-redistest.Step {
						t.Fatalf("%s: %v, %s after the last", name, err, time.Since(last))
					}
					saveAsync(t, s, of(sid(1), 1)) // the machine slept through it
				}
				last = sent
				alive++
			}
			eventually(t, "end", func() bool { _, err := s.Load(t.Context(), sid(1)); return errors.Is(err, readthrough.ErrNotFound) })
			if alive < 2 {
				t.Logf("%s: a slow machine, proved nothing", name)
			}
		}
	})
}

// "L1 outliving what is left of L2's TTL".
func TestMemoryNeverOutlivesTheSession(t *testing.T) {
	server := redistest.Start(t)
	f := &fleet{addr: server.Addr()}
	a := f.open(t, func(c *session.Config) { c.TTL = 300 * time.Millisecond })
	b := f.open(t) // of another configuration: it would keep it for 10 s
	raw := f.client(t)
	ready(t, a, b)
	for n := range byte(3) {
		save(t, a, of(sid(n), 1))
		for raw.Exists(t.Context(), key(sid(n))).Val() == 1 {
			for _, s := range []*session.Store{a, b} {
				if _, err := s.Load(t.Context(), sid(n)); err != nil && !errors.Is(err, readthrough.ErrNotFound) {
					t.Fatal(err)
				}
			}
		}
		wantAbsent(t, a, sid(n))
		wantAbsent(t, b, sid(n))
	}
}

// A session in its last millisecond is not kept for as long as one without an end.
func TestASessionWithNothingLeftIsNotKept(t *testing.T) {
	var m meddler
	f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
	s := f.open(t, m.meddle, func(c *session.Config) { c.Backend, c.Local = &spent{c.Backend}, &invalidation.Local{} })
	save(t, s, of(sid(1), 1))
	want(t, s, of(sid(1), 1))
	want(t, s, of(sid(1), 1))
	if n := m.loads.Load(); n != 2 {
		t.Fatalf("%d loads for 2 reads", n)
	}
}

// spent is a backend whose sessions have less than a millisecond left.
type spent struct{ session.Backend }

func (b *spent) Load(ctx context.Context, id session.ID, rearm time.Duration) (session.Record, time.Duration, bool, error) {
	rec, _, found, err := b.Backend.Load(ctx, id, rearm)
	return rec, 0, found, err
}

func TestALoadedSessionLivesOnAlthoughMemoryAnswers(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		const ttl = time.Second
		s := f.open(t, func(c *session.Config) { c.TTL, c.RearmOnLoad = ttl, true })
		raw := f.client(t)
		ready(t, s)
		save(t, s, of(sid(1), 1))
		last := time.Now()
		for began := last; time.Since(began) < 5*ttl/4; { // it would have ended
			sent := time.Now()
			if _, err := s.Load(t.Context(), sid(1)); err != nil {
				if time.Since(last) < ttl*3/4-redistest.Step {
					t.Fatalf("%v, %s after the last load", err, time.Since(last))
				}
				save(t, s, of(sid(1), 1)) // the machine slept through it
				began = time.Now()
			}
			last = sent
			left := raw.PTTL(t.Context(), key(sid(1))).Val()
			if least := ttl*3/4 - time.Since(sent) - redistest.Step; left < least {
				t.Fatalf("%s left after a load, want %s", left, least)
			}
		}
		eventually(t, "end", func() bool { return raw.Exists(t.Context(), key(sid(1))).Val() == 0 }) // without loads
		wantAbsent(t, s, sid(1))
	})
}

func TestALoadRearmsNothingUnlessAsked(t *testing.T) {
	f := onRedis(t)
	s, raw := f.open(t), f.client(t)
	save(t, s, of(sid(1), 1))
	raw.PExpire(t.Context(), key(sid(1)), time.Minute)
	want(t, s, of(sid(1), 1), readthrough.SkipL1())
	if left := raw.PTTL(t.Context(), key(sid(1))).Val(); left > time.Minute {
		t.Fatalf("%s left", left)
	}
}

// A writer that is killed between its write and the telling.
func TestAWriteThatNobodyToldOfIsSeenWithinMemoryTTL(t *testing.T) {
	f := onRedis(t)
	s, raw := f.open(t, func(c *session.Config) { c.MemoryTTL = 200 * time.Millisecond }), f.client(t)
	ready(t, s)
	save(t, s, of(sid(1), 1))
	want(t, s, of(sid(1), 1))
	wantAbsent(t, s, sid(2))
	raw.Del(t.Context(), key(sid(1)))
	raw.HSet(t.Context(), key(sid(2)), "agent_id", string(make([]byte, 16)), "started_at_ns", "1")
	deleted := time.Now()
	for id, now := range map[session.ID]func(error) bool{
		sid(1): func(err error) bool { return errors.Is(err, readthrough.ErrNotFound) },
		sid(2): func(err error) bool { return err == nil },
	} {
		var last time.Time
		eventually(t, "new answer", func() bool {
			began := time.Now()
			_, err := s.Load(t.Context(), id)
			if now(err) {
				return true
			}
			last = began
			return false
		})
		if late := last.Sub(deleted); late > 200*time.Millisecond {
			t.Errorf("an old answer to a load that began %s after the write", late)
		}
	}
}

func TestAHitMakesNoRoundTripAndAMissOne(t *testing.T) {
	f, bus := onRedis(t), onRedis(t) // apart, so that what the bus does by itself is not counted
	s := f.open(t, func(c *session.Config) { c.Bound, c.Link = time.Hour, newLink(t, bus.client(t)) })
	ready(t, s)
	raw := f.client(t)
	calls := func(what string, scripts int64, call func()) {
		t.Helper()
		before := redistest.CountCommands(t, raw)
		call()
		if n := redistest.CountCommands(t, raw).Since(before).Scripts(); n != scripts {
			t.Errorf("%s: %d round trips, want %d", what, n, scripts)
		}
	}
	saveAsync(t, s, of(sid(5), 1)) // and the scripts are known
	original{t, raw}.save(of(sid(1), 1))
	want(t, s, of(sid(1), 1))
	calls("hit", 0, func() { want(t, s, of(sid(1), 1)) })
	calls("miss", 1, func() { want(t, s, of(sid(1), 1), readthrough.SkipL1()) })
	calls("absence", 1, func() { wantAbsent(t, s, sid(2)) })
	calls("touch", 1, func() {
		if err := s.Touch(t.Context(), sid(1)); err != nil {
			t.Error(err)
		}
	})
	calls("save", 1, func() { saveAsync(t, s, of(sid(1), 2)) })
}

func TestAHitAllocatesNothing(t *testing.T) {
	f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
	s := f.open(t)
	save(t, s, of(sid(1), 1))
	want(t, s, of(sid(1), 1))
	ctx, token := t.Context(), readthrough.AtLeast(saveAsync(t, s, of(sid(1), 1)).Token())
	want(t, s, of(sid(1), 1))
	for name, load := range map[string]func(){
		"plain":   func() { _, _ = s.Load(ctx, sid(1)) },
		"options": func() { _, _ = s.Load(ctx, sid(1), token) },
	} {
		if n := testing.AllocsPerRun(100, load); n != 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

// "100 concurrent misses → 1 load", "a cancelled leader wedging its key".
func TestManyLoadsOfOneSessionAskTheBackendOnceAndOutliveTheirFirstCaller(t *testing.T) {
	var m meddler
	f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
	s := f.open(t, m.meddle, func(c *session.Config) { c.Bound = time.Hour })
	save(t, s, of(sid(1), 1))
	hold := make(chan struct{})
	m.hold.Store(&hold)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	loaded := make(chan error, 101)
	load := func(ctx context.Context) {
		_, err := s.Load(ctx, sid(1))
		loaded <- err
	}
	go load(ctx) // ends with ctx
	eventually(t, "load", func() bool { return m.loads.Load() == 1 })
	for range 100 {
		go load(t.Context()) // ends with the one load
	}
	cancel()
	if err := <-loaded; !errors.Is(err, context.Canceled) {
		t.Fatalf("the first caller: %v", err)
	}
	close(hold)
	for range 100 {
		if err := <-loaded; err != nil {
			t.Error(err)
		}
	}
	if n := m.loads.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestClosedStoresAnswerNothing(t *testing.T) {
	f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
	s := f.open(t)
	save(t, s, of(sid(1), 1))
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, loaded := s.Load(t.Context(), sid(2))
	_, async := s.SaveAsync(t.Context(), of(sid(1), 2))
	for name, err := range map[string]error{
		"load": loaded, "save": s.Save(t.Context(), of(sid(1), 2)), "save async": async,
		"delete": s.Delete(t.Context(), sid(1)), "touch": s.Touch(t.Context(), sid(1)), "ready": s.Ready(t.Context()),
	} {
		if !errors.Is(err, readthrough.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	want(t, f.open(t), of(sid(1), 1))
}

// holding is a backend whose deletions say that they have begun and wait to be let go on.
type holding struct {
	session.Backend
	in, on chan struct{}
}

func (h *holding) Delete(ctx context.Context, id session.ID) error {
	close(h.in)
	<-h.on
	return h.Backend.Delete(ctx, id)
}

// deleting has a store whose deletion of a session is under way, and another process that has the session in memory.
func deleting(t *testing.T, f *fleet) (h *holding, s, there *session.Store, deleted chan error) {
	t.Helper()
	h = &holding{in: make(chan struct{}), on: make(chan struct{})}
	s = f.open(t, func(c *session.Config) { h.Backend, c.Backend = c.Backend, h })
	there = f.open(t, func(c *session.Config) { c.MemoryTTL = time.Hour })
	ready(t, s, there)
	save(t, s, of(sid(1), 1))
	want(t, there, of(sid(1), 1))
	deleted = make(chan error, 1)
	go func() { deleted <- s.Delete(context.Background(), sid(1)) }() // ends when it is let go on
	<-h.in
	return h, s, there, deleted
}

// Else the session would be answered elsewhere for MemoryTTL.
func TestCloseWaitsUntilAWriteUnderWayIsTold(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		h, s, there, deleted := deleting(t, f)
		closed := make(chan error, 1)
		go func() { closed <- s.Close(context.Background()) }() // ends with the write
		eventually(t, "no more writes", func() bool { return errors.Is(s.Touch(t.Context(), sid(2)), readthrough.ErrClosed) })
		select {
		case err := <-closed:
			t.Errorf("closed during a write: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		close(h.on)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := <-deleted; err != nil {
			t.Error(err)
		}
		wantAbsent(t, there, sid(1))
	})
}

func TestCloseWaitsForAWriteNoLongerThanItsContext(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		h, s, _, deleted := deleting(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("closed: %v", err)
		}
		close(h.on)
		err := <-deleted
		if _, committed := errors.AsType[*readthrough.NotInForceError](err); !committed || !errors.Is(err, readthrough.ErrClosed) {
			t.Errorf("a write that Close did not wait for: %v", err)
		}
	})
}

func TestNothingIsWrittenOnceTheContextHasEnded(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t)
		save(t, s, of(sid(1), 1))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, err := range map[string]error{
			"save": s.Save(ctx, of(sid(1), 2)), "delete": s.Delete(ctx, sid(1)), "touch": s.Touch(ctx, sid(1)),
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
		want(t, s, of(sid(1), 1))
	})
}
