package ratelimit_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/storetest"
)

const patience = 30 * time.Second // how long what must happen is waited for

var errClosed = readthrough.ErrClosed

type redisClient = redis.UniversalClient

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	redistest.Eventually(t, patience, what, cond)
}

// mini is a miniredis whose clock, and not only the age of its keys, passes in steps, so that within one everything happens at
// the same moment. No step is longer than 10 ms: after a halt of the machine its time is late, and does not run to make up for
// it.
func mini(t testing.TB) redis.UniversalClient {
	t.Helper()
	m, client := redistest.Mini(t)
	last := time.Now()
	there := last
	m.SetTime(there)
	m.ClockTTL(true)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with the test
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				now := time.Now()
				there = there.Add(min(now.Sub(last), redistest.Step))
				last = now
				m.SetTime(there)
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		running.Wait()
	})
	return client
}

// still is a miniredis whose time only the test moves.
func still(t testing.TB) (client redis.UniversalClient, pass func(time.Duration)) {
	t.Helper()
	m, client := redistest.Mini(t)
	now := time.Unix(1_800_000_000, 0)
	m.SetTime(now)
	return client, func(d time.Duration) {
		now = now.Add(d)
		m.SetTime(now)
		m.FastForward(d)
	}
}

func onRedis(t testing.TB, cfg ratelimit.RedisConfig) *ratelimit.Redis {
	t.Helper()
	b, err := ratelimit.NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, cfg ratelimit.Config) *ratelimit.Store {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second // a busy machine fails no test
	}
	s, err := ratelimit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Close(ctx) // with Redis gone it says what it could not give back
	})
	return s
}

func TestMemoryPassesTheSuite(t *testing.T) {
	storetest.RateLimits(t, func(testing.TB) ratelimit.Backend { return &ratelimit.Memory{} })
}

func TestMiniredisPassesTheSuite(t *testing.T) {
	storetest.RateLimits(t, func(t testing.TB) ratelimit.Backend {
		t.Helper()
		return onRedis(t, ratelimit.RedisConfig{Client: mini(t)})
	})
}

func TestRedisPassesTheSuite(t *testing.T) {
	storetest.RateLimits(t, func(t testing.TB) ratelimit.Backend {
		t.Helper()
		return onRedis(t, ratelimit.RedisConfig{Client: redistest.Start(t).Client(), Tenant: "acme"})
	})
}

func TestClusterPassesTheSuite(t *testing.T) {
	cluster, tenants := redistest.StartCluster(t), 0
	for _, tagged := range []bool{false, true} {
		t.Run(map[bool]string{false: "spread", true: "tagged"}[tagged], func(t *testing.T) {
			storetest.RateLimits(t, func(t testing.TB) ratelimit.Backend {
				t.Helper()
				tenants++
				return onRedis(t, ratelimit.RedisConfig{Client: cluster.Client(), Tagged: tagged, Tenant: strconv.Itoa(tenants)})
			})
		})
	}
}
