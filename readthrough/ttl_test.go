package readthrough_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/readthrough"
)

func TestAnAbsenceIsCachedForNegativeTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(nil)
		c := open(t, config{Name: "test", Loader: src, NegativeTTL: 10 * time.Second, Jitter: -1})
		wantErr(t, c, "k", readthrough.ErrNotFound)
		<-time.After(10*time.Second - 1)
		wantErr(t, c, "k", readthrough.ErrNotFound)
		wantLoads(t, src, 1)
		<-time.After(1)
		wantErr(t, c, "k", readthrough.ErrNotFound)
		wantLoads(t, src, 2)
	})
}

func TestAnAbsenceIsSharedThroughL2AndGoesWhenTheRecordComes(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(nil)
		cfg := b.with(config{Loader: src, Bound: 200 * time.Millisecond})
		x, y := open(t, cfg), open(t, cfg)
		ready(t, x, y)
		wantErr(t, x, "k", readthrough.ErrNotFound)
		stored(t, b, "k")
		e, err := y.GetEntry(t.Context(), "k")
		if !errors.Is(err, readthrough.ErrNotFound) || !e.Absent || e.Tier != readthrough.L2 {
			t.Errorf("GetEntry = %+v, %v", e, err)
		}
		wantLoads(t, src, 1)
		src.put("k", 5)
		invalidate(t, x, "k")
		wantGet(t, y, "k", 5)
	})
}

func TestWithANegativeNegativeTTLAbsencesAreNotCached(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(nil)
		c := open(t, b.with(config{Loader: src, NegativeTTL: -1}))
		ready(t, c)
		for n := range int64(3) {
			wantErr(t, c, "k", readthrough.ErrNotFound)
			wantLoads(t, src, n+1)
		}
		src.put("k", 5)
		wantGet(t, c, "k", 5)
	})
}

func TestALoadersOwnTTLCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ttl := time.Minute
		loads := 0
		c := open(t, config{Name: "test", TTL: time.Second, MaxTTL: time.Hour, Jitter: -1, Loader: loaderFunc(func(string) (loaded, error) {
			loads++
			return loaded{Value: loads, TTL: ttl}, nil
		})})
		wantGet(t, c, "minute", 1)
		<-time.After(time.Minute - 1)
		wantGet(t, c, "minute", 1)
		<-time.After(1)
		wantGet(t, c, "minute", 2)
		ttl = -1
		wantGet(t, c, "not cached", 3)
		wantGet(t, c, "not cached", 4)
		ttl = 24 * time.Hour
		wantGet(t, c, "at most MaxTTL", 5)
		<-time.After(time.Hour - 1)
		wantGet(t, c, "at most MaxTTL", 5)
		<-time.After(1)
		wantGet(t, c, "at most MaxTTL", 6)
	})
}

func TestJitterTakesOffAtMostItsPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(nil)
		keys := make([]string, 1000)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
			src.put(keys[i], i)
		}
		c := open(t, config{Name: "test", Loader: src, TTL: 100 * time.Second, Jitter: 0.2})
		if err := c.Warm(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
		held := func() (n int) {
			for _, key := range keys {
				if _, ok := c.Peek(key); ok {
					n++
				}
			}
			return n
		}
		<-time.After(80*time.Second - 1)
		if n := held(); n != 1000 {
			t.Errorf("%d of 1000 before the earliest end", n)
		}
		<-time.After(10 * time.Second)
		if n := held(); n < 400 || n > 600 {
			t.Errorf("%d of 1000 in the middle of the spread", n)
		}
		<-time.After(10*time.Second + 1)
		if n := held(); n != 0 {
			t.Errorf("%d of 1000 after the latest end", n)
		}
	})
}

// Whoever read a value from L2 late holds it no longer than L2 does.
func TestL1EndsNoLaterThanL2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := bubble(t)
		src := newSource(map[string]int{"k": 1})
		cfg := config{Name: "test", Redis: client, Loader: src, TTL: 10 * time.Second, Jitter: -1, Bound: time.Minute}
		x, y := open(t, cfg), open(t, cfg)
		ready(t, x, y)
		wantTier(t, x, "k", 1, readthrough.L3)
		synctest.Wait()
		<-time.After(6 * time.Second)
		wantTier(t, y, "k", 1, readthrough.L2)
		left := client.PTTL(t.Context(), prefix+"d:k").Val()
		if left <= 0 || left > 4*time.Second {
			t.Fatalf("%s left in L2", left)
		}
		<-time.After(left - time.Millisecond)
		wantTier(t, y, "k", 1, readthrough.L1)
		<-time.After(time.Millisecond)
		if e, ok := y.Peek("k"); ok {
			t.Errorf("L1 has %+v, L2 no longer", e)
		}
		src.put("k", 2)
		wantTier(t, y, "k", 2, readthrough.L3)
	})
}

// bubble is a miniredis without sockets, whose keys end by the bubble's clock.
func bubble(t testing.TB) redis.UniversalClient {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	client := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:6379", // never dialled, and no name: what looks names up is shared between bubbles
		ContextTimeoutEnabled: true, MaxRetries: -1,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
	})
	t.Cleanup(func() {
		_ = client.Close()
		m.Close()
	})
	return client
}
