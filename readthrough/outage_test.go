package readthrough_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// answersFromTheAuthority makes every kind of read and checks that a Redis that does not work changes no answer: the
// authority's are there by the deadline, and a failure is never "absent".
func answersFromTheAuthority(t *testing.T, c *cache, src *source, round string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, b, none, broken := "a"+round, "b"+round, "none"+round, "broken"+round
	src.put(a, 1)
	src.put(b, 2)
	if v, err := c.Get(ctx, a); v != 1 || err != nil {
		t.Errorf("%s: Get = %d, %v", round, v, err)
	}
	if m, err := c.GetMany(ctx, []string{a, b, none}); len(m) != 2 || m[b] != 2 || err != nil {
		t.Errorf("%s: GetMany = %v, %v", round, m, err)
	}
	if _, err := c.Get(ctx, none); !errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("%s: Get of an absent record = %v", round, err)
	}
	if err := c.Refresh(ctx, b); err != nil {
		t.Errorf("%s: Refresh = %v", round, err)
	}
	src.fail(errBroken)
	defer src.fail(nil)
	if _, err := c.Get(ctx, broken); !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, errBroken) || errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("%s: Get without an authority = %v", round, err)
	}
	if m, err := c.GetMany(ctx, []string{broken}); len(m) != 0 || !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%s: GetMany without an authority = %v, %v", round, m, err)
	}
}

func TestARedisThatRefusesEverythingChangesNoAnswer(t *testing.T) {
	for _, refusal := range []string{
		"READONLY You can't write against a read only replica.", "LOADING Redis is loading the dataset in memory",
		"TRYAGAIN Multiple keys request during rehashing of slot", "OOM command not allowed when used memory > 'maxmemory'.",
		"NOAUTH Authentication required.", "NOPERM this user has no permissions", "CLUSTERDOWN The cluster is down",
		"BUSY Redis is busy running a script", "ERR unknown command", "MISCONF Redis is configured to save RDB snapshots",
	} {
		m, client := redistest.Mini(t)
		src := newSource(nil)
		c := open(t, config{Name: "test", Redis: client, Loader: batcher{src}, Bound: 200 * time.Millisecond, LoadTimeout: 10 * time.Second})
		ready(t, c)
		answersFromTheAuthority(t, c, src, "before")
		m.SetError(refusal)
		answersFromTheAuthority(t, c, src, refusal[:4])
		redistest.Eventually(t, 10*time.Second, "health", func() bool { return c.Health().State == invalidation.Down })
		answersFromTheAuthority(t, c, src, "known")
		m.SetError("")
		ready(t, c)
		answersFromTheAuthority(t, c, src, "after")
		wantTier(t, c, "aafter", 1, readthrough.L1)
	}
}

func TestARedisThatIsDownAtTheStartAndThereLater(t *testing.T) {
	server := redistest.Start(t)
	client := impatient(t, server.Addr())
	server.Kill()
	src := newSource(nil)
	c := open(t, config{Name: "test", Redis: client, Loader: batcher{src}, Bound: 400 * time.Millisecond, LoadTimeout: 10 * time.Second})
	answersFromTheAuthority(t, c, src, "down")
	if err := c.Ready(t.Context()); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("Ready = %v", err)
	}
	if h := c.Health(); h.State != invalidation.Down || h.Err == nil {
		t.Errorf("Health = %+v", h)
	}
	server.Restart()
	ready(t, c)
	answersFromTheAuthority(t, c, src, "up")
	server.Kill()
	answersFromTheAuthority(t, c, src, "down again")
	server.Restart()
	ready(t, c)
	answersFromTheAuthority(t, c, src, "up again")
	redistest.Eventually(t, 10*time.Second, "hits from L1", func() bool {
		e, err := c.GetEntry(t.Context(), "aup again")
		return err == nil && e.Tier == readthrough.L1
	})
}

func TestARedisThatHangsKeepsNobodyBeyondTheDeadline(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	src := newSource(map[string]int{"k": 1})
	cfg := config{Name: "test", Redis: impatient(t, proxy.Addr()), Loader: batcher{src}, Bound: 400 * time.Millisecond, LoadTimeout: 10 * time.Second}
	c := open(t, cfg)
	ready(t, c)
	proxy.Blackhole()
	fresh := open(t, cfg) // has never reached it
	for _, c := range []*cache{c, fresh} {
		for i := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Millisecond)
			began := time.Now()
			_, err := c.Get(ctx, fmt.Sprint("x", i))
			if !errors.Is(err, readthrough.ErrNotFound) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Get = %v", err)
			}
			if late := time.Since(began) - time.Duration(i)*10*time.Millisecond; late > 2*time.Second {
				t.Errorf("%s after the deadline", late)
			}
			cancel()
		}
		answersFromTheAuthority(t, c, src, "hung")
	}
	proxy.Restore()
	ready(t, c, fresh)
	answersFromTheAuthority(t, fresh, src, "restored")
}

func TestAnInvalidationThatCannotBeDeliveredIsPendingAndReadByItsOwnProcess(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	src := newSource(map[string]int{"k": 1})
	bound := 300 * time.Millisecond
	c := open(t, config{Name: "test", Redis: impatient(t, proxy.Addr()), Loader: batcher{src}, Bound: bound})
	other := open(t, config{Name: "test", Redis: server.Client(), Loader: src, Bound: bound})
	ready(t, c, other)
	wantGet(t, other, "k", 1) // c may be too impatient to fill
	stored(t, backend{client: server.Client()}, "k")
	wantGet(t, c, "k", 1)

	proxy.Blackhole()
	src.put("k", 2)
	receipt, err := c.InvalidateAsync(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Executed() || receipt.Err() == nil || receipt.Epoch() != "" {
		t.Errorf("executed %v, %v, epoch %q", receipt.Executed(), receipt.Err(), receipt.Epoch())
	}
	if n := c.Health().Pending; n != 1 {
		t.Errorf("%d pending", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err = receipt.Wait(ctx)
	e, ok := errors.AsType[*readthrough.NotInForceError](err)
	if !ok || !e.Committed || !e.Pending || !e.Until.IsZero() || e.Token == "" || e.Err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %#v", err)
	}
	wantGet(t, c, "k", 2)
	wantMany(t, c, []string{"k"}, map[string]int{"k": 2})
	wantGet(t, c, "k", 2, readthrough.SkipL1())
	wantGet(t, c, "k", 2, readthrough.AtLeast(receipt.Token()))

	proxy.Restore()
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := receipt.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	wantGet(t, other, "k", 2)
	wantGet(t, c, "k", 2)
	if !receipt.Executed() || receipt.Err() != nil || c.Health().Pending != 0 {
		t.Errorf("executed %v, %v, %d pending", receipt.Executed(), receipt.Err(), c.Health().Pending)
	}
}

// Redis answers reads again before the pending invalidation is delivered: what it holds is from before the change.
func TestWhileAnInvalidationIsPendingL2IsNotAskedForItsKeys(t *testing.T) {
	m, client := redistest.Mini(t)
	src := newSource(map[string]int{"k": 0, "other": 1})
	c := open(t, config{Name: "test", Redis: client, Loader: src, Bound: 10 * time.Second})
	ready(t, c)
	for i := range 20 {
		src.put("k", i)
		invalidateAsync(t, c, 0, "k")
		redistest.Eventually(t, 10*time.Second, "value in L2", func() bool {
			wantGet(t, c, "k", i, readthrough.SkipL1()) // a renewal may have met the error too, then L2 is not asked for a moment
			return client.Exists(t.Context(), prefix+"d:k").Val() == 1
		})
		src.put("k", i+100)
		m.SetError("ERR no")
		r, err := c.InvalidateAsync(t.Context(), "k")
		if err != nil || r.Executed() {
			t.Fatalf("executed, %v", err)
		}
		m.SetError("")
		wantGet(t, c, "k", i+100)
		wantGet(t, c, "k", i+100, readthrough.SkipL1())
		redistest.Eventually(t, 10*time.Second, "delivery", r.Executed)
		wantGet(t, c, "k", i+100, readthrough.SkipL1())
	}
}

func TestAWaitThatEndsEarlySaysWhoIsLateAndUntilWhen(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c := open(t, b.with(config{Loader: src, Bound: 10 * time.Second}))
		ready(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // before the epoch is B old nothing can be in force
		r, err := c.InvalidateAsync(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		err = r.Wait(ctx)
		e, ok := errors.AsType[*readthrough.NotInForceError](err)
		if !ok || !e.Committed || e.Pending || e.Token == "" || !errors.Is(err, context.Canceled) {
			t.Fatalf("Wait = %#v", err)
		}
		if left := time.Until(e.Until); left < 8*time.Second || left > 11*time.Second {
			t.Errorf("in force in %s, B is 10 s", left)
		}
	})
}

func TestInvalidateWithoutKeysDoesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		wantGet(t, c, "k", 1)
		if err := c.Invalidate(t.Context()); err != nil {
			t.Error(err)
		}
		r, err := c.InvalidateAsync(t.Context())
		if err != nil || !r.Executed() || r.Wait(t.Context()) != nil {
			t.Errorf("receipt %+v, %v", r, err)
		}
		wantTier(t, c, "k", 1, readthrough.L1)
	})
}

func TestInvalidateAllMakesEverythingNew(t *testing.T) {
	for _, partitions := range []int{1, 16} {
		on := onEach
		if partitions > 1 {
			on = onRedis
		}
		on(t, func(t *testing.T, b backend) {
			src := newSource(nil)
			var keys []string
			for i := range 50 {
				keys = append(keys, fmt.Sprint("k", i))
				src.put(keys[i], 1)
			}
			cfg := b.with(config{Loader: batcher{src}, Partitions: partitions, Bound: 500 * time.Millisecond})
			x, y := open(t, cfg), open(t, cfg)
			ready(t, x, y)
			for _, c := range []*cache{x, y} {
				if err := c.Warm(t.Context(), keys...); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range keys {
				src.put(key, 2)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := x.InvalidateAll(ctx); err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				wantGet(t, x, key, 2)
				wantGet(t, y, key, 2)
			}
		})
	}
}

// Sixteen partitions on one server: each key has its own lease, and everything else is the same.
func TestManyPartitionsAnswerLikeOne(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(nil)
		want := map[string]int{}
		var keys []string
		for i := range 64 { // miniredis is slow under the race detector
			keys = append(keys, fmt.Sprint("k", i))
			src.put(keys[i], 1)
			want[keys[i]] = 1
		}
		cfg := b.with(config{Loader: batcher{src}, Partitions: 16, Bound: 500 * time.Millisecond, LoadTimeout: 20 * time.Second})
		x, y := open(t, cfg), open(t, cfg)
		ready(t, x, y)
		wantMany(t, x, keys, want)
		wantMany(t, y, keys, want)
		if n := src.batches.Load(); n > 2 {
			t.Errorf("%d calls of LoadMany", n)
		}
		for _, key := range keys {
			src.put(key, 2)
			want[key] = 2
		}
		invalidate(t, x, keys...)
		wantMany(t, y, keys, want)
		wantMany(t, x, keys, want)
		for _, key := range keys {
			wantGet(t, y, key, 2)
			wantGet(t, y, key, 2, readthrough.SkipL1())
		}
		src.put("k7", 3)
		r, err := x.InvalidateAsync(t.Context(), "k7", "k8")
		if err != nil {
			t.Fatal(err)
		}
		wantGet(t, y, "k7", 3, readthrough.AtLeast(r.Token()))
		wantGet(t, y, "k9", 2, readthrough.AtLeast(r.Token()))
	})
}

func TestAReadThatALapsedLeaseKeepsFromL1IsAMiss(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		server, client := redistest.Mini(t)
		tel := newRecorder()
		c := open(t, config{
			Name: "test", Redis: client, Partitions: partitions, Bound: 50 * time.Millisecond, Telemetry: tel,
			Loader: newSource(map[string]int{"k": 1, "l": 2}),
		})
		ready(t, c)
		wantGet(t, c, "k", 1)
		server.Close()
		redistest.Eventually(t, 10*time.Second, "outage", func() bool {
			wantGet(t, c, "k", 1) // a cache that nobody reads does not ask Redis
			wantGet(t, c, "l", 2)
			_, k := c.Peek("k") // Health tells of the partition that is worst off, be it another one
			_, l := c.Peek("l")
			return c.Health().State == invalidation.Down && !k && !l
		})
		before := tel.snapshot()
		for range 10 {
			wantGet(t, c, "k", 1)
			wantGet(t, c, "l", 2)
			wantMany(t, c, []string{"k", "l"}, map[string]int{"k": 1, "l": 2})
		}
		after := tel.snapshot()
		if hits, misses := after.L1Hits-before.L1Hits, after.L1Misses-before.L1Misses; hits != 0 || misses != 40 {
			t.Errorf("%d partitions: %d hits and %d misses in 40 reads without a lease", partitions, hits, misses)
		}
	}
}

// An idle process gives its lease up; the next read gets another with one round trip, and what L1 holds is good again.
func TestALapsedLeaseIsRenewedByTheReadThatNeedsIt(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		onRedis(t, func(t *testing.T, b backend) {
			src := newSource(map[string]int{"k": 1, "l": 2})
			c := open(t, b.with(config{Loader: src, Bound: 50 * time.Millisecond, Partitions: partitions}))
			ready(t, c)
			wantGet(t, c, "k", 1)
			wantGet(t, c, "l", 2)
			redistest.Eventually(t, 10*time.Second, "silence", func() bool { return c.Health().Lease == 0 })
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { wantGet(t, c, "k", 1) })
				wg.Go(func() { wantMany(t, c, []string{"k", "l"}, map[string]int{"k": 1, "l": 2}) })
			}
			wg.Wait()
			wantLoads(t, src, 2)
		})
	}
}

// silentLog answers nobody while its context lasts.
type silentLog struct{}

func (silentLog) Changes(ctx context.Context, _ uint64, _ int) (invalidation.Page, error) {
	<-ctx.Done()
	return invalidation.Page{}, ctx.Err()
}

// Without Redis the poll of the log is the lease. A read asks for one, and the first poll of a long Bound lasts minutes.
func TestALogThatHangsLeavesReadsTimeToAskTheAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(map[string]int{"k": 1})
		src.versioned = true
		c := open(t, config{Name: "test", Loader: src, Log: silentLog{}, Bound: time.Hour, LoadTimeout: 4 * time.Second})
		wantGet(t, c, "k", 1)
		for range 3 {
			began := time.Now()
			wantGet(t, c, "k", 1) // by a caller without a deadline
			if took := time.Since(began); took > time.Second {
				t.Fatalf("a read took %s, and the authority answers at once", took)
			}
		}
	})
}

// Each partition of those that nobody has read for a while has to be asked for its lease, and Redis hangs: that takes as long as
// one of them does.
func TestTheLeasesOfManyPartitionsAreAskedForAtOnce(t *testing.T) {
	const partitions = 64
	server := redistest.Start(t)
	client, err := l2.NewClient(l2.ClientConfig{Addrs: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	src := newSource(nil)
	var keys []string
	want := map[string]int{}
	for i := range 4 * partitions {
		keys = append(keys, fmt.Sprint("k", i))
		src.put(keys[i], i)
		want[keys[i]] = i
	}
	for name, read := range map[string]func(ctx context.Context, c *cache){
		"GetMany": func(ctx context.Context, c *cache) {
			if got, err := c.GetMany(ctx, keys); err != nil || !maps.Equal(got, want) {
				t.Errorf("%d records of %d, %v", len(got), len(want), err)
			}
		},
		"Ready": func(ctx context.Context, c *cache) {
			if err := c.Ready(ctx); !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, ctx.Err()) && ctx.Err() != nil {
				t.Errorf("Ready = %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, config{Name: name, Redis: client, Loader: batcher{src}, Partitions: partitions, Bound: 100 * time.Millisecond})
			ready(t, c)
			wantMany(t, c, keys, want)
			redistest.Eventually(t, 20*time.Second, "silence", func() bool {
				for i := range partitions {
					if server.Do("HLEN", fmt.Sprintf("lc:{%s.%d}:a", name, i)) != int64(2) { // of nobody but the state itself
						return false
					}
				}
				return true
			})
			server.Stop()
			defer server.Cont()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // one after the other it is 250 ms for each
			defer cancel()
			read(ctx, c)
		})
	}
}

func TestHeldIsWhatMemoryMayAnswerNowOrWithTheNextLease(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		c := open(t, b.with(config{Loader: newSource(map[string]int{"k": 1}), Bound: 50 * time.Millisecond}))
		ready(t, c)
		if e, ok := c.Held("k"); ok {
			t.Errorf("before a read: %+v", e)
		}
		wantGet(t, c, "k", 1)
		redistest.Eventually(t, 10*time.Second, "silence", func() bool { return c.Health().Lease == 0 })
		if e, ok := c.Held("k"); !ok || !e.Stale || e.Value != 1 {
			t.Errorf("without a lease: %+v, %v", e, ok)
		}
		invalidate(t, c, "k")
		if e, ok := c.Held("k"); ok {
			t.Errorf("invalidated: %+v", e)
		}
		redistest.Eventually(t, 10*time.Second, "a lease that lasts", func() bool {
			wantGet(t, c, "k", 1)
			e, ok := c.Held("k")
			return ok && !e.Stale
		})
	})
}

func TestALoaderThatSaysUnavailableIsNotSaidToBeTwice(t *testing.T) {
	cause := errors.New("the cable")
	c := open(t, config{Name: "test", Loader: readthrough.LoaderFunc[string, int](func(context.Context, string) (int, error) {
		return 0, fmt.Errorf("%w: %w", readthrough.ErrUnavailable, cause)
	})})
	_, one := c.Get(t.Context(), "k")
	_, many := c.GetMany(t.Context(), []string{"k", "l"})
	for what, err := range map[string]error{"Get": one, "GetMany": many} {
		if !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, cause) ||
			strings.Count(err.Error(), "unavailable") != 1 && what == "Get" || strings.Contains(err.Error(), "unavailable: layercache: unavailable") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
