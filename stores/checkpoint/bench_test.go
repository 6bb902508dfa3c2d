package checkpoint_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/checkpoint"
)

// state100K is like a snapshot with files: text that is not all the same.
func state100K() []byte {
	var b strings.Builder
	for i := 0; b.Len() < 100<<10; i++ {
		b.WriteString(`{"line":` + strconv.Itoa(i*7919) + `,"text":"what an agent has written"},`)
	}
	return []byte(b.String()[:100<<10])
}

// What does a save of 100 KiB cost beside a bare SET of the same bytes on the same server? The aim is a store/set of 1.3 at most
// (docs/adr/0010). least is a SET and a script that does nothing but put its key in another's place.
func BenchmarkSave100KiB(b *testing.B) {
	client := redistest.Start(b).Client()
	s := open(b, checkpoint.Config{Backend: onRedis(b, checkpoint.RedisConfig{Client: client}), TTL: time.Hour})
	for i := range 1000 { // an index to work on
		save(b, s, "other"+strconv.Itoa(i), "x")
	}
	version := save(b, s, "if", "x").Version
	state := state100K()
	least := redis.NewScript("return redis.call('RENAME', KEYS[1], KEYS[2])")
	if err := least.Load(b.Context(), client).Err(); err != nil {
		b.Fatal(err)
	}
	beside(b, map[string]func() error{
		"set":   func() error { return client.Set(b.Context(), "bare", state, 0).Err() },
		"store": func() error { _, err := s.Save(b.Context(), "t", state); return err },
		"saveif": func() error {
			saved, err := s.SaveIf(b.Context(), "if", state, version)
			version = saved.Version
			return err
		},
		"least": func() error {
			pipe := client.Pipeline()
			pipe.Do(b.Context(), "set", "new", state, "px", 60_000)
			least.EvalSha(b.Context(), pipe, []string{"new", "least"})
			_, err := pipe.Exec(b.Context())
			return err
		},
	})
}

// And with the message to the bus, which is a second round trip and independent of the size?
func BenchmarkSaveTold100KiB(b *testing.B) {
	client := redistest.Start(b).Client()
	s := open(b, checkpoint.Config{
		Backend: onRedis(b, checkpoint.RedisConfig{Client: client}), TTL: time.Hour, Link: link(b, client), Bound: time.Hour,
	})
	ready(b, s)
	state := state100K()
	beside(b, map[string]func() error{
		"set":  func() error { return client.Set(b.Context(), "bare", state, 0).Err() },
		"told": func() error { _, err := s.Save(b.Context(), "t", state); return err },
	})
}

// beside reports what several kinds of call cost as ratios to "set": the medians of what a call took in each of many rows of 64 calls
// of one kind. In each iteration every kind has its row, so that what else the machine does falls on all alike, in an order drawn by
// lot. Rows, since programs do one or the other: the first save after a SET of the same bytes is half as long again as one after
// a save. ns/op is the sum of a row of each.
func beside(b *testing.B, kinds map[string]func() error) {
	b.Helper()
	const row = 64
	names := slices.Sorted(maps.Keys(kinds))
	took := map[string][]time.Duration{}
	lots := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		for _, i := range lots.Perm(len(names)) {
			began := time.Now()
			for range row {
				if err := kinds[names[i]](); err != nil {
					b.Fatal(err)
				}
			}
			took[names[i]] = append(took[names[i]], time.Since(began)/row)
		}
	}
	set := median(took["set"])
	b.ReportMetric(float64(set.Microseconds()), "µs/set")
	for _, name := range names {
		if name != "set" {
			b.ReportMetric(float64(median(took[name]))/float64(set), name+"/set")
		}
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// What does a Load cost that L1 answers, for one caller and for many? 100 KiB are not copied.
func BenchmarkLoadHit(b *testing.B) {
	s := open(b, checkpoint.Config{Backend: &checkpoint.Memory{}, Local: &invalidation.Local{}, L1TTL: time.Hour})
	save(b, s, "t", string(state100K()))
	ctx := b.Context()
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Load(ctx, "t"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Load(ctx, "t"); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// What does a Load of 100 KiB cost that Redis answers, beside a bare GET, and what do compression and a digest add?
func BenchmarkLoad100KiB(b *testing.B) {
	client := redistest.Start(b).Client()
	backend := onRedis(b, checkpoint.RedisConfig{Client: client})
	state := state100K()
	ctx := b.Context()
	if err := client.Set(ctx, "bare", state, 0).Err(); err != nil {
		b.Fatal(err)
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			if err := client.Get(ctx, "bare").Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, cfg := range map[string]checkpoint.Config{
		"plain": {}, "s2": {CompressAbove: 1 << 10}, "foreign": {Foreign: true},
	} {
		cfg.Backend = backend
		s := open(b, cfg)
		save(b, s, name, string(state))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Load(ctx, name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Does a page cost the same wherever it is in a list, and beside SMEMBERS of everything?
func BenchmarkList(b *testing.B) {
	client := redistest.Start(b).Client()
	s := open(b, checkpoint.Config{Backend: onRedis(b, checkpoint.RedisConfig{Client: client})})
	fill(b, client, 100_000)
	ctx := b.Context()
	first, err := s.List(ctx, "", 100)
	if err != nil {
		b.Fatal(err)
	}
	deep := first.Next
	for range 90 {
		page, err := s.List(ctx, deep, 1000)
		if err != nil {
			b.Fatal(err)
		}
		deep = page.Next
	}
	for name, cursor := range map[string]string{"first 100": "", "100 behind 90000": deep} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.List(ctx, cursor, 100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("smembers", func(b *testing.B) {
		for b.Loop() {
			if err := client.SMembers(ctx, "agents:threads").Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// fill makes threads as the original system does.
func fill(b *testing.B, client redis.UniversalClient, n int) {
	b.Helper()
	for from := 0; from < n; from += 5000 {
		pipe := client.Pipeline()
		for i := from; i < min(from+5000, n); i++ {
			id := strconv.Itoa(i)
			pipe.Set(b.Context(), "agents:thread:"+id, "x", 0)
			pipe.SAdd(b.Context(), "agents:threads", id)
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
