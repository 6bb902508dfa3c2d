package readthrough_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

func wantMany(t *testing.T, c *cache, keys []string, want map[string]int) {
	t.Helper()
	got, err := c.GetMany(t.Context(), keys)
	if err != nil || !maps.Equal(got, want) {
		t.Fatalf("GetMany = %v, %v, want %v", got, err, want)
	}
}

func TestGetManyAnswersEachKeyOnceAndLeavesOutTheAbsent(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"a": 1, "b": 2, "c": 3})
		c := open(t, b.with(config{Loader: batcher{src}}))
		ready(t, c)
		wantGet(t, c, "a", 1)
		want := map[string]int{"a": 1, "b": 2, "c": 3}
		for range 3 {
			wantMany(t, c, []string{"b", "a", "b", "absent", "c", "c", "absent", "b"}, want)
		}
		if n := src.batches.Load(); n != 1 {
			t.Errorf("%d calls of LoadMany, the absence is cached too", n)
		}
		wantMany(t, c, nil, map[string]int{})
	})
}

func TestGetManyWithAPlainLoaderLoadsEachKey(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"a": 1, "b": 2})
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		wantMany(t, c, []string{"a", "b", "absent"}, map[string]int{"a": 1, "b": 2})
		wantLoads(t, src, 3)
	})
}

func TestGetManyOfMoreThanABatchTakesSeveral(t *testing.T) {
	src := newSource(nil)
	keys, want := make([]string, 2500), map[string]int{}
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
		src.put(keys[i], i)
		want[keys[i]] = i
	}
	c := open(t, config{Name: "test", Loader: batcher{src}})
	wantMany(t, c, keys, want)
	if n := src.batches.Load(); n != 3 {
		t.Errorf("%d calls of LoadMany, want 3", n)
	}
}

func TestGetManyAnswersWhatCanBeHad(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		c := open(t, b.with(config{Loader: loaderFunc(func(key string) (loaded, error) {
			if strings.HasPrefix(key, "bad") {
				return loaded{}, errBroken
			}
			return loaded{Value: len(key)}, nil
		})}))
		ready(t, c)
		keys := []string{"a", "bb", "", strings.Repeat("x", 1025)}
		for i := range 100 {
			keys = append(keys, fmt.Sprint("bad", i))
		}
		got, err := c.GetMany(t.Context(), keys)
		if !maps.Equal(got, map[string]int{"a": 1, "bb": 2}) {
			t.Errorf("GetMany = %v", got)
		}
		for _, want := range []error{errBroken, readthrough.ErrUnavailable, readthrough.ErrInvalidKey} {
			if !errors.Is(err, want) {
				t.Errorf("%v is not %v", err, want)
			}
		}
		if n := strings.Count(err.Error(), errBroken.Error()); n != 1 {
			t.Errorf("the cause is named %d times", n)
		}
		if errors.Is(err, readthrough.ErrNotFound) {
			t.Error("a failure is answered as absent")
		}
	})
}

func TestGetManyJoinsLoadsUnderWay(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"a": 1, "b": 2}), newGate(t)
		src.on = func(ctx context.Context, key string) error {
			if key == "a" {
				return g.pass(ctx, key)
			}
			return nil
		}
		c := open(t, b.with(config{Loader: batcher{src}}))
		ready(t, c)
		var wg sync.WaitGroup
		wg.Go(func() { wantGet(t, c, "a", 1) })
		g.await(t)
		many := make(chan map[string]int, 1)
		wg.Go(func() {
			got, err := c.GetMany(t.Context(), []string{"a", "b"})
			if err != nil {
				t.Error(err)
			}
			many <- got
		})
		redistest.Eventually(t, 10*time.Second, "load of b", func() bool { _, ok := c.Peek("b"); return ok })
		g.release()
		if got := <-many; !maps.Equal(got, map[string]int{"a": 1, "b": 2}) {
			t.Errorf("GetMany = %v", got)
		}
		wg.Wait()
		wantLoads(t, src, 2)
	})
}

func TestAGetJoinsTheBatchThatLoadsItsKey(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"a": 1, "b": 2}), newGate(t)
		src.on = g.pass
		c := open(t, b.with(config{Loader: batcher{src}}))
		ready(t, c)
		var wg sync.WaitGroup
		wg.Go(func() { wantMany(t, c, []string{"a", "b"}, map[string]int{"a": 1, "b": 2}) })
		g.await(t)
		var called atomic.Int64
		for range 100 {
			wg.Go(func() {
				called.Add(1)
				wantGet(t, c, "b", 2)
			})
		}
		redistest.Eventually(t, 10*time.Second, "callers", func() bool { return called.Load() == 100 })
		g.release()
		wg.Wait()
		wantLoads(t, src, 0)
	})
}

// Keys that another process is loading are waited for; those that are free are loaded meanwhile.
func TestGetManyWaitsForAnotherProcessWhereItIsBusy(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"a": 1, "b": 2, "c": 3}), newGate(t)
		src.on = func(ctx context.Context, key string) error {
			if key == "a" {
				return g.pass(ctx, key)
			}
			return nil
		}
		x := open(t, b.with(config{Loader: src}))
		mine := newSource(map[string]int{"b": 2, "c": 3}) // without a
		y := open(t, b.with(config{Loader: batcher{mine}, LoadTimeout: 20 * time.Second, AwaitOther: 10 * time.Second}))
		ready(t, x, y)
		var wg sync.WaitGroup
		wg.Go(func() { wantGet(t, x, "a", 1) })
		g.await(t)
		wg.Go(func() { wantMany(t, y, []string{"a", "b", "c"}, map[string]int{"a": 1, "b": 2, "c": 3}) })
		redistest.Eventually(t, 10*time.Second, "load of b", func() bool { _, ok := y.Peek("b"); return ok })
		g.release()
		wg.Wait()
		if n := mine.batches.Load(); n != 1 {
			t.Errorf("%d calls of LoadMany", n)
		}
		wantLoads(t, mine, 0)
	})
}

func TestABatchLoaderThatMisbehavesHarmsNobodyElse(t *testing.T) {
	for name, m := range misbehaviours {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, b backend) {
				src := newSource(map[string]int{"a": 1, "b": 2})
				var good atomic.Bool
				src.on = func(ctx context.Context, _ string) error {
					if good.Load() {
						return nil
					}
					return m.load(ctx)
				}
				c := open(t, b.with(config{Loader: batcher{src}, LoadTimeout: 250 * time.Millisecond, MaxLoads: 1}))
				ready(t, c)
				got, err := c.GetMany(t.Context(), []string{"a", "b"})
				if len(got) != 0 || !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) || !m.want(err) {
					t.Errorf("GetMany = %v, %v", got, err)
				}
				good.Store(true)
				wantMany(t, c, []string{"a", "b"}, map[string]int{"a": 1, "b": 2})
			})
		})
	}
}

func TestABatchLoaderThatSaysNotFoundHasFoundNone(t *testing.T) {
	src := newSource(nil)
	src.on = func(context.Context, string) error { return readthrough.ErrNotFound }
	c := open(t, config{Name: "test", Loader: batcher{src}})
	wantMany(t, c, []string{"a", "b"}, map[string]int{})
	wantErr(t, c, "a", readthrough.ErrNotFound)
	wantLoads(t, src, 0)
}

func TestABatchBelowTheFenceIsAskedAgainKeyByKey(t *testing.T) {
	src := newSource(map[string]int{"a": 1, "b": 2})
	src.versioned = true
	c := open(t, config{Name: "test", Loader: batcher{src}, MaxLoads: 1})
	invalidateAsync(t, c, 5, "a")
	got, err := c.GetMany(t.Context(), []string{"a", "b"})
	if !maps.Equal(got, map[string]int{"b": 2}) || !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("GetMany = %v, %v", got, err)
	}
	wantLoads(t, src, 1)
	src.mu.Lock()
	src.version = 5
	src.mu.Unlock()
	wantMany(t, c, []string{"a", "b"}, map[string]int{"a": 1, "b": 2})
}

func TestGetManyEndsByItsDeadline(t *testing.T) {
	src, g := newSource(map[string]int{"a": 1, "b": 2, "c": 3}), newGate(t)
	c := open(t, config{Name: "test", Loader: batcher{src}})
	wantGet(t, c, "c", 3)
	src.on = g.pass
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	got, err := c.GetMany(ctx, []string{"a", "b", "c"})
	if !maps.Equal(got, map[string]int{"c": 3}) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("GetMany = %v, %v", got, err)
	}
}

func TestNothingABatchReadBeforeAnInvalidationIsSeenAfterIt(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"a": 1, "b": 1}), newGate(t)
		var held atomic.Bool
		held.Store(true)
		src.on = func(ctx context.Context, key string) error {
			if held.Swap(false) {
				return g.pass(ctx, key)
			}
			return nil
		}
		cfg := b.with(config{Loader: batcher{src}, LoadTimeout: 20 * time.Second})
		c, other := open(t, cfg), open(t, cfg)
		ready(t, c, other)
		old := make(chan map[string]int, 1)
		go func() {
			got, _ := c.GetMany(t.Context(), []string{"a", "b"})
			old <- got
		}()
		g.await(t)
		src.put("a", 2)
		invalidateAsync(t, c, 0, "a")
		wantMany(t, c, []string{"a"}, map[string]int{"a": 2})
		g.release()
		if got := <-old; !maps.Equal(got, map[string]int{"a": 1, "b": 1}) {
			t.Errorf("from before: %v", got)
		}
		wantGet(t, c, "a", 2)
		wantGet(t, other, "a", 2)
		wantGet(t, c, "a", 2, readthrough.SkipL1())
	})
}

func TestWarmLoadsWhatIsMissing(t *testing.T) {
	src := newSource(map[string]int{"a": 1, "b": 2})
	c := open(t, config{Name: "test", Loader: batcher{src}})
	if err := c.Warm(t.Context(), "a", "b", "absent"); err != nil {
		t.Fatal(err)
	}
	wantTier(t, c, "b", 2, readthrough.L1)
	wantErr(t, c, "absent", readthrough.ErrNotFound)
	wantLoads(t, src, 0)
	src.fail(errBroken)
	if err := c.Warm(t.Context(), "new"); !errors.Is(err, errBroken) {
		t.Errorf("Warm = %v", err)
	}
}

// Nothing in L2 can be read after a change of the schema: still one call of the loader, and not one for each key.
func TestGetManyOfWhatAnotherSchemaLeftIsOneLoad(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		records := map[string]int{}
		var keys []string
		for i := range 100 {
			key := fmt.Sprint("k", i)
			records[key], keys = i, append(keys, key)
		}
		src, tel := newSource(records), newRecorder()
		before := open(t, b.with(config{Loader: batcher{src}, Schema: 1, Telemetry: tel}))
		ready(t, before)
		if m, err := before.GetMany(t.Context(), keys); len(m) != len(keys) || err != nil {
			t.Fatal(len(m), err)
		}
		redistest.Eventually(t, 10*time.Second, "the fills are done", func() bool { return tel.count(telemetry.FillStored) == int64(len(keys)) })
		now := open(t, b.with(config{Loader: batcher{src}, Schema: 2}))
		ready(t, now)
		loads, batches := src.loads.Load(), src.batches.Load()
		if m, err := now.GetMany(t.Context(), keys); len(m) != len(keys) || err != nil {
			t.Fatal(len(m), err)
		}
		if l, n := src.loads.Load()-loads, src.batches.Load()-batches; l != 0 || n != 1 {
			t.Errorf("%d loads of one key and %d of many, want one of many", l, n)
		}
	})
}

// failing is a loader that tells of each key what became of it.
type failing map[string]error

func (f failing) Load(_ context.Context, key string) (loaded, error) { return loaded{Value: 1}, f[key] }

func (f failing) LoadMany(_ context.Context, keys []string) (batch, error) {
	answer := batch{Found: map[string]loaded{}, Failed: f}
	for _, key := range keys {
		if f[key] == nil {
			answer.Found[key] = loaded{Value: 1}
		}
	}
	return answer, nil
}

func TestWhatABatchSaysOfAKeyMeansWhatALoadOfItWouldMean(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		tel := newRecorder()
		c := open(t, b.with(config{Telemetry: tel, Loader: failing{
			"absent": readthrough.ErrNotFound, "no row": sql.ErrNoRows, "broken": errBroken, "nil": redis.Nil,
		}}))
		ready(t, c)
		m, err := c.GetMany(t.Context(), []string{"there", "absent", "no row", "broken", "nil"})
		if !maps.Equal(m, map[string]int{"there": 1}) || !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, errBroken) {
			t.Errorf("%v, %v", m, err)
		}
		if errors.Is(err, readthrough.ErrNotFound) || errors.Is(err, sql.ErrNoRows) || errors.Is(err, redis.Nil) {
			t.Errorf("a failure that can be read as an absence: %v", err)
		}
		if s := tel.snapshot(); s.LoadFound != 1 || s.LoadAbsent != 2 || s.LoadFailed != 2 {
			t.Errorf("%d found, %d absent, %d failed", s.LoadFound, s.LoadAbsent, s.LoadFailed)
		}
	})
}

func TestTheLeasesOfABatchThatFillsNothingAreGivenBackTogether(t *testing.T) {
	for name, part := range map[string]struct {
		loader func(src *source) readthrough.Loader[string, int]
		late   bool
	}{
		"the loader fails": {loader: func(src *source) readthrough.Loader[string, int] {
			src.fail(errBroken)
			return batcher{src}
		}},
		"each of them fails":     {loader: func(src *source) readthrough.Loader[string, int] { return eachFails{src} }},
		"none is to be cached":   {loader: func(src *source) readthrough.Loader[string, int] { return batcher{src} }},
		"the answer is too late": {loader: func(src *source) readthrough.Loader[string, int] { return batcher{src} }, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			server, o := redistest.Start(t), &observer{}
			client, probe := server.Client(), server.Client()
			client.AddHook(o)
			c := open(t, config{Name: "test", Redis: client, Loader: part.loader(newSource(nil)), NegativeTTL: -1, Bound: time.Hour})
			ready(t, c)
			leases := func() int {
				return len(probe.Keys(t.Context(), prefix+"l:*").Val())
			}
			_, _ = c.GetMany(t.Context(), []string{"a", "b"}) // Redis knows the scripts after this
			redistest.Eventually(t, 5*time.Second, "first leases given back", func() bool { return leases() == 0 })
			o.late.Store(part.late)
			keys := make([]string, 500)
			for i := range keys {
				keys[i] = fmt.Sprint("k", i)
			}
			before := o.releases.Load()
			_, _ = c.GetMany(t.Context(), keys)
			redistest.Eventually(t, 5*time.Second, "leases given back", func() bool {
				return o.releases.Load() > before && leases() == 0
			})
			if n := o.releases.Load() - before; n != 1 {
				t.Errorf("%d round trips give 500 leases back", n)
			}
		})
	}
}

// eachFails is an authority that fails for each record by itself.
type eachFails struct{ *source }

func (e eachFails) LoadMany(_ context.Context, keys []string) (batch, error) {
	answer := batch{Failed: map[string]error{}}
	for _, key := range keys {
		answer.Failed[key] = errBroken
	}
	return answer, nil
}
