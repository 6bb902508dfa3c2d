package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/session"
	"github.com/layercache/layercache/stores/storetest"
)

func TestMemoryIsABackend(t *testing.T) {
	storetest.Sessions(t, func(testing.TB) session.Backend { return &session.Memory{} })
}

func TestRedisIsABackend(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		storetest.Sessions(t, func(t testing.TB) session.Backend {
			t.Helper()
			m, client := redistest.Mini(t)
			redistest.PassTime(t, m)
			return newRedis(t, session.RedisConfig{Client: client})
		})
	})
	t.Run("redis", func(t *testing.T) {
		client := redistest.Start(t).Client()
		storetest.Sessions(t, func(t testing.TB) session.Backend {
			t.Helper()
			client.FlushAll(context.Background())
			return newRedis(t, session.RedisConfig{Client: client})
		})
	})
	t.Run("tenant, tagged", func(t *testing.T) {
		client := redistest.Start(t).Client()
		storetest.Sessions(t, func(t testing.TB) session.Backend {
			t.Helper()
			client.FlushAll(context.Background())
			return newRedis(t, session.RedisConfig{Client: client, Tenant: "acme", Prefix: "other", Tagged: true})
		})
	})
	t.Run("cluster", func(t *testing.T) {
		cluster := redistest.StartCluster(t)
		client := cluster.Client()
		storetest.Sessions(t, func(t testing.TB) session.Backend {
			t.Helper()
			for _, node := range cluster.Nodes {
				node.Do("FLUSHALL")
			}
			return newRedis(t, session.RedisConfig{Client: client})
		})
	})
}

func TestMemoryKeepsTimeByItsClockAndFreesWhatHasExpired(t *testing.T) {
	now := time.Unix(1700000000, 0)
	m := &session.Memory{Now: func() time.Time { return now }}
	rec := session.Record{AgentID: "a", StartedAtNS: "1"}
	load := func(n int) bool {
		_, _, found, err := m.Load(t.Context(), session.ID{0: byte(n >> 8), 1: byte(n)}, 0)
		return found && err == nil
	}
	store := func(from, to int) {
		for n := from; n < to; n++ {
			if err := m.Save(t.Context(), session.ID{0: byte(n >> 8), 1: byte(n)}, rec, time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	store(0, 1000)
	now = now.Add(time.Second - 1)
	if !load(0) {
		t.Fatal("ended before its time")
	}
	now = now.Add(1)
	if load(0) {
		t.Fatal("outlived its time")
	}
	store(1000, 2500)
	if n := session.Held(m); n > 2000 {
		t.Fatalf("%d records held, of which 1500 live", n)
	}
	for n := 1000; n < 2500; n++ {
		if !load(n) {
			t.Fatalf("%d is gone", n)
		}
	}
}
