package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/layercache/layercache/l2"
)

// embedRedis starts a Redis in this process, on a free port of the loopback interface, so that the children reach it.
func embedRedis(u *undo) (url string, err error) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return "", fmt.Errorf("embedded Redis: %w", err)
	}
	u.add(func(context.Context) error { m.Close(); return nil })
	u.add(passTime(m))
	return "redis://" + m.Addr(), nil
}

// passTime makes the keys of m expire: left alone their time stands still. (Its ClockTTL goes through all keys at every
// command, which would be most of what the quickstart measures.)
func passTime(m *miniredis.Miniredis) (stop func(context.Context) error) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with stop
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-tick.C:
				t := time.Now()
				m.FastForward(t.Sub(last))
				last = t
			case <-done:
				return
			}
		}
	})
	return func(context.Context) error {
		close(done)
		running.Wait()
		return nil
	}
}

// borrowRedis makes sure that nothing of the tenant stays in a Redis that is not ours.
func borrowRedis(u *undo, url, tenant string) error {
	client, err := l2.NewClient(l2.ClientConfig{URL: url})
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	u.add(func(context.Context) error { return client.Close() })
	u.add(func(ctx context.Context) error {
		keys := client.Scan(ctx, 0, "lc:{policy@"+tenant+".*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
				return fmt.Errorf("deleting the run's keys from REDIS_URL: %w", err)
			}
		}
		if err := keys.Err(); err != nil {
			return fmt.Errorf("deleting the run's keys from REDIS_URL: %w", err)
		}
		return nil
	})
	return nil
}
