package runlog_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/storetest"
)

func onRedis(t testing.TB, client redis.UniversalClient) *runlog.Redis {
	t.Helper()
	b, err := runlog.NewRedis(runlog.RedisConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mini(t testing.TB) redis.UniversalClient {
	t.Helper()
	m, client := redistest.Mini(t)
	redistest.PassTime(t, m)
	return client
}

func TestMemoryConforms(t *testing.T) {
	storetest.RunLogs(t, func(testing.TB) runlog.Backend { return &runlog.Memory{} })
}

func TestMiniredisConforms(t *testing.T) {
	storetest.RunLogs(t, func(t testing.TB) runlog.Backend {
		t.Helper()
		return onRedis(t, mini(t))
	})
}

func TestRedisConforms(t *testing.T) {
	server := redistest.Start(t)
	storetest.RunLogs(t, func(t testing.TB) runlog.Backend {
		t.Helper()
		server.Do("FLUSHALL")
		return onRedis(t, server.Client())
	})
}

func TestClusterConforms(t *testing.T) {
	cluster := redistest.StartCluster(t)
	storetest.RunLogs(t, func(t testing.TB) runlog.Backend {
		t.Helper()
		for _, node := range cluster.Nodes {
			node.Do("FLUSHALL")
		}
		return onRedis(t, cluster.Client())
	})
}
