package ratelimit_test

import (
	"context"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/ratelimit"
)

// vast is a limit that no benchmark reaches.
var vast = ratelimit.Limit{Max: 1 << 50, Window: time.Hour}

func benchStore(b *testing.B) *ratelimit.Store {
	b.Helper()
	return open(b, ratelimit.Config{Backend: onRedis(b, ratelimit.RedisConfig{Client: redistest.Start(b).Client()})})
}

// What does a decision by lease cost?
func BenchmarkLease(b *testing.B) {
	l := leaseOf(b, benchStore(b), ratelimit.LeaseConfig{Limit: vast})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if r, err := l.Allow(ctx, 1); !r.Allowed {
			b.Fatal(r, err)
		}
	}
}

// And with every core at the same lease?
func BenchmarkLeaseParallel(b *testing.B) {
	l := leaseOf(b, benchStore(b), ratelimit.LeaseConfig{Limit: vast})
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if r, err := l.Allow(ctx, 1); !r.Allowed {
				b.Error(r, err)
			}
		}
	})
}

// What does an exact decision cost, with a Redis on the same machine?
func BenchmarkAllow(b *testing.B) {
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.Fixed, ratelimit.GCRA} {
		b.Run(algorithm.String(), func(b *testing.B) {
			s, ctx := benchStore(b), context.Background()
			limit := ratelimit.Limit{Max: 1 << 50, Window: time.Hour, Algorithm: algorithm}
			b.ReportAllocs()
			for b.Loop() {
				if r, err := s.Allow(ctx, "k", 1, limit); !r.Allowed {
					b.Fatal(r, err)
				}
			}
		})
	}
}

// How much do three dimensions cost more than one?
func BenchmarkAllowAll(b *testing.B) {
	s, ctx := benchStore(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		v, err := s.AllowAll(ctx, ratelimit.Demand{Key: "agent", N: 1, Limit: vast},
			ratelimit.Demand{Key: "team", N: 1, Limit: vast}, ratelimit.Demand{Key: "tenant", N: 1, Limit: vast})
		if !v.Allowed {
			b.Fatal(v, err)
		}
	}
}

// What does it cost to deny a key that is known to be denied?
func BenchmarkDenied(b *testing.B) {
	s := open(b, ratelimit.Config{Backend: &ratelimit.Memory{}, Remember: time.Hour})
	ctx, limit := context.Background(), hour(1)
	allow(b, s, "k", 1, limit)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := s.Allow(ctx, "k", 1, limit); r.Allowed {
			b.Fatal(r, err)
		}
	}
}

// How many times as many decisions a second does a lease make as exact mode, in one run and by one caller?
func BenchmarkLeaseAgainstAllow(b *testing.B) {
	s, ctx := benchStore(b), context.Background()
	l := leaseOf(b, s, ratelimit.LeaseConfig{Key: "leased", Limit: vast})
	var exact, leased time.Duration
	const batch = 4096
	for b.Loop() {
		began := time.Now()
		for range 16 {
			if r, err := s.Allow(ctx, "exact", 1, vast); !r.Allowed {
				b.Fatal(r, err)
			}
		}
		exact += time.Since(began) / 16
		began = time.Now()
		for range batch {
			if r, err := l.Allow(ctx, 1); !r.Allowed {
				b.Fatal(r, err)
			}
		}
		leased += time.Since(began)
	}
	b.ReportMetric(float64(exact.Nanoseconds())/float64(b.N), "exact-ns")
	b.ReportMetric(float64(leased.Nanoseconds())/float64(b.N)/batch, "leased-ns")
	b.ReportMetric(float64(exact)*batch/float64(leased), "ratio")
}
