package l1_test

import (
	"testing"

	"github.com/layercache/layercache/l1"
)

func TestZeroGuardNeverHolds(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	if c.Valid(l1.Guard{}) || c.Put(l1.Guard{}, "a", 1, far) {
		t.Error("the zero Guard held")
	}
}

func TestGuardHoldsUntilItsStripeIsEvictedOrTheCacheFlushed(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	g := c.Guard(1)
	c.Evict(2)
	if !c.Valid(g) || g != c.Guard(1) {
		t.Error("broken by another stripe's eviction")
	}
	c.Evict(1)
	if c.Valid(g) || g == c.Guard(1) {
		t.Error("held after its stripe's eviction")
	}
	g = c.Guard(1)
	c.Flush()
	if c.Valid(g) {
		t.Error("held after a flush")
	}
}

func TestEvictVoidsTheStripeAndNothingElse(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 7, "a", 1)
	put(t, c, 7+4096, "same stripe", 2)
	put(t, c, 8, "other stripe", 3)
	c.Evict(7)
	wantMiss(t, c, "a")
	wantMiss(t, c, "same stripe")
	wantHit(t, c, "other stripe", 3)
}

func TestPutIsRefusedWhenItsGuardBrokeDuringTheLoad(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	g := c.Guard(1)
	c.Evict(1)
	if c.Put(g, "a", 1, far) {
		t.Error("accepted a load from before an eviction")
	}
	g = c.Guard(1)
	c.Flush()
	if c.Put(g, "a", 1, far) {
		t.Error("accepted a load from before a flush")
	}
	if s := c.Stats(); s.Rejected != 0 || s.Entries != 0 {
		t.Errorf("Stats = %+v, want nothing held, nothing counted as rejected", s)
	}
}

// The look at the guard in Put is not enough: here the Put has passed it when the invalidation comes.
func TestAPutThatLandsAfterAnInvalidationIsNotSeen(t *testing.T) {
	for _, tc := range []struct {
		name       string
		invalidate func(c *l1.Cache[string, int])
	}{
		{"evict", func(c *l1.Cache[string, int]) { c.Evict(1) }},
		{"flush", func(c *l1.Cache[string, int]) { c.Flush() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCache(t, l1.Config[string, int]{})
			g := c.Guard(1)
			release := releasing(t, c.HoldPuts("a"))
			landed := make(chan bool)
			go func() { landed <- c.Put(g, "a", 1, far) }()
			until(t, "Put is past its look at the guard", func() bool { return c.Tickets() == 1 })
			tc.invalidate(c)
			release()
			if !<-landed {
				t.Fatal("Put was refused, so this test proves nothing")
			}
			wantMiss(t, c, "a")
			if _, ok := c.Peek("a"); ok {
				t.Error("Peek showed it")
			}
			put(t, c, 1, "a", 2)
			wantHit(t, c, "a", 2)
		})
	}
}

func TestEvictKeyFreesTheMemory(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 1)
	put(t, c, 2, "b", 2)
	c.EvictKey(1, "a")
	wantMiss(t, c, "a")
	wantHit(t, c, "b", 2)
	c.Settle()
	if s := c.Stats(); s.Entries != 1 || s.Cost != 1 || c.PolicyCost() != 1 {
		t.Errorf("Stats = %+v, ristretto's cost %d, want 1 entry", s, c.PolicyCost())
	}
	c.EvictKey(3, "never there")
}

func TestEvictKeyLeavesAnEntryThatIsNewerThanIt(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	for i := range 200 {
		release := releasing(t, c.HoldPuts("a"))
		before := c.Guard(1)
		evicted := make(chan struct{})
		go func() { c.EvictKey(1, "a"); close(evicted) }()
		until(t, "the stripe is void", func() bool { return !c.Valid(before) })
		landed := make(chan bool)
		go func() { landed <- c.Put(c.Guard(1), "a", i, far) }()
		release()
		if !<-landed {
			t.Fatal("Put was refused")
		}
		<-evicted
		wantHit(t, c, "a", i)
	}
}

func TestFlushVoidsEverythingAndWhatIsReadAgainTakesItsRoomBack(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{})
	for i := range 1000 {
		put(t, c, uint64(i), i, i)
	}
	c.Flush()
	for i := range 1000 {
		wantMiss(t, c, i)
	}
	for i := range 1000 {
		put(t, c, uint64(i), i, -i)
	}
	for i := range 1000 {
		wantHit(t, c, i, -i)
	}
	if s := c.Stats(); s.Entries != 1000 || s.Cost != 1000 {
		t.Errorf("Stats = %+v, want one entry for each key", s)
	}
}

func TestEvictUnlessKeepsWhatItsCallerWantsKept(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 5)
	put(t, c, 1, "same stripe", 6)
	load := c.Guard(1)
	c.EvictUnless(1, "a", func(v int) bool { return v == 5 })
	wantHit(t, c, "a", 5)
	wantMiss(t, c, "same stripe")
	if c.Valid(load) {
		t.Error("a load in progress was not voided")
	}
	c.EvictUnless(1, "a", func(int) bool { return true })
	wantHit(t, c, "a", 5)
	c.EvictUnless(1, "a", func(int) bool { return false })
	wantMiss(t, c, "a")
	c.Evict(1)
	wantMiss(t, c, "a")
}

func TestAKeptEntryIsVoidedByTheNextInvalidation(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 5)
	c.EvictUnless(1, "a", func(int) bool { return true })
	c.Evict(1)
	wantMiss(t, c, "a")
}

func TestEvictUnlessDoesNotKeepWhatAnInvalidationBesideItVoided(t *testing.T) {
	for _, tc := range []struct {
		name   string
		beside func(c *l1.Cache[string, int])
	}{
		{"evict", func(c *l1.Cache[string, int]) { c.Evict(1) }},
		{"evict key", func(c *l1.Cache[string, int]) { c.EvictKey(1, "a") }},
		{"evict unless", func(c *l1.Cache[string, int]) { c.EvictUnless(1, "b", func(int) bool { return true }) }},
		{"flush", func(c *l1.Cache[string, int]) { c.Flush() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCache(t, l1.Config[string, int]{})
			put(t, c, 1, "a", 5)
			put(t, c, 1, "b", 6)
			c.EvictUnless(1, "a", func(int) bool { tc.beside(c); return true })
			wantMiss(t, c, "a")
		})
	}
}

func TestEvictUnlessAsksOnlyAboutAnEntryThatHolds(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	asked := func(int) bool { t.Error("keep was asked"); return true }
	g := c.Guard(1)
	c.EvictUnless(1, "a", asked)
	if c.Valid(g) {
		t.Error("the stripe of an unknown key was not voided")
	}
	put(t, c, 1, "a", 1)
	c.Evict(1)
	c.EvictUnless(1, "a", asked)
}

// A kept entry is a new node under an old ticket. When ristretto drops the ticket, the node has to go.
func TestAKeptEntryIsStillDroppedToMakeRoom(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{MaxEntries: 64})
	for i := range 64 {
		put(t, c, uint64(i), i, i)
		c.EvictUnless(uint64(i), i, func(int) bool { return true })
	}
	for i := range 2000 {
		c.Put(c.Guard(uint64(i)), 1000+i, i, far)
		c.Settle()
	}
	if s := c.Stats(); s.Entries != 64 || c.PolicyCost() != 64 || s.Evicted == 0 {
		t.Errorf("Stats = %+v, ristretto's cost %d, want 64 entries and evictions", s, c.PolicyCost())
	}
}

func TestPutUnlessLeavesWhatItsCallerWantsLeft(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	five := func(v int) bool { return v == 5 }
	if !c.PutUnless(c.Guard(1), "a", 5, far, func(int) bool { t.Error("asked of a key without an entry"); return true }) {
		t.Fatal("refused where there is none")
	}
	if c.PutUnless(c.Guard(1), "a", 6, far, five) {
		t.Error("replaced what had to stay")
	}
	wantHit(t, c, "a", 5)
	if s := c.Stats(); s.Rejected != 0 {
		t.Errorf("%d rejected", s.Rejected)
	}
	if !c.PutUnless(c.Guard(1), "a", 7, far, func(int) bool { return false }) {
		t.Error("refused what could go")
	}
	wantHit(t, c, "a", 7)
	put(t, c, 1, "a", 5)
	c.Evict(1)
	if !c.PutUnless(c.Guard(1), "a", 8, far, five) {
		t.Error("a void entry has stayed")
	}
	wantHit(t, c, "a", 8)
}

func TestEvictIfFreesOneEntryAndVoidsNothing(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 5)
	put(t, c, 1, "same stripe", 6)
	load := c.Guard(1)
	c.EvictIf("a", func(v int) bool { return v != 5 })
	wantHit(t, c, "a", 5)
	c.EvictIf("a", func(v int) bool { return v == 5 })
	wantMiss(t, c, "a")
	wantHit(t, c, "same stripe", 6)
	if !c.Valid(load) {
		t.Error("a load in progress was voided")
	}
	c.Settle()
	if s := c.Stats(); s.Entries != 1 || s.Cost != 1 || c.PolicyCost() != 1 {
		t.Errorf("Stats = %+v, ristretto's cost %d, want 1 entry", s, c.PolicyCost())
	}
	c.EvictIf("never there", func(int) bool { t.Error("asked of a key without an entry"); return true })
}

func TestEvictIfLeavesWhatCameMeanwhile(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 5)
	c.EvictIf("a", func(int) bool { put(t, c, 1, "a", 6); return true })
	wantHit(t, c, "a", 6)
}
