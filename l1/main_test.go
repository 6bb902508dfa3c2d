package l1_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/l1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// far is a deadline that no test reaches.
const far = int64(1 << 62)

func newCache[K comparable, V any](t testing.TB, cfg l1.Config[K, V]) *l1.Cache[K, V] {
	t.Helper()
	c, err := l1.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// put puts under a guard taken now, and fails the test if that is refused.
func put[K comparable, V any](t testing.TB, c *l1.Cache[K, V], hash uint64, key K, value V) {
	t.Helper()
	if !c.Put(c.Guard(hash), key, value, far) {
		t.Fatalf("Put(%v, %v) was refused", key, value)
	}
}

func wantHit[K comparable, V comparable](t testing.TB, c *l1.Cache[K, V], key K, want V) {
	t.Helper()
	e, ok := c.Get(key, 0)
	if !ok {
		t.Fatalf("Get(%v) missed, want %v", key, want)
	}
	if e.Key != key || e.Value != want {
		t.Fatalf("Get(%v) = %v of %v, want %v", key, e.Value, e.Key, want)
	}
}

func wantMiss[K comparable, V any](t testing.TB, c *l1.Cache[K, V], key K) {
	t.Helper()
	if e, ok := c.Get(key, 0); ok {
		t.Fatalf("Get(%v) = %v, want a miss", key, e.Value)
	}
}

// until yields to other goroutines until cond holds.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); runtime.Gosched() {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("waited 10 s for: %s", what)
		}
	}
}

// releasing makes sure that what a test holds is let go, once, before the cache is closed.
func releasing(t testing.TB, release func()) func() {
	t.Helper()
	once := sync.OnceFunc(release)
	t.Cleanup(once)
	return once
}
