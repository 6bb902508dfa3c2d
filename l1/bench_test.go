package l1_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/layercache/layercache/l1"
)

// How long does a hit take, beside a bare ristretto Get and a sync.Map load of the same keys? Ours includes the guard,
// the deadline, the counters and a real clock read for each hit; the peers have none of them.

const benchKeys = 1024

var (
	base  = time.Now()
	found bool // keeps the compiler from dropping a result
)

type policyDoc [64]byte

func stringKeys() []string {
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = "0123456789abcdef0123456789ab" + strconv.Itoa(1000+i)
	}
	return keys
}

func idKeys() [][16]byte {
	keys := make([][16]byte, benchKeys)
	for i := range keys {
		copy(keys[i][:], strconv.Itoa(1_000_000_000_000+i*7919))
	}
	return keys
}

func serialAndParallel(b *testing.B, get func(i int) bool) {
	b.Helper()
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if !get(i % benchKeys) {
				b.Fatal("miss")
			}
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			i, ok := 0, true
			for pb.Next() {
				ok = get(i%benchKeys) && ok
				i++
			}
			if !ok {
				b.Error("miss")
			}
		})
	})
}

func BenchmarkRistrettoGetString(b *testing.B) {
	keys := stringKeys()
	c, err := ristretto.NewCache(&ristretto.Config[string, *policyDoc]{NumCounters: 1 << 20, MaxCost: 1 << 16, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for _, k := range keys {
		c.Set(k, &policyDoc{}, 1)
	}
	c.Wait()
	serialAndParallel(b, func(i int) bool { _, ok := c.Get(keys[i]); return ok })
}

func BenchmarkSyncMapLoadString(b *testing.B) {
	keys := stringKeys()
	var m sync.Map
	for _, k := range keys {
		m.Store(k, &policyDoc{})
	}
	serialAndParallel(b, func(i int) bool { _, ok := m.Load(keys[i]); return ok })
}

func BenchmarkSyncMapLoadID(b *testing.B) {
	keys := idKeys()
	var m sync.Map
	for _, k := range keys {
		m.Store(k, &policyDoc{})
	}
	serialAndParallel(b, func(i int) bool { _, ok := m.Load(keys[i]); return ok })
}

func filled[K comparable](b testing.TB, keys []K) *l1.Cache[K, *policyDoc] {
	b.Helper()
	c, err := l1.New(l1.Config[K, *policyDoc]{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	for i, k := range keys {
		if !c.Put(c.Guard(uint64(i)), k, &policyDoc{}, int64(time.Hour*24)) {
			b.Fatal("put refused")
		}
	}
	c.Settle()
	return c
}

func BenchmarkGetString(b *testing.B) {
	keys := stringKeys()
	c := filled(b, keys)
	serialAndParallel(b, func(i int) bool { _, ok := c.Get(keys[i], int64(time.Since(base))); return ok })
}

func BenchmarkGetID(b *testing.B) {
	keys := idKeys()
	c := filled(b, keys)
	serialAndParallel(b, func(i int) bool { _, ok := c.Get(keys[i], int64(time.Since(base))); return ok })
}

// What of BenchmarkGetString is the clock?
func BenchmarkGetStringWithoutClock(b *testing.B) {
	keys := stringKeys()
	c := filled(b, keys)
	serialAndParallel(b, func(i int) bool { _, ok := c.Get(keys[i], 1); return ok })
}

// What does a put of a key that is there cost, with the ticket's way through ristretto's queue?
func BenchmarkPut(b *testing.B) {
	keys := stringKeys()
	c := filled(b, keys)
	doc := &policyDoc{}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		found = c.Put(c.Guard(uint64(i%benchKeys)), keys[i%benchKeys], doc, int64(time.Hour*24))
		i++
	}
}
