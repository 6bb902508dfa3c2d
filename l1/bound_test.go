package l1_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/layercache/layercache/l1"
)

func TestEntriesStayWithinTheirBoundHoweverCheapTheyAre(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{MaxCost: 1 << 20, MaxEntries: 100, Cost: func(int, int) int64 { return 0 }})
	for i := range 5000 {
		c.Put(c.Guard(uint64(i)), i, i, far)
	}
	c.Settle()
	if s := c.Stats(); s.Entries > 100 || s.Entries < 90 || s.Evicted+s.Rejected != uint64(5000-s.Entries) {
		t.Errorf("Stats = %+v, want about 100 entries, the others counted", s)
	}
}

func TestCostStaysWithinItsBound(t *testing.T) {
	c := newCache(t, l1.Config[int, int64]{MaxCost: 1000, Cost: func(_ int, v int64) int64 { return v }})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		i := rnd.IntN(500)
		c.Put(c.Guard(uint64(i)), i, 1+rnd.Int64N(300), far)
	}
	c.Settle()
	if s := c.Stats(); s.Cost > 1000 || s.Cost < 500 || s.Cost != c.PolicyCost() {
		t.Errorf("Stats = %+v, ristretto's cost %d, want nearly 1000", s, c.PolicyCost())
	}
}

func TestEvictionsAreNotOutrunByPuts(t *testing.T) {
	const bound, writers = 800, 4
	c := newCache(t, l1.Config[int, int]{MaxEntries: bound})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range 5000 {
				c.Put(c.Guard(uint64(i)), w<<20+i, i, far)
				if n := c.Stats().Entries; n > bound+bound/8+writers {
					t.Errorf("%d entries, the bound is %d", n, bound)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAnEntryAboveMaxCostIsRefused(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{MaxCost: 10, Cost: func(string, int) int64 { return 11 }})
	if c.Put(c.Guard(1), "a", 1, far) {
		t.Error("Put answered true")
	}
	wantMiss(t, c, "a")
	if s := c.Stats(); s.Rejected != 1 {
		t.Errorf("Stats = %+v, want 1 rejected", s)
	}
}

func TestWhatIsReadOftenIsKept(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool drops at random, and with it what ristretto hears of reads")
	}
	synctest.Test(t, func(t *testing.T) { // so that ristretto's goroutines keep up: it drops what it is told in a burst
		c := newCache(t, l1.Config[int, int]{MaxEntries: 500})
		for i := range 500 {
			put(t, c, uint64(i), i, i)
		}
		warm := func(n int) {
			for range n {
				for i := range 100 { // a regular pattern: no key may fall through the sample
					c.Get(i, 0)
				}
				synctest.Wait()
			}
		}
		warm(200)
		for i := range 4000 {
			c.Get(1000+i, 0)
			c.Put(c.Guard(uint64(i)), 1000+i, i, far)
			synctest.Wait()
			if i%40 == 0 {
				warm(4)
			}
		}
		kept := 0
		for i := range 100 {
			if _, ok := c.Get(i, 0); ok {
				kept++
			}
		}
		if kept < 60 { // 12 would be left by chance
			t.Errorf("%d of 100 hot entries survived a scan of eight times the cache", kept)
		}
	})
}

func TestTheSampleOfHitsLeavesNoKeyOut(t *testing.T) {
	const turns = 1 << 13
	for keys := uint64(1); keys <= 200; keys++ { // read in turn
		told := make([]int, keys)
		for n := range turns * keys {
			if l1.Sampled(n) {
				told[n%keys]++
			}
		}
		for key := range keys {
			if told[key] < turns/64 || told[key] > turns/16 {
				t.Fatalf("of %d reads of key %d of %d in turn, %d were told", turns, key, keys, told[key])
			}
		}
	}
}

func TestMaxEntriesHoldsWhenItDoesNotDivideMaxCost(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{MaxCost: 150, MaxEntries: 100})
	for i := range 1000 {
		c.Put(c.Guard(uint64(i)), i, i, far)
	}
	c.Settle()
	if s := c.Stats(); s.Entries > 100 {
		t.Errorf("%d entries, the bound is 100", s.Entries)
	}
}
