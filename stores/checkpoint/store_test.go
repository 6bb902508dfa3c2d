package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

func TestRepeatedLoadsMakeNoRoundTripAndAllocateNothing(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	m := &meddler{}
	s := process(t, client, func(c *checkpoint.Config) { c.Bound, c.L1TTL = time.Hour, time.Hour }, counted(m))
	ready(t, s)
	state := strings.Repeat("x", 100<<10)
	save(t, s, "t", state)
	warm(t, s, m)
	before := redistest.CountCommands(t, client)
	for range 100 {
		want(t, s, "t", state)
	}
	since := redistest.CountCommands(t, client).Since(before)
	if since["get"] != 0 || since["strlen"] != 0 {
		t.Errorf("%v", since)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Load(ctx, "t") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestASaveIsLoadedAtOnceHereByTokenAnywhereAndByAllWithinBound(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		here, there := process(t, client), process(t, client)
		ready(t, here, there)
		for i := range 20 {
			state := strconv.Itoa(i)
			saved := save(t, here, "t", state)
			if want(t, here, "t", state).Version != saved.Version {
				t.Fatal("another version than the one that was saved")
			}
			if i%2 == 0 {
				want(t, there, "t", state, readthrough.AtLeast(saved.Token()))
			} else if err := saved.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			want(t, there, "t", state)
		}
		save(t, here, "t", "last")
		saved := time.Now()
		eventually(t, "the save elsewhere", func() bool {
			asked := time.Now()
			seen := string(load(t, there, "t").Data) == "last"
			if !seen && asked.Sub(saved) > time.Second {
				t.Fatalf("not seen after %s", asked.Sub(saved))
			}
			return seen
		})
	})
}

func TestADeletedThreadIsGoneInEveryProcess(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		here, there := process(t, client), process(t, client)
		ready(t, here, there)
		for range 5 {
			save(t, here, "t", "x")
			want(t, there, "t", "x")
			if err := here.Delete(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			if !absent(t, there, "t") || !absent(t, here, "t") {
				t.Fatal("it is still there")
			}
		}
		if err := here.Delete(t.Context(), "t"); err != nil {
			t.Errorf("again: %v", err)
		}
		save(t, here, "t", "y")
		deleted, err := here.DeleteAsync(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Load(t.Context(), "t", readthrough.AtLeast(deleted.Token())); !errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("by the token of the deletion: %v", err)
		}
	})
}

func TestTwoWorkersOnAThreadLoseNoUpdate(t *testing.T) {
	client := redistest.Start(t).Client()
	const processes, workers, each = 4, 8, 8
	var stores []*checkpoint.Store
	for range processes {
		stores = append(stores, process(t, client))
	}
	ready(t, stores...)
	save(t, stores[0], "t", "0")
	var wg sync.WaitGroup
	for _, s := range stores {
		for range workers {
			wg.Go(func() {
				for done := 0; done < each; {
					state, err := s.Load(t.Context(), "t")
					if err != nil {
						t.Error(err)
						return
					}
					n, _ := strconv.Atoi(string(state.Data))
					_, err = s.SaveIf(t.Context(), "t", []byte(strconv.Itoa(n+1)), state.Version)
					switch {
					case err == nil:
						done++
					case !errors.Is(err, checkpoint.ErrConflict):
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for _, s := range stores {
		want(t, s, "t", strconv.Itoa(processes*workers*each), readthrough.Linearizable())
	}
}

// A writer that died between its save and its message leaves the old state in the L1 of others. They must not be
// refused again and again with what they load.
func TestALoadAfterAConflictIsNotAnsweredFromBeforeIt(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		m := &meddler{}
		s := process(t, client, func(c *checkpoint.Config) { c.L1TTL, c.Bound = time.Hour, time.Hour }, counted(m))
		ready(t, s)
		old := save(t, s, "t", "1")
		warm(t, s, m)
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		if _, err := b.Save(t.Context(), "t", checkpoint.Write{Value: []byte("2")}); err != nil {
			t.Fatal(err)
		}
		want(t, s, "t", "1") // L1 does not know
		_, err := s.SaveIf(t.Context(), "t", []byte("x"), old.Version)
		conflict, ok := errors.AsType[*checkpoint.ConflictError](err)
		if !ok {
			t.Fatal(err)
		}
		if v := want(t, s, "t", "2").Version; v != conflict.Current {
			t.Errorf("version %d, the conflict said %d", v, conflict.Current)
		}
	})
}

func TestAWriterThatDiesBeforeItsMessageLeavesTheOldStateForL1TTL(t *testing.T) {
	client := redistest.Start(t).Client()
	s := process(t, client, func(c *checkpoint.Config) { c.L1TTL = soon })
	ready(t, s)
	save(t, s, "t", "1")
	want(t, s, "t", "1")
	if _, err := onRedis(t, checkpoint.RedisConfig{Client: client}).Save(t.Context(), "t", checkpoint.Write{Value: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	written := time.Now()
	eventually(t, "the save", func() bool {
		asked := time.Now()
		seen := string(load(t, s, "t").Data) == "2"
		if !seen && asked.Sub(written) > soon {
			t.Fatalf("the old state after %s", asked.Sub(written))
		}
		return seen
	})
}

func TestReadingRefreshesATTLAlsoFromL1(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		const ttl = 2 * time.Second
		s := process(t, client, func(c *checkpoint.Config) { c.TTL, c.RefreshOnLoad, c.Bound = ttl, true, time.Hour })
		other := process(t, client, func(c *checkpoint.Config) { c.TTL, c.Bound = ttl, time.Hour })
		ready(t, s, other)
		began := time.Now()
		save(t, s, "read", "x")
		save(t, s, "unread", "x")
		save(t, other, "plain", "x")
		eventually(t, "the end of the unread", func() bool {
			want(t, s, "read", "x") // nearly always from L1
			return client.Exists(t.Context(), "agents:thread:unread").Val() == 0
		})
		if lived := time.Since(began); lived < ttl-50*time.Millisecond { // 50 ms: the clocks
			t.Errorf("the unread lived for %s", lived)
		}
		eventually(t, "twice its TTL", func() bool {
			asked := time.Now()
			want(t, s, "read", "x")
			left := client.PTTL(t.Context(), "agents:thread:read").Val()
			if least := ttl*3/4 - time.Since(asked) - 50*time.Millisecond; left < least {
				t.Fatalf("%s left, want at least %s", left, least)
			}
			return time.Since(began) > 2*ttl
		})
		eventually(t, "the end of the thread that loads do not refresh", func() bool { return absent(t, other, "plain") })
	})
}

func TestL1DoesNotOutliveAThread(t *testing.T) {
	const ttl = 2 * time.Second
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		s := process(t, client, func(c *checkpoint.Config) { c.TTL, c.Bound = ttl, time.Hour })
		ready(t, s)
		save(t, s, "t", "x")
		saved := time.Now()
		want(t, s, "t", "x")
		gone := func(what string) {
			t.Helper()
			eventually(t, what, func() bool {
				asked := time.Now()
				if absent(t, s, "t") {
					return true
				}
				if late := asked.Sub(saved) > ttl+100*time.Millisecond; late && real { // keys in miniredis live longer on a busy machine
					t.Fatalf("%s: loaded %s after the save", what, asked.Sub(saved))
				}
				return false
			})
		}
		gone("end")
		save(t, s, "t", "x")
		if err := s.Pin(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		saved = time.Now().Add(2 * ttl)
		eventually(t, "time to pass", func() bool { want(t, s, "t", "x"); return time.Now().After(saved) })
		if err := s.Unpin(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		saved = time.Now()
		gone("end of the pin")
	})
}

func TestPinnedThreadsAreExemptFromTheEnd(t *testing.T) {
	now := newClock()
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{Now: now.Now}, TTL: time.Hour})
	for _, id := range []string{"pinned", "touched", "left"} {
		save(t, s, id, id)
	}
	if err := s.Pin(t.Context(), "pinned"); err != nil {
		t.Fatal(err)
	}
	now.advance(59 * time.Minute)
	if err := s.Touch(t.Context(), "touched"); err != nil {
		t.Fatal(err)
	}
	now.advance(time.Minute)
	if got := ids(t, s, 10); !slices.Equal(got, []string{"touched", "pinned"}) {
		t.Errorf("%q", got)
	}
	now.advance(59 * time.Minute)
	if !absent(t, s, "touched") || !absent(t, s, "left") {
		t.Error("they have ended")
	}
	want(t, s, "pinned", "pinned")
	for verb, err := range map[string]error{
		"pin": s.Pin(t.Context(), "left"), "unpin": s.Unpin(t.Context(), "left"), "touch": s.Touch(t.Context(), "left"),
	} {
		if !errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%s of a thread that has ended: %v", verb, err)
		}
	}
}

func TestLoadsInARunAreRefreshedByTheClockOfTheBackend(t *testing.T) {
	now := newClock()
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{Now: now.Now}, TTL: 500 * time.Millisecond, RefreshOnLoad: true})
	save(t, s, "t", "x")
	for range 10 {
		now.advance(499 * time.Millisecond)
		want(t, s, "t", "x")
	}
	now.advance(500 * time.Millisecond)
	if !absent(t, s, "t") {
		t.Error("it has ended")
	}
}

func TestAnEmptyThreadIDIsRefusedByEveryVerb(t *testing.T) {
	_, client := redistest.Mini(t)
	for name, s := range map[string]*checkpoint.Store{
		"memory": open(t, checkpoint.Config{Backend: &checkpoint.Memory{}}),
		"redis":  process(t, client),
	} {
		for _, id := range []string{"", strings.Repeat("x", 1025)} {
			_, load := s.Load(t.Context(), id)
			_, save := s.Save(t.Context(), id, []byte("x"))
			_, saveIf := s.SaveIf(t.Context(), id, []byte("x"), 0)
			_, _, snapshot := s.LoadSnapshot(t.Context(), id)
			for verb, err := range map[string]error{
				"load": load, "save": save, "saveif": saveIf, "snapshot": snapshot, "delete": s.Delete(t.Context(), id),
				"pin": s.Pin(t.Context(), id), "unpin": s.Unpin(t.Context(), id), "touch": s.Touch(t.Context(), id),
			} {
				if !errors.Is(err, readthrough.ErrInvalidKey) || errors.Is(err, readthrough.ErrNotFound) {
					t.Errorf("%s: %s of an id of %d bytes: %v", name, verb, len(id), err)
				}
			}
		}
		if got := ids(t, s, 10); len(got) != 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
	if keys := client.Keys(t.Context(), "agents:*").Val(); len(keys) != 0 {
		t.Errorf("%q", keys)
	}
}

func TestAStateAboveTheLimitIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	client := redistest.Start(t).Client()
	s := process(t, client)
	ready(t, s)
	most := bytes.Repeat([]byte("16 MiB! "), 2<<20)
	saved := save(t, s, "t", string(most))
	if got := load(t, s, "t"); !bytes.Equal(got.Data, most) {
		t.Fatalf("%d bytes", len(got.Data))
	}
	for name, save := range map[string]func(state []byte) error{
		"save":   func(state []byte) error { _, err := s.Save(t.Context(), "t", state); return err },
		"saveif": func(state []byte) error { _, err := s.SaveIf(t.Context(), "t", state, saved.Version); return err },
	} {
		err := save(append(most, '!'))
		large, ok := errors.AsType[*checkpoint.TooLargeError](err)
		if !ok || large.Size != 16<<20+1 || large.Limit != 16<<20 || errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if text := err.Error(); !strings.Contains(text, "16777217") || !strings.Contains(text, "16777216") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if v := load(t, s, "t").Version; v != saved.Version {
		t.Error("something was written")
	}
}

func TestStoresOfAProcessShareALocalBus(t *testing.T) {
	var local invalidation.Local
	m := &meddler{Backend: &checkpoint.Memory{}}
	cfg := checkpoint.Config{Backend: m, Local: &local}
	a, b := open(t, cfg), open(t, cfg)
	save(t, a, "t", "1")
	warm(t, b, m)
	saved := save(t, a, "t", "2")
	want(t, b, "t", "2")
	if err := saved.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	want(t, b, "t", "2", readthrough.AtLeast(saved.Token()))
}

func TestWithoutABusThereIsNoL1(t *testing.T) {
	m := &meddler{Backend: &checkpoint.Memory{}}
	a, b := open(t, checkpoint.Config{Backend: m}), open(t, checkpoint.Config{Backend: m})
	for _, state := range []string{"1", "2"} {
		saved := save(t, a, "t", state)
		want(t, b, "t", state)
		if saved.Token() != "" || saved.Wait(t.Context()) != nil {
			t.Errorf("token %q", saved.Token())
		}
		want(t, b, "t", state, readthrough.AtLeast(saved.Token()))
	}
	if b.Health().State != invalidation.Up || b.Ready(t.Context()) != nil {
		t.Error("not ready")
	}
}

func TestL1IsBoundedByBytes(t *testing.T) {
	m := &meddler{Backend: &checkpoint.Memory{}}
	s := open(t, checkpoint.Config{Backend: m, Local: &invalidation.Local{}, MaxBytes: 1 << 20})
	state := strings.Repeat("x", 100<<10)
	for i := range 50 {
		save(t, s, strconv.Itoa(i), state)
	}
	for range 3 {
		for i := range 50 {
			want(t, s, strconv.Itoa(i), state)
		}
	}
	if n := m.loads.Load(); n < 150-2*10 {
		t.Errorf("%d loads: more than ten of 100 KiB fit into 1 MiB", n)
	}
	big := strings.Repeat("x", 2<<20)
	save(t, s, "big", big)
	before := m.loads.Load()
	for range 2 {
		want(t, s, "big", big)
	}
	if n := m.loads.Load() - before; n != 2 {
		t.Errorf("%d loads of a state that does not fit", n)
	}
}

func TestTheBufferOfASaveMayBeReused(t *testing.T) {
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{}, Local: &invalidation.Local{}})
	buf := []byte("first")
	if _, err := s.Save(t.Context(), "t", buf); err != nil {
		t.Fatal(err)
	}
	copy(buf, "XXXXX")
	got := want(t, s, "t", "first")
	if cap(got.Data) != len(got.Data) {
		t.Error("an append to what was loaded would write into memory that others see")
	}
	if _, err := s.Save(t.Context(), "nil", nil); err != nil {
		t.Error(err)
	}
	want(t, s, "nil", "")
}

func TestClosedStoresAnswerErrClosed(t *testing.T) {
	_, client := redistest.Mini(t)
	for name, s := range map[string]*checkpoint.Store{
		"without L1": open(t, checkpoint.Config{Backend: &checkpoint.Memory{}}),
		"with L1":    process(t, client),
	} {
		for range 2 {
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, load := s.Load(t.Context(), "t")
		_, save := s.Save(t.Context(), "t", nil)
		_, list := s.List(t.Context(), "", 1)
		for verb, err := range map[string]error{
			"load": load, "save": save, "list": list, "delete": s.Delete(t.Context(), "t"), "pin": s.Pin(t.Context(), "t"),
			"unpin": s.Unpin(t.Context(), "t"), "touch": s.Touch(t.Context(), "t"), "ready": s.Ready(t.Context()),
		} {
			if !errors.Is(err, readthrough.ErrClosed) {
				t.Errorf("%s: %s: %v", name, verb, err)
			}
		}
	}
}

// holding is a backend whose deletions say that they have begun and wait to be let go on.
type holding struct {
	checkpoint.Backend
	in, on chan struct{}
}

func (h *holding) Delete(ctx context.Context, id string) error {
	close(h.in)
	<-h.on
	return h.Backend.Delete(ctx, id)
}

// Else the thread would be answered elsewhere for as long as L1 keeps it.
func TestCloseWaitsUntilAWriteUnderWayIsTold(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		h, m := &holding{in: make(chan struct{}), on: make(chan struct{})}, &meddler{}
		s := process(t, client, func(c *checkpoint.Config) { h.Backend, c.Backend = c.Backend, h })
		there := process(t, client, counted(m), func(c *checkpoint.Config) { c.L1TTL = time.Hour })
		ready(t, s, there)
		save(t, s, "t", "state")
		warm(t, there, m)
		closed, deleted := make(chan error, 1), make(chan error, 1)
		go func() { deleted <- s.Delete(context.Background(), "t") }() // ends when it is let go on
		<-h.in
		go func() { closed <- s.Close(context.Background()) }() // ends with the write
		eventually(t, "no more writes", func() bool { return errors.Is(s.Touch(t.Context(), "none"), readthrough.ErrClosed) })
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
		if !absent(t, there, "t") {
			t.Error("a deleted thread is answered")
		}
	})
}

func TestTenantsOfAMemoryDoNotSeeEachOther(t *testing.T) {
	shared := &checkpoint.Memory{}
	as := func(tenant string) *checkpoint.Store {
		return open(t, checkpoint.Config{Backend: shared, Tenant: tenant})
	}
	a, b := as("a"), as("b")
	save(t, a, "t", "state")
	if !absent(t, b, "t") || !absent(t, as(""), "t") || len(ids(t, b, 10)) > 0 {
		t.Error("another tenant's thread")
	}
	if err := b.Delete(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	want(t, as("a"), "t", "state")
}

func TestSizesAreInMetrics(t *testing.T) {
	tel := newEvents()
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{}, CompressAbove: 1000, Telemetry: tel, Tenant: "acme"})
	first := save(t, s, "t", strings.Repeat("x", 10000))
	if _, err := s.SaveIf(t.Context(), "t", nil, first.Version+1); !errors.Is(err, checkpoint.ErrConflict) {
		t.Fatal(err)
	}
	load(t, s, "t")
	stored := tel.of("checkpoints state_stored_bytes")
	if stored < 1 || stored > 1000 || tel.of("checkpoints state_loaded_bytes") != stored {
		t.Errorf("%d bytes stored of 10000", stored)
	}
	for name, n := range map[string]int64{"state_saved": 1, "state_loaded": 1, "state_conflict": 1, "state_saved_bytes": 10000} {
		if got := tel.of("checkpoints " + name); got != n {
			t.Errorf("%s: %d, want %d", name, got, n)
		}
	}
}

func TestAPageIsNeverEmptyWhileThereIsMore(t *testing.T) {
	s := open(t, checkpoint.Config{Backend: sparse{&checkpoint.Memory{}}})
	save(t, s, "t", "x")
	page, err := s.List(t.Context(), "", 10)
	if err != nil || len(page.Threads) != 1 || page.Next != "" {
		t.Errorf("%+v, %v", page, err)
	}
	stuck := open(t, checkpoint.Config{Backend: stuck{&checkpoint.Memory{}}})
	if _, err := stuck.List(t.Context(), "", 10); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("a backend whose list does not end: %v", err)
	}
}

// sparse looks at few threads in a call.
type sparse struct{ checkpoint.Backend }

func (b sparse) List(ctx context.Context, q checkpoint.Query) (checkpoint.Listing, error) {
	if q.Before == 0 {
		return checkpoint.Listing{More: true, Next: 1 << 62}, nil
	}
	return b.Backend.List(ctx, q)
}

type stuck struct{ checkpoint.Backend }

func (stuck) List(context.Context, checkpoint.Query) (checkpoint.Listing, error) {
	return checkpoint.Listing{More: true, Next: 7}, nil
}

func TestBadCursorsAreRefusedBeforeAnyIO(t *testing.T) {
	m := &meddler{Backend: &checkpoint.Memory{}}
	m.down.Store(true)
	s := open(t, checkpoint.Config{Backend: m})
	for _, cursor := range []string{"x", "c1.", "c1.0", "c1.-1", "c1.zzzzzzzzzzzzzzzzzzz", "c2.1", "c1.A", "c1.01", " c1.1", "c1.1 "} {
		if _, err := s.List(t.Context(), cursor, 1); !errors.Is(err, checkpoint.ErrBadCursor) {
			t.Errorf("%q: %v", cursor, err)
		}
	}
}
