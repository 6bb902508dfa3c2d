package checkpoint_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/storetest"
)

func TestMemoryConforms(t *testing.T) {
	storetest.Checkpoints(t, func(testing.TB) checkpoint.Backend { return &checkpoint.Memory{} })
}

func TestMiniredisConforms(t *testing.T) {
	storetest.Checkpoints(t, func(t testing.TB) checkpoint.Backend {
		t.Helper()
		m, client := redistest.Mini(t)
		redistest.PassTime(t, m)
		return onRedis(t, checkpoint.RedisConfig{Client: client})
	})
}

func TestRedisConforms(t *testing.T) {
	client := redistest.Start(t).Client()
	storetest.Checkpoints(t, func(t testing.TB) checkpoint.Backend {
		t.Helper()
		flush(t, client)
		return onRedis(t, checkpoint.RedisConfig{Client: client})
	})
}

func TestRedisClusterConforms(t *testing.T) {
	cluster := redistest.StartCluster(t)
	storetest.Checkpoints(t, func(t testing.TB) checkpoint.Backend {
		t.Helper()
		for _, node := range cluster.Nodes {
			flush(t, node.Client())
		}
		return onRedis(t, checkpoint.RedisConfig{Client: cluster.Client(), Tenant: "acme", Tagged: true})
	})
}

func flush(t testing.TB, client redis.UniversalClient) {
	t.Helper()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

func onRedis(t testing.TB, cfg checkpoint.RedisConfig) *checkpoint.Redis {
	t.Helper()
	b, err := checkpoint.NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
