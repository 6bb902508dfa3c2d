package l2_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

var evalshaTime = regexp.MustCompile(`cmdstat_evalsha:calls=(\d+),usec=(\d+),`)

// What does each call cost, here and on the server (server-µs/op), with values of 1 KiB?
func BenchmarkCalls(b *testing.B) {
	client := redistest.Start(b).Client()
	s, err := l2.New(l2.Config{Client: client, Namespace: "ns"})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	id := newID(b, "k")
	value := make([]byte, 1024)
	get := func(id l2.ID) (l2.Reply, l2.Nonce) {
		nonce := l2.NewNonce()
		r, err := s.Get(ctx, l2.Lookup{ID: id, Nonce: nonce})
		if err != nil {
			b.Fatal(err)
		}
		return r, nonce
	}
	fill := func(id l2.ID, r l2.Reply, nonce l2.Nonce) {
		got, err := s.Fill(ctx, l2.Fill{ID: id, Epoch: r.Position.Epoch, Nonce: nonce, Envelope: value, TTL: time.Minute})
		if err != nil || got != l2.Stored {
			b.Fatal(got, err)
		}
	}
	r, nonce := get(id)
	fill(id, r, nonce)

	run := func(name string, call func(i int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			client.ConfigResetStat(ctx)
			i := 0
			for b.Loop() {
				call(i)
				i++
			}
			serverTime(b, client)
		})
	}
	run("get hit", func(int) { get(id) })
	run("get miss", func(i int) { get(newID(b, fmt.Sprint("miss", i))) })
	run("get miss and fill", func(i int) {
		id := newID(b, fmt.Sprint("fill", i))
		r, nonce := get(id)
		fill(id, r, nonce)
	})
	mirrored, err := l2.New(l2.Config{Client: client, Namespace: "mirrored", Mirror: "original:"})
	if err != nil {
		b.Fatal(err)
	}
	run("get miss and fill with mirror", func(i int) {
		id, nonce := newID(b, fmt.Sprint("fill", i)), l2.NewNonce()
		r, err := mirrored.Get(ctx, l2.Lookup{ID: id, Nonce: nonce})
		if err != nil {
			b.Fatal(err)
		}
		f := l2.Fill{ID: id, Epoch: r.Position.Epoch, Nonce: nonce, Envelope: value, Mirror: value, TTL: time.Minute}
		if got, err := mirrored.Fill(ctx, f); err != nil || got != l2.Stored {
			b.Fatal(got, err)
		}
	})
	run("invalidate", func(i int) {
		if _, err := s.Invalidate(ctx, 0, l2.Invalidation{IDs: []l2.ID{newID(b, "other")}, AsOf: uint64(i + 1)}); err != nil {
			b.Fatal(err)
		}
	})
	run("renew", func(i int) {
		if r := l2.Renew(ctx, client, []l2.Renewal{{Store: s, Process: "p", Count: uint64(i)}})[0]; r.Err != nil {
			b.Fatal(r.Err)
		}
	})
	epoch := r.Position.Epoch
	registered := 0
	for _, n := range []int{10, 100, 1000, 10_000} {
		var renewals []l2.Renewal
		for ; registered < n; registered++ {
			renewals = append(renewals, l2.Renewal{Store: s, Process: fmt.Sprint("process", registered), Epoch: epoch, Applied: 1 << 40})
		}
		for few := range slices.Chunk(renewals, 500) {
			l2.Renew(ctx, client, few)
		}
		run(fmt.Sprintf("acks of %d", n), func(int) {
			if _, err := s.Acks(ctx, 0, l2.Position{Epoch: epoch, Seq: 1}, "p", nil); err != nil {
				b.Fatal(err)
			}
		})
	}
	lookups := make([]l2.Lookup, 100)
	for i := range lookups {
		lookups[i] = l2.Lookup{ID: id}
	}
	run("get many of 100 hits", func(int) {
		if _, err := s.GetMany(ctx, lookups); err != nil {
			b.Fatal(err)
		}
	})
}

func serverTime(b *testing.B, client redis.UniversalClient) {
	b.Helper()
	m := evalshaTime.FindStringSubmatch(client.Info(context.Background(), "commandstats").Val())
	if m == nil {
		b.Fatal("no commandstats")
	}
	usec, _ := strconv.ParseFloat(m[2], 64)
	b.ReportMetric(usec/float64(b.N), "server-µs/op")
}

// What do the bytes around a payload of 1 KiB cost?
func BenchmarkEnvelope(b *testing.B) {
	id := newID(b, "k")
	e := l2.Envelope{Created: time.Now(), Payload: make([]byte, 1024)}
	wire := l2.AppendEnvelope(nil, "ns", id, e)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			wire = l2.AppendEnvelope(wire[:0], "ns", id, e)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := l2.ParseEnvelope(wire, "ns", id, l2.Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// How long does the first script of a new epoch keep Redis busy for each mirror that it deletes?
func BenchmarkNewEpochWithMirrors(b *testing.B) {
	client := redistest.Start(b).Client()
	s, err := l2.New(l2.Config{Client: client, Namespace: "ns", Mirror: "original:"})
	if err != nil {
		b.Fatal(err)
	}
	const n = 10_000
	ctx := context.Background()
	for b.Loop() {
		b.StopTimer()
		pipe := client.Pipeline()
		for i := range n {
			k := fmt.Sprint("original:", i)
			pipe.Set(ctx, k, "{}", time.Minute)
			pipe.SAdd(ctx, "lc:{ns.0}:m", k)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := s.Reset(ctx, 0, ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/mirror")
}
