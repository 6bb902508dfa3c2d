package redistest

import (
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
)

// Mini starts a miniredis and a client of it with timeouts of 5 s, both closed when the test ends. It has no replication id (a renewal says
// Weak), no memory limit and no ACL rules: those need Start.
func Mini(t testing.TB) (*miniredis.Miniredis, redis.UniversalClient) {
	t.Helper()
	m := miniredis.RunT(t)
	return m, newClient(t, patient(l2.ClientConfig{Addrs: []string{m.Addr()}}))
}

// Step is the longest step in which PassTime lets time pass.
const Step = 10 * time.Millisecond

// PassTime makes m's keys age as fast as a real server's until the test ends; TIME is the machine's anyway. They age in steps
// and never during a script or a transaction, as on a real server; miniredis's own ClockTTL ends keys in the midst of a
// script. No step is longer than Step: after a halt of the machine no key ends before its time.
func PassTime(t testing.TB, m *miniredis.Miniredis) {
	t.Helper()
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with the test
		last, tick := time.Now(), time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				now := time.Now()
				m.FastForward(min(now.Sub(last), Step))
				last = now
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		running.Wait()
	})
}

// patient gives a busy test machine more time than the defaults do. A Proxy's client keeps the defaults.
func patient(cfg l2.ClientConfig) l2.ClientConfig {
	const patience = 5 * time.Second
	cfg.DialTimeout, cfg.ReadTimeout, cfg.WriteTimeout, cfg.PoolTimeout = patience, patience, patience, patience
	return cfg
}

func newClient(t testing.TB, cfg l2.ClientConfig) redis.UniversalClient {
	t.Helper()
	client, err := l2.NewClient(cfg)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
