package readthrough_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
)

func TestAtMostMaxLoadsRunAtOnce(t *testing.T) {
	src := newSource(nil)
	var running, most atomic.Int64
	src.on = func(context.Context, string) error {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			runtime.Gosched()
		}
		runtime.Gosched()
		return nil
	}
	c := open(t, config{Name: "test", Loader: src, MaxLoads: 3})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() { wantErr(t, c, string(rune('a'+i)), readthrough.ErrNotFound) })
	}
	wg.Wait()
	if n := most.Load(); n > 3 {
		t.Errorf("%d loads at once, Config.MaxLoads is 3", n)
	}
}

// Loads that hang take a quarter of MaxLoads at most for one key, by whatever way it is read.
func TestAHotKeyWhoseLoadsHangLeavesSlotsForOthers(t *testing.T) {
	for name, read := range map[string]func(ctx context.Context, c *cache, token readthrough.Token){
		"invalidated again and again": func(ctx context.Context, c *cache, _ readthrough.Token) { _, _ = c.Get(ctx, "k") },
		"asked for with many tokens": func(ctx context.Context, c *cache, token readthrough.Token) {
			_, _ = c.Get(ctx, "k", readthrough.AtLeast(token))
		},
		"refreshed": func(ctx context.Context, c *cache, _ readthrough.Token) { _ = c.Refresh(ctx, "k") },
		"in batches": func(ctx context.Context, c *cache, token readthrough.Token) {
			_, _ = c.GetMany(ctx, []string{"k", "l"}, readthrough.AtLeast(token))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, g := newSource(map[string]int{"k": 7, "l": 8, "other": 9}), newGate(t)
				var asked atomic.Int64
				src.on = func(ctx context.Context, key string) error {
					if key == "other" {
						return nil
					}
					asked.Add(1)
					return g.pass(ctx, key)
				}
				c := open(t, config{Name: "test", Loader: batcher{src}, MaxLoads: 16, LoadTimeout: 10 * time.Minute, Bound: time.Hour})
				ready(t, c)
				var wg sync.WaitGroup
				for range 100 {
					token := invalidateAsync(t, c, 0, "k").Token()
					wg.Go(func() { read(t.Context(), c, token) })
					synctest.Wait()
				}
				if n := asked.Load(); n < 2 || n > 8 { // two keys in batches
					t.Errorf("%d loads of the hot key run at once, of 16 of all", n)
				}
				done := make(chan struct{})
				wg.Go(func() {
					defer close(done)
					wantGet(t, c, "other", 9)
				})
				synctest.Wait()
				select {
				case <-done:
				default:
					t.Error("another key waits for the hot one")
				}
				g.release()
				wg.Wait()
				wantGet(t, c, "k", 7)
			})
		})
	}
}

// A fill keeps its load's slot, and so its key's share.
func TestFillsOfAHotKeyThatHangLeaveSlotsForOthers(t *testing.T) {
	b, g := mini(t), newGate(t)
	src := newSource(map[string]int{"k": 1, "other": 2})
	cfg := b.with(config{Loader: src, MaxLoads: 8, LoadTimeout: time.Second, Bound: time.Hour})
	cfg.Codec = codec{l2.JSON[int](), func() { _ = g.pass(context.Background(), "") }, nil}
	c := open(t, cfg)
	ready(t, c)
	var wg sync.WaitGroup
	for range cfg.MaxLoads {
		wg.Go(func() { _, _ = c.Get(t.Context(), "k") })
		select {
		case <-g.arrived: // it fills
		case <-time.After(100 * time.Millisecond): // it has its share already
		}
		invalidateAsync(t, c, 0, "k")
	}
	wantGet(t, c, "other", 2)
	g.release()
	wg.Wait()
}

// Of more batches at once than a key may have of the slots, those that wait stay batches.
func TestBatchesBeyondTheShareOfTheirKeysStayBatches(t *testing.T) {
	for name, part := range map[string]struct {
		maxLoads, keys, batches int
		tokens                  bool
	}{
		"plain":  {maxLoads: 64, keys: 1000, batches: 20},
		"tokens": {maxLoads: 8, keys: 200, batches: 4, tokens: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSource(nil)
				keys := make([]string, part.keys)
				for i := range keys {
					keys[i] = fmt.Sprint("k", i)
					src.put(keys[i], i)
				}
				const takes = 100 * time.Millisecond
				src.on = func(context.Context, string) error { <-time.After(takes); return nil }
				c := open(t, config{Name: "test", Loader: batcher{src}, MaxLoads: part.maxLoads, Bound: time.Hour})
				ready(t, c)
				var wg sync.WaitGroup
				began := time.Now()
				for range part.batches {
					r, err := c.InvalidateAllAsync(t.Context(), 0)
					if err != nil {
						t.Fatal(err)
					}
					var opts []readthrough.Option
					if part.tokens {
						opts = append(opts, readthrough.AtLeast(r.Token()))
					}
					wg.Go(func() {
						m, err := c.GetMany(t.Context(), keys, opts...)
						if err != nil || len(m) != len(keys) {
							t.Errorf("%d of %d keys: %v", len(m), len(keys), err)
						}
					})
					synctest.Wait()
				}
				wg.Wait()
				if n, took := src.loads.Load(), time.Since(began); n > 0 || took > 3*takes {
					t.Errorf("%s, with %d batches and %d single loads", took, src.batches.Load(), n)
				}
			})
		})
	}
}
