package readthrough_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// staleStory is a cache whose authority and log are out, with k in L1, good for 10 s or under a lease of 1 s.
func staleStory(t *testing.T, mode readthrough.Mode, logOut bool, story func(t *testing.T, c *cache, src *source, log *memoryLog)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		src, log := newSource(map[string]int{"k": 1, "good": 2}), &memoryLog{}
		c := open(t, config{
			Name: "test", Loader: src, Log: log, Bound: time.Second, TTL: 10 * time.Second, Jitter: -1, Mode: mode,
		})
		ready(t, c)
		wantGet(t, c, "k", 1)
		src.fail(errBroken)
		if logOut {
			log.fail(errBroken)
		}
		story(t, c, src, log)
	})
}

func wantStale(t *testing.T, c *cache, opts ...readthrough.Option) {
	t.Helper()
	e, err := c.GetEntry(t.Context(), "k", opts...)
	if err != nil || e.Value != 1 || !e.Stale || e.Tier != readthrough.L1 {
		t.Fatalf("GetEntry = %+v, %v, want a stale 1", e, err)
	}
	if m, err := c.GetMany(t.Context(), []string{"k"}, opts...); err != nil || m["k"] != 1 {
		t.Fatalf("GetMany = %v, %v", m, err)
	}
}

func TestFailClosedNeverServesPastTheEndOrTheLease(t *testing.T) {
	staleStory(t, readthrough.FailClosed, false, func(t *testing.T, c *cache, _ *source, _ *memoryLog) {
		<-time.After(10*time.Second - 1)
		wantGet(t, c, "k", 1)
		<-time.After(1)
		wantErr(t, c, "k", readthrough.ErrUnavailable)
	})
	staleStory(t, readthrough.FailClosed, true, func(t *testing.T, c *cache, _ *source, _ *memoryLog) {
		<-time.After(1100 * time.Millisecond)
		wantErr(t, c, "k", readthrough.ErrUnavailable)
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.MaxStale(time.Hour)) // never widens
	})
}

func TestServeStaleServesAnEntryPastItsEndForAsLongAsItSays(t *testing.T) {
	staleStory(t, readthrough.ServeStale(time.Minute), false, func(t *testing.T, c *cache, src *source, _ *memoryLog) {
		<-time.After(10 * time.Second)
		wantStale(t, c)
		wantStale(t, c, readthrough.MaxStale(time.Hour)) // never widens, see the end
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.MaxStale(0))
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.Linearizable())
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.SkipL1())
		wantErr(t, c, "never read", readthrough.ErrUnavailable)
		<-time.After(30 * time.Second)
		wantStale(t, c, readthrough.MaxStale(30*time.Second))
		<-time.After(1)
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.MaxStale(30*time.Second))
		<-time.After(30*time.Second - 1)
		wantStale(t, c)
		<-time.After(1)
		wantErr(t, c, "k", readthrough.ErrUnavailable)
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.MaxStale(time.Hour))
		src.fail(nil)
		wantTier(t, c, "k", 1, readthrough.L3)
	})
}

func TestServeStaleServesAnEntryPastItsLease(t *testing.T) {
	staleStory(t, readthrough.ServeStale(5*time.Second), true, func(t *testing.T, c *cache, _ *source, log *memoryLog) {
		<-time.After(1100 * time.Millisecond)
		wantStale(t, c)
		<-time.After(5 * time.Second)
		wantErr(t, c, "k", readthrough.ErrUnavailable)
		log.fail(nil)
		<-time.After(time.Second)              // polled again
		wantTier(t, c, "k", 1, readthrough.L1) // the lease is back
	})
}

func TestAnInvalidatedEntryIsNeverServedStale(t *testing.T) {
	staleStory(t, readthrough.ServeStale(time.Hour), true, func(t *testing.T, c *cache, _ *source, _ *memoryLog) {
		<-time.After(11 * time.Second)
		wantStale(t, c)
		if _, err := c.InvalidateAsync(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, c, "k", readthrough.ErrUnavailable)
		if m, err := c.GetMany(t.Context(), []string{"k"}); len(m) != 0 || !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("GetMany = %v, %v", m, err)
		}
	})
}

// That there was none when the authority was last asked says nothing of whether there is one: an outage is not "none".
func TestServeStaleNeverAnswersThatThereIsNone(t *testing.T) {
	for _, logOut := range []bool{false, true} {
		staleStory(t, readthrough.ServeStale(time.Hour), logOut, func(t *testing.T, c *cache, src *source, log *memoryLog) {
			src.fail(nil)
			log.fail(nil)
			<-time.After(time.Second) // polled again
			wantErr(t, c, "none", readthrough.ErrNotFound)
			src.fail(errBroken)
			if logOut {
				log.fail(errBroken)
			}
			<-time.After(11 * time.Second)
			wantStale(t, c)
			for range 2 { // the second time at once
				wantErr(t, c, "none", readthrough.ErrUnavailable)
				if m, err := c.GetMany(t.Context(), []string{"none"}); len(m) != 0 || !errors.Is(err, readthrough.ErrUnavailable) {
					t.Errorf("GetMany = %v, %v", m, err)
				}
			}
		})
	}
}

// Without Redis from the start there never was a lease; the entry was good when it was read.
func TestServeStaleServesWhatWasReadWithoutALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, log := newSource(map[string]int{"k": 1}), &memoryLog{}
		log.fail(errBroken)
		c := open(t, config{Name: "test", Loader: src, Log: log, Bound: time.Second, Mode: readthrough.ServeStale(5 * time.Second)})
		wantGet(t, c, "k", 1)
		src.fail(errBroken)
		<-time.After(5 * time.Second)
		wantStale(t, c)
		<-time.After(1)
		wantErr(t, c, "k", readthrough.ErrUnavailable)
	})
}

func TestWhileItServesStaleTheAuthorityIsAskedOnceASecond(t *testing.T) {
	staleStory(t, readthrough.ServeStale(time.Hour), false, func(t *testing.T, c *cache, src *source, _ *memoryLog) {
		<-time.After(10 * time.Second)
		src.loads.Store(0)
		for range 100 {
			wantStale(t, c)
		}
		wantLoads(t, src, 1)
		<-time.After(time.Second)
		wantStale(t, c)
		wantLoads(t, src, 2)
	})
}

// Callers commonly have less time than a load, which goes on.
func TestServeStaleAnswersCallersWhoseTimeEndsBeforeThatOfALoadThatHangs(t *testing.T) {
	staleStory(t, readthrough.ServeStale(time.Hour), false, func(t *testing.T, c *cache, src *source, _ *memoryLog) {
		<-time.After(10 * time.Second)
		src.fail(nil)
		g := newGate(t)
		src.on = g.pass
		within := func(d time.Duration, read func(ctx context.Context) error) (took time.Duration, err error) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			began := time.Now()
			err = read(ctx)
			return time.Since(began), err
		}
		entry := func(ctx context.Context) error {
			e, err := c.GetEntry(ctx, "k")
			if err == nil && !e.Stale {
				err = fmt.Errorf("%+v", e)
			}
			return err
		}
		many := func(ctx context.Context) error {
			m, err := c.GetMany(ctx, []string{"k", "never read"})
			if m["k"] == 1 {
				return nil
			}
			return err
		}
		if _, err := within(-1, entry); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("out of time from the beginning: %v", err) // and no reason to answer the next one stale at once
		}
		for _, read := range []func(context.Context) error{entry, many} {
			if took, err := within(50*time.Millisecond, read); err != nil || took != 50*time.Millisecond {
				t.Errorf("%v after %s, want a stale answer at the caller's deadline", err, took)
			}
			if took, err := within(50*time.Millisecond, entry); err != nil || took != 0 {
				t.Errorf("%v after %s, want a stale answer at once", err, took)
			}
			<-time.After(time.Second)
		}
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, leave)
		if err := entry(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that left got %v", err)
		}
		if _, err := within(time.Millisecond, func(ctx context.Context) error {
			_, err := c.Get(ctx, "k", readthrough.MaxStale(0))
			return err
		}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without stale answers: %v", err)
		}
		g.release()
		synctest.Wait()
		wantTier(t, c, "k", 1, readthrough.L1) // what the load has brought
	})
}

func TestServeStaleAnswersMoreThanABatchAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, keys := newSource(nil), make([]string, 1500)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
			src.put(keys[i], i)
		}
		c := open(t, config{
			Name: "test", Loader: batcher{src}, TTL: 10 * time.Second, Jitter: -1, Mode: readthrough.ServeStale(time.Hour),
		})
		if m, err := c.GetMany(t.Context(), keys); err != nil || len(m) != len(keys) {
			t.Fatal(len(m), err)
		}
		<-time.After(10 * time.Second)
		g := newGate(t)
		src.on = g.pass
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if m, err := c.GetMany(ctx, keys); err != nil || len(m) != len(keys) {
			t.Errorf("%d of %d stale entries: %v", len(m), len(keys), err)
		}
		g.release()
	})
}

// The lease is asked for first.
func TestServeStaleAnswersWhereTheTimeEndsBeforeALeaseHasCome(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	src := newSource(map[string]int{"k": 1, "l": 2})
	c := open(t, config{
		Name: "test", Redis: proxy.Client(), Loader: src, Bound: 500 * time.Millisecond, Mode: readthrough.ServeStale(time.Hour),
	})
	ready(t, c)
	wantGet(t, c, "k", 1)
	wantGet(t, c, "l", 2)
	redistest.Eventually(t, 10*time.Second, "a lease that nobody uses ends", func() bool {
		e, ok := c.Held("k")
		return ok && e.Stale
	})
	proxy.Blackhole()
	src.fail(errBroken)
	for name, read := range map[string]func(ctx context.Context) error{
		"Get":     func(ctx context.Context) error { _, err := c.Get(ctx, "k"); return err },
		"GetMany": func(ctx context.Context) error { _, err := c.GetMany(ctx, []string{"l"}); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := read(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	proxy.Restore()
}

func TestOneCallerASecondFindsOutWhetherALoadStillHangs(t *testing.T) {
	staleStory(t, readthrough.ServeStale(time.Hour), false, func(t *testing.T, c *cache, src *source, _ *memoryLog) {
		<-time.After(10 * time.Second)
		src.fail(nil)
		g := newGate(t)
		src.on = g.pass
		const patience, apart, callers = time.Second, 10 * time.Millisecond, 600
		var waited atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				began := time.Now()
				if _, err := c.Get(ctx, "k"); err != nil {
					t.Error(err)
				}
				if time.Since(began) > 0 {
					waited.Add(1)
				}
			})
			<-time.After(apart)
		}
		g.release()
		wg.Wait()
		// those that come before the first one's time is over, and then one a second
		if n, most := waited.Load(), int64(patience/apart)+int64(callers*apart/time.Second)+1; n > most {
			t.Errorf("%d of %d callers have waited, want at most %d", n, callers, most)
		}
	})
}

func TestWarmSaysWhatIsServedStaleOnly(t *testing.T) {
	staleStory(t, readthrough.ServeStale(time.Hour), false, func(t *testing.T, c *cache, _ *source, _ *memoryLog) {
		<-time.After(10 * time.Second)
		wantStale(t, c)
		if err := c.Warm(t.Context(), "k"); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("Warm = %v, want ErrUnavailable", err)
		}
	})
}

// One record that cannot be read says nothing of the others.
func TestAKeyWhoseLoadFailsMakesNoOtherKeyStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		c := open(t, config{
			Name: "test", TTL: time.Second, Jitter: -1, Mode: readthrough.ServeStale(time.Hour),
			Loader: loaderFunc(func(key string) (loaded, error) {
				if key == "bad" {
					return loaded{}, errBroken
				}
				loads++
				return loaded{Value: loads}, nil
			}),
		})
		wantGet(t, c, "k", 1)
		<-time.After(time.Second)
		wantErr(t, c, "bad", readthrough.ErrUnavailable)
		wantTier(t, c, "k", 2, readthrough.L3)
	})
}

// What is asked for is never older than its token, stale or not.
func TestServeStaleHeedsTokens(t *testing.T) {
	staleStory(t, readthrough.ServeStale(time.Hour), true, func(t *testing.T, c *cache, _ *source, _ *memoryLog) {
		<-time.After(11 * time.Second)
		r, err := c.InvalidateAsOf(t.Context(), 7, "another")
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.AtLeast(r.Token()))
	})
}

// The message of the invalidation is lost; L2's answer alone tells of it.
func TestServeStaleServesNothingBelowAFenceOfL2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := bubble(t)
		src := newSource(map[string]int{"k": 1})
		src.versioned = true
		c := open(t, config{
			Name: "test", Redis: client, Loader: src, TTL: time.Second, Jitter: -1, Mode: readthrough.ServeStale(time.Minute),
		})
		ready(t, c)
		fence := func(asOf uint64) { client.HSet(t.Context(), prefix+"l:k", "f", fmt.Sprintf("%020d", asOf)) }
		wantGet(t, c, "k", 1)
		<-time.After(time.Second)
		src.fail(errBroken)
		fence(src.version)
		wantStale(t, c)
		<-time.After(time.Second) // asked again
		fence(src.version + 1)
		wantErr(t, c, "k", readthrough.ErrUnavailable)
		src.fail(nil)
		wantErr(t, c, "k", readthrough.ErrUnavailable) // the authority answers below the fence
	})
}

// What is known to be otherwise does not come back because the new answer is not kept.
func TestServeStaleServesNothingOlderThanAnAnswerThatWasNotKept(t *testing.T) {
	for _, tc := range []struct {
		name string
		next func() (loaded, error)
		cfg  config
	}{
		{"an absence", func() (loaded, error) { return loaded{}, readthrough.ErrNotFound }, config{NegativeTTL: -1}},
		{"not to be cached", func() (loaded, error) { return loaded{Value: 2, TTL: -1}, nil }, config{}},
		{"too large", func() (loaded, error) { return loaded{Value: 1000}, nil }, config{
			MaxCost: 100, MaxEntries: 100, Cost: func(_ string, v int) int64 { return int64(v) },
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := func() (loaded, error) { return loaded{Value: 1}, nil }
				cfg := tc.cfg
				cfg.Name, cfg.Loader = "test", loaderFunc(func(string) (loaded, error) { return answer() })
				cfg.TTL, cfg.Jitter, cfg.Mode = time.Second, -1, readthrough.ServeStale(time.Minute)
				c := open(t, cfg)
				wantGet(t, c, "k", 1)
				<-time.After(time.Second)
				answer = tc.next
				if _, err := c.Get(t.Context(), "k"); err != nil && !errors.Is(err, readthrough.ErrNotFound) {
					t.Fatal(err)
				}
				answer = func() (loaded, error) { return loaded{}, errBroken }
				wantErr(t, c, "k", readthrough.ErrUnavailable)
			})
		})
	}
}
