package readthrough_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

func wantClose(t *testing.T, c *cache) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func TestCloseIsSafeBeforeUseAndTwice(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		c := open(t, b.with(config{Loader: newSource(nil)}))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { wantClose(t, c) })
		}
		wg.Wait()
		wantClose(t, c)
	})
}

func TestAfterCloseEveryVerbSaysSo(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c := open(t, b.with(config{Loader: src, Mode: readthrough.ServeStale(time.Hour)}))
		ready(t, c)
		wantGet(t, c, "k", 1)
		wantClose(t, c)
		ctx := t.Context()
		_, get := c.Get(ctx, "k")
		_, entry := c.GetEntry(ctx, "k")
		_, many := c.GetMany(ctx, []string{"k", "l"})
		_, async := c.InvalidateAsync(ctx, "k")
		_, all := c.InvalidateAllAsync(ctx, 0)
		for verb, err := range map[string]error{
			"Get": get, "GetEntry": entry, "GetMany": many, "Warm": c.Warm(ctx, "k"), "Refresh": c.Refresh(ctx, "k"),
			"Invalidate": c.Invalidate(ctx, "k"), "InvalidateAsync": async, "InvalidateAll": c.InvalidateAll(ctx), "InvalidateAllAsync": all,
			"Ready": c.Ready(ctx),
		} {
			if !errors.Is(err, readthrough.ErrClosed) {
				t.Errorf("%s = %v", verb, err)
			}
		}
		if _, ok := c.Peek("k"); ok {
			t.Error("Peek answers")
		}
		_ = c.Health()
		wantLoads(t, src, 1)
	})
}

func TestCloseWaitsForTheLoadsUnderWay(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"a": 1, "b": 2, "c": 3}), newGate(t)
		src.on = g.pass
		c := open(t, b.with(config{Loader: batcher{src}}))
		ready(t, c)
		var wg sync.WaitGroup
		wg.Go(func() { wantGet(t, c, "a", 1) })
		wg.Go(func() { wantMany(t, c, []string{"b", "c"}, map[string]int{"b": 2, "c": 3}) })
		g.await(t)
		g.await(t)
		closed := make(chan error, 1)
		go func() { closed <- c.Close(context.Background()) }()
		redistest.Eventually(t, 10*time.Second, "refusal", func() bool {
			_, err := c.InvalidateAsync(t.Context())
			return errors.Is(err, readthrough.ErrClosed)
		})
		select {
		case err := <-closed:
			t.Errorf("Close returned during a load: %v", err)
		default:
		}
		g.release()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		wg.Wait()
		if b.client != nil {
			for _, key := range []string{"a", "b", "c"} {
				if b.client.Exists(t.Context(), prefix+"d:"+key).Val() != 1 {
					t.Errorf("the fill of %s was not drained", key)
				}
			}
			if b.client.HLen(t.Context(), prefix+"a").Val() != 2 { // the sentinel and its lease
				t.Errorf("registrations left: %v", b.client.HGetAll(t.Context(), prefix+"a").Val())
			}
		}
	})
}

func TestALaterCloseWaitsForTheFirstUntilItsContextEnds(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 1}), newGate(t)
		src.on = g.pass
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		var wg sync.WaitGroup
		wg.Go(func() { wantGet(t, c, "k", 1) })
		g.await(t)
		both := make(chan error, 2)
		go func() { both <- c.Close(context.Background()) }()
		redistest.Eventually(t, 10*time.Second, "refusal", func() bool {
			_, err := c.InvalidateAsync(t.Context())
			return errors.Is(err, readthrough.ErrClosed)
		})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Close(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%v while the first Close is under way", err)
		}
		go func() { both <- c.Close(context.Background()) }()
		g.release()
		for range 2 {
			if err := <-both; err != nil {
				t.Error(err)
			}
		}
		if err := c.Close(ended); err != nil {
			t.Errorf("%v after the end", err)
		}
		wg.Wait()
	})
}

func TestCloseGivesUpAtItsDeadline(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 1}), newGate(t)
		src.on = g.pass
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		got := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "k")
			got <- err
		}()
		g.await(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		g.release()
		if err := <-got; err != nil {
			t.Errorf("the caller from before got %v", err)
		}
	})
}

func TestCloseDeliversWhatIsPending(t *testing.T) {
	m, client := redistest.Mini(t)
	src := newSource(map[string]int{"k": 1})
	bound := 100 * time.Millisecond
	c := open(t, config{Name: "test", Redis: client, Loader: src, Bound: bound})
	other := open(t, config{Name: "test", Redis: client, Loader: src, Bound: bound})
	ready(t, c, other)
	wantGet(t, other, "k", 1)
	m.SetError("ERR no")
	src.put("k", 2)
	if r, err := c.InvalidateAsync(t.Context(), "k"); err != nil || r.Executed() {
		t.Fatalf("executed, %v", err)
	}
	m.SetError("")
	wantClose(t, c)
	redistest.Eventually(t, 10*time.Second, "new answer", func() bool {
		v, err := other.Get(t.Context(), "k")
		return v == 2 && err == nil
	})
}

func TestCloseSaysWhatItCouldNotDeliver(t *testing.T) {
	m, client := redistest.Mini(t)
	c := open(t, config{Name: "test", Redis: client, Loader: newSource(nil)})
	ready(t, c)
	m.SetError("ERR no")
	if _, err := c.InvalidateAsync(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Close(ctx); err == nil {
		t.Error("Close says nothing")
	}
}

func TestRefreshReplacesWhatIsThere(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		wantGet(t, c, "k", 1)
		stored(t, b, "k")
		src.put("k", 2) // nobody is told
		if err := c.Refresh(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		wantTier(t, c, "k", 2, readthrough.L1)
		if b.client != nil {
			redistest.Eventually(t, 10*time.Second, "fill of L2", func() bool {
				e, err := c.GetEntry(t.Context(), "k", readthrough.SkipL1())
				return err == nil && e.Value == 2 && e.Tier == readthrough.L2
			})
		}
		if err := c.Refresh(t.Context(), "absent"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("Refresh = %v", err)
		}
		src.fail(errBroken)
		if err := c.Refresh(t.Context(), "k"); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("Refresh = %v", err)
		}
		wantGet(t, c, "k", 2) // what was there stays
	})
}

// Nobody was told of a change, so the guard of the older load holds.
func TestALoadFromBeforeRefreshDoesNotReplaceWhatThatBrought(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		for _, versioned := range []bool{false, true} {
			src, held := newSource(map[string]int{"k": 1}), newGate(t)
			src.versioned = versioned
			src.on = func(ctx context.Context, key string) error {
				if src.loads.Load() == 1 {
					return held.pass(ctx, key)
				}
				return nil
			}
			c := open(t, patient(t, b.with(config{Name: fmt.Sprint("test.", versioned), Loader: src})))
			ready(t, c)
			slow := make(chan error, 1)
			go func() {
				_, err := c.Get(t.Context(), "k")
				slow <- err
			}()
			held.await(t)
			src.put("k", 2)
			if err := c.Refresh(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
			held.release()
			if err := <-slow; err != nil {
				t.Fatal(err)
			}
			if e, ok := c.Peek("k"); !ok || e.Value != 2 {
				t.Errorf("Peek = %+v, %v, want what the refresh brought", e, ok)
			}
		}
	})
}

// Another process is loading: what it brings may be older than this call.
func TestRefreshDoesNotTakeAnotherProcessesLoad(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 1}), newGate(t)
		x := open(t, b.with(config{Loader: src}))
		mine := newSource(map[string]int{"k": 2})
		y := open(t, b.with(config{Loader: mine}))
		ready(t, x, y)
		wantGet(t, x, "k", 1)
		stored(t, b, "k")
		src.on = g.pass
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := x.Refresh(t.Context(), "k"); err != nil {
				t.Error(err)
			}
		})
		g.await(t)
		if err := y.Refresh(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		wantTier(t, y, "k", 2, readthrough.L1)
		g.release()
		wg.Wait()
	})
}
