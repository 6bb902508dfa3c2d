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

// passTime makes time pass in m, by a millisecond at a time: left alone its keys never expire. After a halt of the machine it
// goes on from where it was, so that no limit gives in a moment what it may in that time.
func passTime(m *miniredis.Miniredis) (stop func(context.Context) error) {
	last := time.Now()
	there := last
	m.SetTime(there)
	m.ClockTTL(true)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with stop
		passed := time.NewTicker(time.Millisecond)
		defer passed.Stop()
		for {
			select {
			case <-passed.C:
				now := time.Now()
				there = there.Add(min(now.Sub(last), tick))
				last = now
				m.SetTime(there)
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
		keys := client.Scan(ctx, 0, "@"+tenant+":*", 1000).Iterator()
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
