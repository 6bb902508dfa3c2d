package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/runlog"
)

// embedRedis starts a Redis in this process, on a free port of the loopback interface, so that followers reach it.
func embedRedis() (url string, stop func(), err error) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return "", nil, fmt.Errorf("embedded Redis: %w", err)
	}
	return "redis://" + m.Addr(), m.Close, nil
}

// open opens the log of runs, in the parent and in its followers.
func open(url, tenant string) (log *runlog.Store, closeAll func(context.Context) error, err error) {
	client, err := l2.NewClient(l2.ClientConfig{URL: url})
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	backend, err := runlog.NewRedis(runlog.RedisConfig{Client: client, Tenant: tenant})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	log, err = runlog.New(runlog.Config{Backend: backend, Tenant: tenant})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return log, func(ctx context.Context) error { return errors.Join(log.Close(ctx), client.Close()) }, nil
}
