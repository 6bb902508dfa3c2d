package l1_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l1"
)

const modelKeys = 300 // below the bound, so that every miss has a reason

// modelHash puts three neighbouring keys into one stripe.
func modelHash(key int) uint64 { return uint64(key / 3) }

func newSeed(t *testing.T) (*rand.Rand, uint64) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0)), seed
}

// The cache, used by one goroutine and below its bound, is a map whose stripes can be voided.
func TestSequentialUseIsThatOfAMap(t *testing.T) {
	rnd, _ := newSeed(t)
	type held struct {
		value    int
		deadline int64
	}
	c := newCache(t, l1.Config[int, int]{MaxEntries: 4096})
	model := map[int]held{}
	void := func(hash uint64, but int) {
		for k := range model {
			if k != but && modelHash(k) == hash {
				delete(model, k)
			}
		}
	}
	const none = -1
	var now int64
	for step := range 60_000 {
		key := rnd.IntN(modelKeys)
		hash := modelHash(key)
		switch op := rnd.IntN(100); {
		case op < 40:
			e, ok := c.Get(key, now)
			want, has := model[key]
			has = has && want.deadline > now
			if ok != has || ok && (e.Value != want.value || e.Key != key || e.Deadline != want.deadline) {
				t.Fatalf("step %d: Get(%d) = %v, %v; the model has %v, %v", step, key, e, ok, want, has)
			}
		case op < 50:
			e, ok := c.Peek(key)
			want, has := model[key]
			if ok != has || ok && e.Value != want.value {
				t.Fatalf("step %d: Peek(%d) = %v, %v; the model has %v, %v", step, key, e, ok, want, has)
			}
		case op < 85:
			deadline := now + int64(rnd.IntN(2000)) - 20
			g := c.Guard(hash)
			broken := rnd.IntN(10) == 0
			if broken {
				c.Evict(hash)
				void(hash, none)
			}
			if c.Put(g, key, step, deadline) == broken {
				t.Fatalf("step %d: Put(%d) = %v", step, key, broken)
			}
			if !broken {
				model[key] = held{step, deadline}
			}
		case op < 90:
			c.Evict(hash)
			void(hash, none)
		case op < 94:
			c.EvictKey(hash, key)
			void(hash, none)
		case op < 99:
			keep := rnd.IntN(2) == 0
			c.EvictUnless(hash, key, func(v int) bool { return keep })
			if keep {
				void(hash, key)
			} else {
				void(hash, none)
			}
		case rnd.IntN(20) == 0:
			c.Flush()
			clear(model)
		}
		now++
	}
}

// The one promise that counts, under everything at once: when an invalidation has been applied before a read begins, the
// read does not show a value from before it. The cache is at its bound, and loads are slow, so Puts land late.
func TestNoReadShowsAValueFromBeforeAnInvalidation(t *testing.T) {
	_, seed := newSeed(t)
	c := newCache(t, l1.Config[int, uint64]{MaxEntries: modelKeys / 2})
	var authority, applied [modelKeys]atomic.Uint64 // versions: as stored; as of the last invalidation that has returned
	var hits, late atomic.Uint64
	var working atomic.Int64
	working.Store(5)
	var wg sync.WaitGroup
	actor := func(stream uint64, on func(step int) bool, act func(rnd *rand.Rand, key int)) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, stream))
			for step := 0; on(step); step++ {
				act(rnd, rnd.IntN(modelKeys))
			}
		})
	}
	limited := func(step int) bool {
		if step == 6000 {
			working.Add(-1)
		}
		return step < 6000
	}
	whileOthersWork := func(int) bool { return working.Load() > 0 }
	raise := func(key int, version uint64) {
		for old := applied[key].Load(); old < version; old = applied[key].Load() {
			if applied[key].CompareAndSwap(old, version) {
				return
			}
		}
	}
	load := func(rnd *rand.Rand, key int) {
		g := c.Guard(modelHash(key))
		version := authority[key].Load()
		for range rnd.IntN(4) {
			runtime.Gosched()
		}
		if !c.Put(g, key, version, far) {
			late.Add(1)
		}
	}
	read := func(rnd *rand.Rand, key int) {
		defer runtime.Gosched() // the others yield too, and would wait for a whole time slice
		for range 3 {
			floor := applied[key].Load()
			e, ok := c.Get(key, 0)
			if rnd.IntN(8) == 0 {
				e, ok = c.Peek(key)
			}
			if !ok {
				continue
			}
			hits.Add(1)
			if e.Value < floor || e.Key != key {
				t.Errorf("Get(%d) = version %d of key %d, but %d was invalidated before", key, e.Value, e.Key, floor)
			}
		}
	}
	write := func(rnd *rand.Rand, key int) {
		version := authority[key].Add(1)
		hash := modelHash(key)
		switch op := rnd.IntN(100); {
		case op < 40:
			c.Evict(hash)
		case op < 70:
			c.EvictKey(hash, key)
		case op < 99:
			c.EvictUnless(hash, key, func(v uint64) bool { return v >= version })
		default:
			c.Flush()
		}
		raise(key, version)
	}
	for i := range uint64(3) {
		actor(i, limited, load)
		actor(10+i, whileOthersWork, read)
	}
	for i := range uint64(2) {
		actor(20+i, limited, write)
	}
	wg.Wait()
	if hits.Load() == 0 || late.Load() == 0 {
		t.Errorf("%d hits and %d late puts: this run proves nothing", hits.Load(), late.Load())
	}
	c.Settle()
	if s := c.Stats(); s.Entries > modelKeys/2 || s.Cost != s.Entries || s.Cost != c.PolicyCost() {
		t.Errorf("Stats = %+v, ristretto's cost %d, want at most %d entries and equal costs", s, c.PolicyCost(), modelKeys/2)
	}
}
