package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/registry"
)

// embedRedis starts a Redis in this process, on a free port of the loopback interface. Time stands still for the TTL of its
// keys, which no run is long enough to reach; its clock, by which silence is judged, goes on.
func embedRedis(u *undo) (url string, err error) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return "", fmt.Errorf("embedded Redis: %w", err)
	}
	u.add(func(context.Context) error { m.Close(); return nil })
	return "redis://" + m.Addr(), nil
}

// dial makes a client, as each process of a real system would have its own.
func dial(u *undo, url string) (redis.UniversalClient, error) {
	const patient = 2 * time.Second // beside an embedded Redis on a busy machine
	client, err := l2.NewClient(l2.ClientConfig{
		URL: url, PoolSize: 16, DialTimeout: patient, ReadTimeout: patient, WriteTimeout: patient, PoolTimeout: patient,
	})
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	u.add(func(context.Context) error { return client.Close() })
	return client, nil
}

// clean makes sure that nothing of the tenant stays in a Redis that is not ours.
func clean(u *undo, client redis.UniversalClient, tenant string) {
	u.add(func(ctx context.Context) error {
		for _, pattern := range []string{"@" + tenant + ":*", "lc:{registry@" + tenant + ".*"} {
			keys := client.Scan(ctx, 0, pattern, 1000).Iterator()
			for keys.Next(ctx) {
				if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
					return fmt.Errorf("deleting the run's keys: %w", err)
				}
			}
			if err := keys.Err(); err != nil {
				return fmt.Errorf("deleting the run's keys: %w", err)
			}
		}
		return nil
	})
}

// connect makes a store, as a process of its own would have it.
func connect(u *undo, client redis.UniversalClient, tenant string) (*registry.Store, error) {
	backend, err := registry.NewRedis(registry.RedisConfig{Client: client, Tenant: tenant})
	if err != nil {
		return nil, err
	}
	store, err := registry.New(registry.Config{Backend: backend, Tenant: tenant, Grace: grace})
	if err != nil {
		return nil, err
	}
	u.add(store.Close)
	return store, nil
}
