package readthrough_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

const benchKeys = 1024

func benchStrings() []string {
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("0123456789abcdef0123456789ab%04d", i)
	}
	return keys
}

func serialAndParallel(b *testing.B, get func(i int) bool) {
	b.Helper()
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if !get(i % benchKeys) {
				b.Fatal("miss")
			}
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			i, ok := 0, true
			for pb.Next() {
				ok = get(i%benchKeys) && ok
				i++
			}
			if !ok {
				b.Error("miss")
			}
		})
	})
}

// What does a hit cost, lease, guard, deadline and a real clock read included, beside a bare ristretto Get and a sync.Map
// load of the same keys, which have none of them?
func BenchmarkHitString(b *testing.B) {
	keys := benchStrings()
	src := newSource(nil)
	for i, key := range keys {
		src.put(key, i)
	}
	_, client := redistest.Mini(b)
	c := open(b, config{Name: "test", Redis: client, Loader: batcher{src}, Bound: time.Hour, TTL: time.Hour})
	ready(b, c)
	if err := c.Warm(b.Context(), keys...); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	serialAndParallel(b, func(i int) bool { v, err := c.Get(ctx, keys[i]); return err == nil && v == i })
}

// And by an id of 16 bytes, as agents have?
func BenchmarkHitID(b *testing.B) {
	keys := make([][16]byte, benchKeys)
	cfg := arrayConfig()
	cfg.TTL = time.Hour
	c := open(b, cfg)
	ctx := context.Background()
	for i := range keys {
		binary.BigEndian.PutUint64(keys[i][8:], uint64(i)*7919)
		if _, err := c.Get(ctx, keys[i]); err != nil {
			b.Fatal(err)
		}
	}
	serialAndParallel(b, func(i int) bool { _, err := c.Get(ctx, keys[i]); return err == nil })
}

// What does a token add to a hit?
func BenchmarkHitAtLeast(b *testing.B) {
	keys := benchStrings()
	src := newSource(nil)
	src.versioned = true
	for i, key := range keys {
		src.put(key, i)
	}
	c := open(b, config{Name: "test", Loader: batcher{src}, TTL: time.Hour})
	r := func() *readthrough.Receipt {
		r, err := c.InvalidateAsOf(b.Context(), 5, "another")
		if err != nil {
			b.Fatal(err)
		}
		return r
	}()
	if err := c.Warm(b.Context(), keys...); err != nil {
		b.Fatal(err)
	}
	ctx, token := context.Background(), r.Token()
	serialAndParallel(b, func(i int) bool { _, err := c.Get(ctx, keys[i], readthrough.AtLeast(token)); return err == nil })
}

func BenchmarkPeerRistretto(b *testing.B) {
	keys := benchStrings()
	c, err := ristretto.NewCache(&ristretto.Config[string, int]{NumCounters: 1 << 20, MaxCost: 1 << 16, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for i, key := range keys {
		c.Set(key, i, 1)
	}
	c.Wait()
	serialAndParallel(b, func(i int) bool { v, ok := c.Get(keys[i]); return ok && v == i })
}

func BenchmarkPeerSyncMap(b *testing.B) {
	keys := benchStrings()
	var m sync.Map
	for i, key := range keys {
		m.Store(key, i)
	}
	serialAndParallel(b, func(i int) bool { v, ok := m.Load(keys[i]); return ok && v.(int) == i })
}

// What does a hit of 100 keys at once cost?
func BenchmarkGetManyHit(b *testing.B) {
	keys := benchStrings()[:100]
	src := newSource(nil)
	for i, key := range keys {
		src.put(key, i)
	}
	c := open(b, config{Name: "test", Loader: batcher{src}, TTL: time.Hour})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if m, err := c.GetMany(ctx, keys); err != nil || len(m) != len(keys) {
			b.Fatal(len(m), err)
		}
	}
}

// What does an answer from L2 cost, on a real server over the loopback interface?
func BenchmarkL2Hit(b *testing.B) {
	src := newSource(map[string]int{"k": 1})
	server := redistest.Start(b)
	c := open(b, config{Name: "test", Redis: server.Client(), Loader: src, Bound: time.Hour, TTL: time.Hour})
	ready(b, c)
	ctx := context.Background()
	get := func() {
		if v, err := c.Get(ctx, "k", readthrough.SkipL1()); v != 1 || err != nil {
			b.Fatal(v, err)
		}
	}
	get()
	stored(b, backend{client: server.Client()}, "k")
	b.ReportAllocs()
	for b.Loop() {
		get()
	}
	if n := src.loads.Load(); n > 2 {
		b.Fatalf("%d loads", n)
	}
}

// What does a load cost beside the authority's own time?
func BenchmarkMissWithoutRedis(b *testing.B) {
	c := open(b, config{Name: "test", NegativeTTL: -1, Loader: newSource(nil)})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, "k"); !errors.Is(err, readthrough.ErrNotFound) {
			b.Fatal(err)
		}
	}
}
