package registry_test

import (
	"path/filepath"
	"testing"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
	"github.com/layercache/layercache/stores/storetest"
)

func TestMemoryIsARegistry(t *testing.T) {
	storetest.Registries(t, func(testing.TB) registry.Backend { return &registry.Memory{} })
}

func TestMiniredisIsARegistry(t *testing.T) {
	storetest.Registries(t, func(t testing.TB) registry.Backend {
		m, client := redistest.Mini(t)
		redistest.PassTime(t, m)
		return onRedis(t, registry.RedisConfig{Client: client})
	})
}

func TestRedisIsARegistry(t *testing.T) {
	client := redistest.Start(t).Client()
	storetest.Registries(t, func(t testing.TB) registry.Backend {
		return onRedis(t, registry.RedisConfig{Client: client, Tenant: tenantOf(t)})
	})
}

func TestRedisClusterIsARegistry(t *testing.T) {
	client := redistest.StartCluster(t).Client()
	storetest.Registries(t, func(t testing.TB) registry.Backend {
		return onRedis(t, registry.RedisConfig{Client: client, Tagged: true, Tenant: tenantOf(t)})
	})
}

func TestSQLiteIsARegistry(t *testing.T) {
	source := inSQLite(t, filepath.Join(t.TempDir(), "agents.db"))
	storetest.Registries(t, func(t testing.TB) registry.Backend {
		return onSQL(t, registry.SQLConfig{Source: source, Tenant: tenantOf(t)})
	})
}

func TestPostgresIsARegistry(t *testing.T) {
	source := inPostgres(t, pgtest.NewDatabase(t))
	storetest.Registries(t, func(t testing.TB) registry.Backend {
		return onSQL(t, registry.SQLConfig{Source: source, Tenant: tenantOf(t)})
	})
}
