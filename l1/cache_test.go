package l1_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/layercache/layercache/l1"
)

func TestZeroConfigIsUsable(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 1)
	wantHit(t, c, "a", 1)
}

func TestNewRefusesAWrongFieldByName(t *testing.T) {
	for _, tc := range []struct {
		field string
		cfg   l1.Config[string, int]
	}{
		{"MaxCost", l1.Config[string, int]{MaxCost: -1}},
		{"MaxCost", l1.Config[string, int]{MaxCost: 1<<50 + 1}},
		{"MaxEntries", l1.Config[string, int]{MaxEntries: -1}},
		{"MaxEntries", l1.Config[string, int]{MaxEntries: 1<<28 + 1}},
		{"Stripes", l1.Config[string, int]{Stripes: 2048}},
		{"Stripes", l1.Config[string, int]{Stripes: 5000}},
		{"Stripes", l1.Config[string, int]{Stripes: -4096}},
		{"Stripes", l1.Config[string, int]{Stripes: 1 << 25}},
	} {
		_, err := l1.New(tc.cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "l1: Config."+tc.field+" ") {
			t.Errorf("New(%+v) = %v, want an error that names %s", tc.cfg, err, tc.field)
		}
	}
}

func TestGetMissesFromTheDeadlineOn(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	c.Put(c.Guard(1), "a", 1, 100)
	if _, ok := c.Get("a", 99); !ok {
		t.Error("missed before the deadline")
	}
	if _, ok := c.Get("a", 100); ok {
		t.Error("hit at the deadline")
	}
}

func TestPeekShowsAnEntryPastItsDeadlineButNotAVoidOne(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	c.Put(c.Guard(1), "a", 1, -5)
	wantMiss(t, c, "a")
	if e, ok := c.Peek("a"); !ok || e.Value != 1 || e.Deadline != -5 {
		t.Errorf("Peek = %v, %v, want the expired entry", e, ok)
	}
	c.Evict(1)
	if _, ok := c.Peek("a"); ok {
		t.Error("Peek showed a void entry")
	}
	if _, ok := c.Peek("b"); ok {
		t.Error("Peek showed an entry of an unknown key")
	}
	if s := c.Stats(); s.Hits != 0 || s.Misses != 1 {
		t.Errorf("Peek was counted: %+v", s)
	}
}

func TestStatsCountHitsAndMissesOfAllGoroutines(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				c.Get("a", 0)
				c.Get("none", 0)
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Hits != 8000 || s.Misses != 8000 || s.Entries != 1 || s.Cost != 1 {
		t.Errorf("Stats = %+v, want 8000 hits, 8000 misses, 1 entry of cost 1", s)
	}
}

func TestKeysOfAnyComparableType(t *testing.T) {
	type pair struct {
		tenant string
		id     [16]byte
	}
	c := newCache(t, l1.Config[pair, int]{})
	put(t, c, 1, pair{"a", [16]byte{1}}, 1)
	put(t, c, 2, pair{"b", [16]byte{1}}, 2)
	wantHit(t, c, pair{"a", [16]byte{1}}, 1)
	wantHit(t, c, pair{"b", [16]byte{1}}, 2)
	wantMiss(t, c, pair{"a", [16]byte{2}})
}

func TestAHitAndAMissAllocateNothing(t *testing.T) {
	t.Run("string", func(t *testing.T) { allocatesNothing(t, "agent:1", "agent:2") })
	t.Run("id", func(t *testing.T) { allocatesNothing(t, [16]byte{1}, [16]byte{2}) })
}

func allocatesNothing[K comparable](t *testing.T, here, gone K) {
	t.Helper()
	c := newCache(t, l1.Config[K, *policyDoc]{})
	put(t, c, 1, here, &policyDoc{})
	c.Settle()
	if n := testing.AllocsPerRun(2000, func() {
		if _, ok := c.Get(here, 0); !ok {
			t.Fatal("missed")
		}
	}); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
	if n := testing.AllocsPerRun(2000, func() {
		if _, ok := c.Peek(here); !ok {
			t.Fatal("missed")
		}
	}); n != 0 {
		t.Errorf("a peek allocates %v times", n)
	}
	if n := testing.AllocsPerRun(2000, func() {
		if _, ok := c.Get(gone, 0); ok {
			t.Fatal("hit")
		}
	}); n != 0 && !raceEnabled { // ristretto's sync.Pool drops at random under the race detector
		t.Errorf("a miss allocates %v times", n)
	}
}

func TestAfterCloseEverythingIsSafeAndEmpty(t *testing.T) {
	c, err := l1.New(l1.Config[string, int]{})
	if err != nil {
		t.Fatal(err)
	}
	g := c.Guard(1)
	put(t, c, 1, "a", 1)
	c.Close()
	c.Close()
	wantMiss(t, c, "a")
	if _, ok := c.Peek("a"); ok {
		t.Error("Peek hit after Close")
	}
	if c.Put(g, "a", 1, far) || c.Put(c.Guard(1), "a", 1, far) {
		t.Error("Put accepted after Close")
	}
	if c.Valid(g) || c.Valid(c.Guard(1)) {
		t.Error("a guard holds after Close")
	}
	c.Flush() // must not open it again
	c.Evict(1)
	c.EvictKey(1, "a")
	c.EvictUnless(1, "a", func(int) bool { t.Error("keep was asked after Close"); return true })
	if c.Valid(c.Guard(1)) || c.Put(c.Guard(1), "a", 1, far) {
		t.Error("Flush opened it again")
	}
	if s := c.Stats(); s.Entries != 0 || s.Cost != 0 {
		t.Errorf("Stats after Close = %+v, want nothing held", s)
	}
}
