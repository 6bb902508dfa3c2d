package readthrough_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

func TestTenThousandGetsOfAColdKeyLoadOnce(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 7}), newGate(t)
		src.on = g.pass
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		const callers = 10_000
		var called atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				called.Add(1)
				if v, err := c.Get(t.Context(), "k"); v != 7 || err != nil {
					t.Errorf("Get = %d, %v", v, err)
				}
			})
		}
		redistest.Eventually(t, 20*time.Second, "10,000 callers", func() bool { return called.Load() == callers })
		g.release()
		wg.Wait()
		wantLoads(t, src, 1)
	})
}

// Before the first contact with Redis there is no lease, under which alone a load under way may be joined.
func TestGetsBeforeTheFirstContactLoadOnce(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 7})
		c := open(t, b.with(config{Loader: src, LoadTimeout: 20 * time.Second, AwaitOther: 10 * time.Second}))
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { wantGet(t, c, "k", 7) })
		}
		wg.Wait()
		wantLoads(t, src, 1)
	})
}

func TestTwoCachesAtOnceLoadAColdKeyOnceInAll(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 7})
		cfg := b.with(config{Loader: src, LoadTimeout: 20 * time.Second, AwaitOther: 10 * time.Second})
		x, y := open(t, cfg), open(t, cfg)
		ready(t, x, y)
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() { wantGet(t, x, "k", 7) })
			wg.Go(func() { wantGet(t, y, "k", 7) })
		}
		wg.Wait()
		wantLoads(t, src, 1)
	})
}

// misbehaviours of a loader, and what its callers receive.
var misbehaviours = map[string]struct {
	load func(ctx context.Context) error
	want func(err error) bool
}{
	"fails":  {func(context.Context) error { return errBroken }, func(err error) bool { return errors.Is(err, errBroken) }},
	"panics": {func(context.Context) error { panic("broken") }, isPanic("broken")},
	"panics with ErrNotFound": {
		func(context.Context) error { panic(readthrough.ErrNotFound) }, isPanic(readthrough.ErrNotFound),
	},
	"calls Goexit": {func(context.Context) error { runtime.Goexit(); return nil }, isPanic(nil)},
	"hangs, heeding its context": {
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, func(error) bool { return true },
	},
}

func isPanic(value any) func(error) bool {
	return func(err error) bool {
		p, ok := errors.AsType[*readthrough.PanicError](err)
		return ok && p.Value == value
	}
}

func TestALoaderThatMisbehavesHarmsNobodyElse(t *testing.T) {
	for name, m := range misbehaviours {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, b backend) {
				src := newSource(map[string]int{"k": 7})
				var good atomic.Bool
				src.on = func(ctx context.Context, _ string) error {
					if good.Load() {
						return nil
					}
					return m.load(ctx)
				}
				cfg := b.with(config{Loader: src, LoadTimeout: 250 * time.Millisecond, MaxLoads: 1})
				c, other := open(t, cfg), open(t, cfg)
				ready(t, c, other)
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						_, err := c.Get(t.Context(), "k")
						if !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) {
							t.Errorf("Get = %v, want ErrUnavailable and nothing else", err)
						}
					})
				}
				wg.Wait()
				if _, err := c.Get(t.Context(), "k"); !m.want(err) {
					t.Errorf("Get = %v", err)
				}
				if b.client != nil {
					redistest.Eventually(t, 5*time.Second, "fill lease given back", func() bool {
						return b.client.Exists(t.Context(), prefix+"l:k").Val() == 0
					})
				}
				good.Store(true)
				wantGet(t, c, "k", 7) // neither the key nor the one slot is held
				wantGet(t, other, "k", 7)
			})
		})
	}
}

// A loader that never comes back holds its goroutine, and nothing else.
func TestALoaderThatHangsForEverHoldsNeitherKeyNorSlot(t *testing.T) {
	src := newSource(map[string]int{"k": 7, "other": 8})
	hung := make(chan struct{})
	t.Cleanup(func() { close(hung) })
	var good atomic.Bool
	src.on = func(context.Context, string) error {
		if !good.Load() {
			<-hung
		}
		return nil
	}
	c := open(t, config{Name: "test", Loader: src, LoadTimeout: 50 * time.Millisecond, MaxLoads: 1})
	wantErr(t, c, "k", readthrough.ErrUnavailable)
	good.Store(true)
	wantGet(t, c, "k", 7)
	wantGet(t, c, "other", 8)
}

func TestACallerLeavesAtItsDeadlineAndTheLoadGoesOn(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 7}), newGate(t)
		src.on = g.pass
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		first, giveUp := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := c.Get(first, "k")
			gone <- err
		}()
		g.await(t)
		second := make(chan error, 1)
		go func() {
			v, err := c.Get(t.Context(), "k")
			if v != 7 {
				err = errors.Join(err, errors.New("not 7"))
			}
			second <- err
		}()
		giveUp()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that gave up got %v", err)
		}
		g.release()
		if err := <-second; err != nil {
			t.Errorf("the caller that stayed got %v", err)
		}
		wantLoads(t, src, 1)
	})
}

func TestALoadKeepsItsCallersValuesAndNotItsDeadline(t *testing.T) {
	type key struct{}
	c := open(t, readthrough.Config[string, string]{
		Name: "test", Loader: readthrough.LoaderFunc[string, string](func(ctx context.Context, _ string) (string, error) {
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > 5*time.Second {
				t.Errorf("deadline %v, %v", d, ok)
			}
			v, _ := ctx.Value(key{}).(string)
			return v, nil
		}),
	})
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "kept"), time.Hour)
	defer cancel()
	if v, err := c.Get(ctx, "k"); v != "kept" || err != nil {
		t.Errorf("Get = %q, %v", v, err)
	}
}

// The heart of it: a read that has begun before a change must not be seen after it, by whatever way.
func TestNothingReadBeforeAnInvalidationIsSeenAfterIt(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 1}), newGate(t)
		var held atomic.Bool
		held.Store(true)
		src.on = func(ctx context.Context, key string) error {
			if held.Swap(false) {
				return g.pass(ctx, key)
			}
			return nil
		}
		cfg := b.with(config{Loader: src, Bound: 200 * time.Millisecond, LoadTimeout: 20 * time.Second})
		c, other := open(t, cfg), open(t, cfg)
		ready(t, c, other)
		old := make(chan int, 1)
		go func() {
			v, _ := c.Get(t.Context(), "k")
			old <- v
		}()
		g.await(t) // it has read 1
		src.put("k", 2)
		invalidate(t, other, "k")
		wantGet(t, c, "k", 2) // does not join
		g.release()
		if v := <-old; v != 1 {
			t.Errorf("the caller from before got %d, its load had read 1", v)
		}
		wantGet(t, c, "k", 2)                           // L1 was not overwritten
		wantGet(t, other, "k", 2, readthrough.SkipL1()) // nor L2
		wantGet(t, c, "k", 2, readthrough.SkipL1())
	})
}

// Without a second load in between: the value that comes late must not be kept anywhere.
func TestAValueThatComesAfterAnInvalidationIsKeptNowhere(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 1}), newGate(t)
		src.on = g.pass
		tel := newRecorder()
		cfg := b.with(config{Loader: src, Bound: 10 * time.Second, Telemetry: tel})
		c := open(t, cfg)
		ready(t, c)
		old := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "k")
			old <- err
		}()
		g.await(t)
		src.put("k", 2)
		invalidateAsync(t, c, 0, "k")
		g.release()
		if err := <-old; err != nil {
			t.Fatal(err)
		}
		if e, ok := c.Peek("k"); ok {
			t.Errorf("L1 kept %d", e.Value)
		}
		if b.client != nil {
			redistest.Eventually(t, 5*time.Second, "refused fill", func() bool { return tel.fills() == 1 })
			if n := b.client.Exists(t.Context(), prefix+"d:k").Val(); n != 0 {
				t.Error("L2 kept the old value")
			}
		}
		wantGet(t, c, "k", 2)
	})
}

// The followers of a failed load share its failure; the next caller begins a load of its own.
// Who joins a load may miss what was changed between its reading and the call.
func TestTheBoundOfAnAnswerCountsFromWhenItsLoadMayHaveRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newSource(map[string]int{"k": 1}), newGate(t)
		src.on = g.pass
		c := open(t, config{Name: "test", Loader: src, Bound: 10 * time.Second})
		ready(t, c)
		var wg sync.WaitGroup
		read := func(want time.Duration, opts ...readthrough.Option) {
			wg.Go(func() {
				e, err := c.GetEntry(t.Context(), "k", opts...)
				if err != nil || e.Tier != readthrough.L3 || e.Bound != want {
					t.Errorf("GetEntry = %+v, %v, want a bound of %s", e, err, want)
				}
			})
			synctest.Wait()
		}
		read(0)
		read(10 * time.Second)
		read(0, readthrough.Linearizable())
		read(0, readthrough.Linearizable()) // held back, and joined by the next one before it begins
		read(0, readthrough.Linearizable())
		g.release()
		wg.Wait()
		wantLoads(t, src, 3)
	})
}

func TestFollowersOfAFailedLoadShareItsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newSource(map[string]int{"k": 7}), newGate(t)
		src.on = func(ctx context.Context, key string) error { return errors.Join(g.pass(ctx, key), errBroken) }
		c := open(t, config{Name: "test", Loader: src})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { wantErr(t, c, "k", errBroken) })
		}
		synctest.Wait()
		g.release()
		wg.Wait()
		wantLoads(t, src, 1)
		wantErr(t, c, "k", errBroken)
		wantLoads(t, src, 2)
	})
}

// What was read under one key is kept although another key was invalidated meanwhile.
func TestAnInvalidationRefusesNoOtherKeysFill(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 7, "other": 8}), newGate(t)
		src.on = func(ctx context.Context, key string) error {
			if key != "k" {
				return nil
			}
			return g.pass(ctx, key)
		}
		tel := newRecorder()
		c := open(t, patient(t, b.with(config{Loader: src, LoadTimeout: 20 * time.Second, Bound: 5 * time.Second, Telemetry: tel})))
		ready(t, c)
		invalidate(t, c, "other") // its message may precede the subscription, and L1 is flushed for it
		if b.client != nil {
			redistest.Eventually(t, 10*time.Second, "the invalidation is applied", func() bool {
				return tel.count(telemetry.InvalidationReceived)+tel.count(telemetry.BusGap) > 0
			})
		}
		got := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "k")
			got <- err
		}()
		g.await(t)
		for range 10 {
			invalidate(t, c, "other")
		}
		g.release()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		wantTier(t, c, "k", 7, readthrough.L1)
		if b.client != nil {
			redistest.Eventually(t, 10*time.Second, "stored fill", func() bool { return tel.count(telemetry.FillStored) == 1 })
		}
	})
}

// What is joined is no older than what L1 may answer.
func TestALoadIsNotJoinedForLongerThanMaxTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newSource(map[string]int{"k": 7}), newGate(t)
		src.on = g.pass
		c := open(t, config{Name: "test", Loader: src, Bound: time.Hour, MaxTTL: time.Second})
		var wg sync.WaitGroup
		for _, loads := range []int64{1, 1, 2} {
			wg.Go(func() { wantGet(t, c, "k", 7) })
			synctest.Wait()
			wantLoads(t, src, loads)
			<-time.After(500 * time.Millisecond)
		}
		g.release()
		wg.Wait()
	})
}

func TestAnOldFlightIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newSource(map[string]int{"k": 7}), newGate(t)
		src.on = g.pass
		c := open(t, config{Name: "test", Loader: src, Bound: time.Second})
		get := func() { wantGet(t, c, "k", 7) }
		var wg sync.WaitGroup
		wg.Go(get)
		synctest.Wait()
		<-time.After(499 * time.Millisecond)
		wg.Go(get)
		synctest.Wait()
		wantLoads(t, src, 1)
		<-time.After(time.Millisecond)
		wg.Go(get)
		synctest.Wait()
		wantLoads(t, src, 2)
		wg.Go(get) // joins the new one
		synctest.Wait()
		wantLoads(t, src, 2)
		g.release()
		wg.Wait()
	})
}

// Without a lease a flight may not be joined once it has begun; callers then gather behind it, so that a hot key costs two
// loads at a time and not one per caller.
func TestWithoutALeaseCallersGatherBehindTwoLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newSource(map[string]int{"k": 7}), newGate(t)
		src.on = func(ctx context.Context, key string) error {
			if key != "k" {
				return nil
			}
			return g.pass(ctx, key)
		}
		log := &memoryLog{}
		log.fail(errBroken)
		src.put("other", 8)
		c := open(t, config{Name: "test", Loader: batcher{src}, Log: log, Bound: time.Second})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { wantGet(t, c, "k", 7) })
			synctest.Wait()
		}
		wantLoads(t, src, 1)
		<-time.After(11 * time.Millisecond)
		synctest.Wait()
		wantLoads(t, src, 2)
		for range 100 {
			wg.Go(func() { wantGet(t, c, "k", 7) })
			synctest.Wait()
		}
		<-time.After(time.Second)
		wantLoads(t, src, 2)
		// A batch does not make its other keys wait for this one.
		wg.Go(func() { wantMany(t, c, []string{"other", "k"}, map[string]int{"other": 8, "k": 7}) })
		<-time.After(time.Second)
		if src.loads.Load() != 3 {
			t.Errorf("%d loads: the other key waits", src.loads.Load())
		}
		g.release()
		wg.Wait()
	})
}

func TestLinearizableReadersGatherBehindTwoLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newSource(map[string]int{"k": 7}), newGate(t)
		src.on = g.pass
		c := open(t, config{Name: "test", Loader: src})
		var wg sync.WaitGroup
		for range 3 {
			for range 100 {
				wg.Go(func() {
					if v, err := c.Get(t.Context(), "k", readthrough.Linearizable()); v != 7 || err != nil {
						t.Error(v, err)
					}
				})
				synctest.Wait()
			}
			<-time.After(time.Second)
		}
		wantLoads(t, src, 2)
		g.release()
		wg.Wait()
		wantLoads(t, src, 3) // those who gathered, together
	})
}

// A flight that was left behind by an invalidation takes only itself away when it ends.
func TestAFlightThatEndsLeavesTheNextOneJoinable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newGate(t), newGate(t)
		src := newSource(map[string]int{"k": 1})
		src.on = func(ctx context.Context, key string) error {
			if src.loads.Load() == 1 {
				return first.pass(ctx, key)
			}
			return second.pass(ctx, key)
		}
		c := open(t, config{Name: "test", Loader: src})
		var wg sync.WaitGroup
		wg.Go(func() { wantGet(t, c, "k", 1) })
		synctest.Wait()
		src.put("k", 2)
		invalidateAsync(t, c, 0, "k")
		wg.Go(func() { wantGet(t, c, "k", 2) })
		synctest.Wait()
		first.release()
		synctest.Wait()
		wg.Go(func() { wantGet(t, c, "k", 2) })
		synctest.Wait()
		wantLoads(t, src, 2)
		second.release()
		wg.Wait()
	})
}

// What another process's load takes is waited for by the clock: the questions whether it has ended count, however slow Redis is.
func TestASlowRedisMakesNobodyWaitLongerForAnotherProcessesLoad(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	src, g, tel := newSource(map[string]int{"k": 1}), newGate(t), newRecorder()
	src.on = g.pass
	x := open(t, config{Name: "test", Redis: server.Client(), Loader: src, LoadTimeout: 20 * time.Second})
	y := open(t, config{
		Name: "test", Redis: proxy.Client(), Loader: newSource(map[string]int{"k": 1}), LoadTimeout: 20 * time.Second, Telemetry: tel,
	})
	ready(t, x, y)
	var loading sync.WaitGroup
	loading.Go(func() { wantGet(t, x, "k", 1) })
	g.await(t)
	proxy.Delay(60 * time.Millisecond) // 120 ms for an answer: AwaitOther, half a second, is over after five
	wantGet(t, y, "k", 1)
	tel.mu.Lock()
	asked := tel.ops[telemetry.OpL2Get]
	tel.mu.Unlock()
	if asked < 2 || asked > 8 {
		t.Errorf("asked %d times", asked)
	}
	g.release()
	loading.Wait()
}
