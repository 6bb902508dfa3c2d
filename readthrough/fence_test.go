package readthrough_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

// lagging answers from a replica that is behind until it is told to catch up.
type lagging struct {
	*source
	behind atomic.Int64 // answers that are still from the past
	past   loaded
}

// newLagging is at version 1 in the past and wherever the source is otherwise.
func newLagging(src *source) *lagging {
	src.versioned = true
	return &lagging{source: src, past: loaded{Value: 1, AsOf: 1}}
}

func (l *lagging) read(key string) (loaded, error) {
	if l.behind.Add(-1) >= 0 {
		l.loads.Add(1)
		return l.past, nil
	}
	return l.source.Load(nil, key) //nolint:staticcheck // the source does not look at it without on
}

func TestAValueBelowTheFenceIsNeitherAnsweredNorKept(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		lag := newLagging(newSource(map[string]int{"k": 1}))
		tel := newRecorder()
		c := open(t, b.with(config{Loader: loaderFunc(lag.read), Telemetry: tel}))
		ready(t, c)
		asOf := lag.put("k", 2)
		invalidateAsync(t, c, asOf, "k")

		lag.behind.Store(1) // one retry helps
		wantGet(t, c, "k", 2)
		wantLoads(t, lag.source, 2)

		invalidateAsync(t, c, lag.put("k", 3), "k")
		lag.behind.Store(1 << 30)
		lag.loads.Store(0)
		wantErr(t, c, "k", readthrough.ErrUnavailable)
		wantLoads(t, lag.source, 2)
		if tel.count(telemetry.LoadBehind) != 1 {
			t.Error("not counted")
		}
		if e, ok := c.Peek("k"); ok {
			t.Errorf("L1 kept %d", e.Value)
		}
		lag.behind.Store(0)
		wantGet(t, c, "k", 3)
	})
}

// The fence of another process's change is known by L2's answer alone.
func TestTheFenceOfAnotherProcessHoldsToo(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		lag := newLagging(newSource(map[string]int{"k": 1}))
		writer := open(t, b.with(config{Loader: lag.source}))
		reader := open(t, b.with(config{Loader: loaderFunc(lag.read)}))
		ready(t, writer, reader)
		invalidateAsync(t, writer, lag.put("k", 2), "k")
		lag.behind.Store(1 << 30)
		wantErr(t, reader, "k", readthrough.ErrUnavailable)
		many, err := reader.GetMany(t.Context(), []string{"k"})
		if len(many) != 0 || !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("GetMany = %v, %v", many, err)
		}
		lag.behind.Store(0)
		wantGet(t, reader, "k", 2)
	})
}

// An absence has a version too.
func TestAnAbsenceBelowTheFenceIsNotAnswered(t *testing.T) {
	src := newSource(nil)
	src.versioned = true
	asOf := src.put("k", 2)
	c := open(t, config{Name: "test", Loader: loaderFunc(func(string) (loaded, error) {
		return loaded{AsOf: asOf - 1}, readthrough.ErrNotFound
	})})
	invalidateAsync(t, c, asOf, "k")
	wantErr(t, c, "k", readthrough.ErrUnavailable)
}

// The log is the backstop that does not trust Redis: the entry goes although no message came, and an L2 value from before is
// a miss.
func TestARowOfTheLogIsSeenWithoutAMessage(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, log := newSource(map[string]int{"k": 1, "other": 1}), &memoryLog{}
		src.versioned = true
		c := open(t, b.with(config{Loader: src, Log: log, Poll: 10 * time.Millisecond, Bound: time.Second}))
		ready(t, c)
		wantGet(t, c, "k", 1)
		stored(t, b, "k")
		log.add("k", src.put("k", 2)) // by psql, say
		redistest.Eventually(t, 10*time.Second, "new answer", func() bool {
			v, err := c.Get(t.Context(), "k")
			return v == 2 && err == nil
		})
		stored(t, b, "k")
		wantGet(t, c, "k", 2, readthrough.SkipL1())
	})
}

// gatedLog is a log that answers when its gate is open.
type gatedLog struct {
	*memoryLog
	*gate
}

func (l gatedLog) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	if err := l.pass(ctx, ""); err != nil {
		return invalidation.Page{}, err
	}
	return l.memoryLog.Changes(ctx, after, limit)
}

// What changed while no process ran was told to nobody: it is in the log, and L2 has what was before.
func TestANewProcessReadsTheLogBeforeL2(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, log := newSource(map[string]int{"k": 1}), &memoryLog{}
		src.versioned = true
		cfg := b.with(config{Loader: batcher{src}, Bound: time.Second, LoadTimeout: 20 * time.Second})
		before := open(t, cfg)
		ready(t, before)
		wantGet(t, before, "k", 1)
		stored(t, b, "k")
		if err := before.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.add("k", src.put("k", 2)) // by psql, say

		slow := gatedLog{log, newGate(t)}
		cfg.Log = slow
		for name, read := range map[string]func(c *cache) int{
			"Get":     func(c *cache) int { v, _ := c.Get(t.Context(), "k"); return v },
			"GetMany": func(c *cache) int { m, _ := c.GetMany(t.Context(), []string{"k"}); return m["k"] },
		} {
			c := open(t, cfg)
			slow.await(t)
			if v := read(c); v != 2 {
				t.Errorf("%s answers %d while the log has not been read", name, v)
			}
		}
		slow.release()
		c := open(t, cfg)
		wantGet(t, c, "k", 2)

		redistest.Eventually(t, 10*time.Second, "the new value in L2", func() bool {
			e, err := c.GetEntry(t.Context(), "k", readthrough.SkipL1())
			return err == nil && e.Tier == readthrough.L2 && e.Value == 2
		})
		log.fail(errBroken) // there is nothing better to be had than L2 then
		src.fail(errBroken)
		cfg.Log = log
		wantTier(t, open(t, cfg), "k", 2, readthrough.L2)
	})
}

func TestAProcessThatHasReadTheLogOnceLooksIntoL2(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(nil)
		c := open(t, b.with(config{Loader: src, Log: &memoryLog{}, Bound: time.Hour}))
		ready(t, c)
		for i, began := 0, time.Now(); time.Since(began) < 200*time.Millisecond; i++ { // nobody waits for the first poll any more
			key := fmt.Sprint("k", i)
			src.put(key, 1)
			wantGet(t, c, key, 1)
			stored(t, b, key)
			wantTier(t, c, key, 1, readthrough.L2, readthrough.SkipL1())
		}
	})
}

// A log that takes its time is waited for once, and not by each key.
func TestABatchDoesNotWaitForTheLogKeyByKey(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, keys := newSource(nil), make([]string, 200)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
			src.put(keys[i], i)
		}
		slow := gatedLog{&memoryLog{}, newGate(t)}
		c := open(t, b.with(config{Loader: batcher{src}, Log: slow, Bound: time.Second, LoadTimeout: 10 * time.Second}))
		slow.await(t)
		if got, err := c.GetMany(t.Context(), keys); err != nil || len(got) != len(keys) {
			t.Errorf("%d of %d keys: %v", len(got), len(keys), err)
		}
	})
}

// An entry that is at the row's version already stays.
func TestARowOfTheLogLeavesAnEntryThatHasItAlready(t *testing.T) {
	src, log := newSource(map[string]int{"k": 1}), &memoryLog{}
	src.versioned = true
	c := open(t, config{Name: "test", Loader: src, Log: log, Poll: 5 * time.Millisecond, Bound: time.Second})
	ready(t, c)
	asOf := src.put("k", 2)
	wantGet(t, c, "k", 2)
	log.add("k", asOf)
	log.add("seen", src.put("seen", 1)) // when this is fenced, the row of k is applied
	src.records = map[string]int{"k": 2, "seen": 1}
	redistest.Eventually(t, 10*time.Second, "poll of both rows", func() bool {
		return c.Fence("seen") == asOf+1
	})
	if e, ok := c.Peek("k"); !ok || e.Value != 2 {
		t.Errorf("Peek = %v, %v", e, ok)
	}
}

func TestAPanickingParseIDDropsTheEntryAndNotTheProcess(t *testing.T) {
	src, log := newSource(map[string]int{"k": 1}), &memoryLog{}
	src.versioned = true
	c := open(t, config{
		Name: "test", Loader: src, Log: log, Poll: 5 * time.Millisecond, Bound: time.Second,
		ID: func(k string) (string, error) { return k, nil }, ParseID: func(string) (string, error) { panic("no way back") },
	})
	ready(t, c)
	wantGet(t, c, "k", 1)
	log.add("k", src.put("k", 2))
	redistest.Eventually(t, 10*time.Second, "new answer", func() bool {
		v, err := c.Get(t.Context(), "k")
		return v == 2 && err == nil
	})
}

// What is remembered per id is bounded: past it, everything must be as new as the newest.
func TestFencesAreBoundedAndNeverLowered(t *testing.T) {
	src := newSource(nil)
	src.versioned = true
	c := open(t, config{Name: "test", Loader: src})
	keys := make([]string, 70_000)
	for i := range keys {
		keys[i] = "k" + string(rune(0x4e00+i%20000)) + string(rune('a'+i/20000))
	}
	for i, key := range keys {
		invalidateAsync(t, c, uint64(i+1), key)
	}
	for i, key := range keys {
		if got := c.Fence(key); got < uint64(i+1) {
			t.Fatalf("fence of key %d is %d, was raised to %d", i, got, i+1)
		}
	}
}

// A value may be read just before the fence, stored LoadTimeout later, and last for MaxTTL.
func TestAFenceOutlivesWhatALateFillStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(nil)
		src.versioned = true
		c := open(t, config{Name: "test", Loader: src, MaxTTL: 5 * time.Second, LoadTimeout: 10 * time.Minute})
		invalidateAsync(t, c, 7, "k")
		for range 10 { // whoever raises a fence forgets those that are old
			<-time.After(time.Minute)
			invalidateAsync(t, c, 8, "another")
		}
		<-time.After(5 * time.Second)
		invalidateAsync(t, c, 9, "another")
		if got := c.Fence("k"); got != 7 {
			t.Errorf("Fence = %d after 10 min 5 s, want 7", got)
		}
	})
}

// Redis has not heard of the change, so the lease of the load still stands there.
func TestWhatTheLogHasFencedMeanwhileIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, held := bubble(t), newGate(t)
		src, log := newSource(map[string]int{"k": 1}), &memoryLog{}
		src.versioned, src.on = true, held.pass
		c := open(t, config{Name: "test", Redis: client, Loader: src, Log: log, Poll: 100 * time.Millisecond})
		ready(t, c)
		slow := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "k")
			slow <- err
		}()
		held.await(t)
		log.add("k", src.put("k", 2))
		<-time.After(time.Second) // polled
		held.release()
		if err := <-slow; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := client.Exists(t.Context(), prefix+"d:k", prefix+"l:k").Val(); n != 0 {
			t.Errorf("Redis holds %d keys, want neither the value nor the lease of its load", n)
		}
	})
}

// The lease belongs to the life of Redis' state in which it was given; a fill in the next one would bring a value from before
// everything was invalidated.
func TestAFillIsOfferedInTheEpochItsLeaseWasGivenIn(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, g, tel := newSource(map[string]int{"k": 1}), newGate(t), newRecorder()
		src.on = g.pass
		c := open(t, b.with(config{Loader: src, Telemetry: tel, LoadTimeout: 20 * time.Second}))
		ready(t, c)
		old := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "k")
			old <- err
		}()
		g.await(t)
		before := b.client.Get(t.Context(), prefix+"e").Val()
		if _, err := c.InvalidateAllAsync(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, 10*time.Second, "life in the new epoch", func() bool {
			return c.LivesIn() != before && c.LivesIn() == b.client.Get(t.Context(), prefix+"e").Val()
		})
		g.release()
		if err := <-old; err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, 10*time.Second, "refused fill", func() bool { return tel.fills() == 1 })
		if n := tel.count(telemetry.FillRefusedEpoch); n != 1 {
			t.Errorf("not refused for its epoch: %v", tel.events)
		}
		if b.client.Exists(t.Context(), prefix+"d:k").Val() != 0 {
			t.Error("it is in L2")
		}
	})
}
