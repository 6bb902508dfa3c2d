package l1_test

import (
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/layercache/layercache/l1"
)

// The traps of ristretto v2.4.2, one test each. The tests named TestRistretto… pin the behaviour itself, so that a
// version that changes it says so; it is no failure of ours then, but put.go may be simplified.

func TestAPutIsSeenWhileRistrettoHasItQueued(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	release := releasing(t, c.Stall("a"))
	put(t, c, 1, "a", 1)
	wantHit(t, c, "a", 1)
	release()
	c.Settle()
	wantHit(t, c, "a", 1)
}

func TestPutAnswersFalseWhenRistrettoDropsItsSet(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	release := releasing(t, c.Stall("a"))
	c.FillQueue()
	if c.Put(c.Guard(1), "a", 1, far) {
		t.Error("Put answered true")
	}
	wantMiss(t, c, "a")
	if s := c.Stats(); s.Entries != 0 || s.Cost != 0 || s.Rejected != 2 { // the stall's own ticket is one
		t.Errorf("Stats = %+v, want nothing held and 2 rejected", s)
	}
	release()
	c.Settle()
	wantMiss(t, c, "a")
}

func TestTheSecondOfTwoQuickPutsOfANewKeyWins(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	release := releasing(t, c.Stall("a"))
	put(t, c, 1, "a", 1)
	second := make(chan bool)
	go func() { second <- c.Put(c.Guard(1), "a", 2, far) }()
	until(t, "the second value is seen", func() bool { e, ok := c.Get("a", 0); return ok && e.Value == 2 })
	release()
	if !<-second {
		t.Fatal("the second Put was refused")
	}
	c.Settle()
	wantHit(t, c, "a", 2)
	if s := c.Stats(); s.Entries != 1 || c.PolicyCost() != 1 || s.Rejected != 1 { // the stall's own ticket
		t.Errorf("Stats = %+v, ristretto's cost %d, want 1 entry, kept once", s, c.PolicyCost())
	}
}

func TestAKeyPutAgainRightAfterItsEvictionStays(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{})
	for round := range 10 {
		keys := 2000 // fewer than stripes: they do not void each other
		for i := range keys {
			key := round*keys + i
			put(t, c, uint64(i), key, 1)
			c.EvictKey(uint64(i), key)
			put(t, c, uint64(i), key, 2)
			put(t, c, uint64(i), key, 3)
		}
		c.Settle()
		for i := range keys {
			wantHit(t, c, round*keys+i, 3)
		}
	}
}

func TestRistrettoKeepsTheFirstOfTwoQueuedSets(t *testing.T) {
	c := newRistretto(t)
	held := c.hold()
	c.Set(1, "first", 1)
	c.Set(1, "second", 1)
	held.release()
	c.Wait()
	if v, _ := c.Get(1); v != "first" {
		t.Errorf("ristretto answers %q; it used to keep the first", v)
	}
}

func TestNoGetHitsAfterEvictKeyReturnedThoughThePutIsQueued(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	release := releasing(t, c.Stall("a"))
	put(t, c, 1, "a", 1)
	done := make(chan struct{})
	go func() { c.EvictKey(1, "a"); close(done) }()
	until(t, "the key misses", func() bool { _, ok := c.Get("a", 0); return !ok })
	release()
	for gone := false; !gone; {
		select {
		case <-done:
			gone = true
		default:
		}
		wantMiss(t, c, "a")
	}
	c.Settle()
	wantMiss(t, c, "a")
	if s := c.Stats(); s.Entries != 0 || c.PolicyCost() != 0 {
		t.Errorf("Stats = %+v, ristretto's cost %d, want nothing held", s, c.PolicyCost())
	}
}

func TestRistrettoHitsAfterDel(t *testing.T) {
	c := newRistretto(t)
	before := c.hold()
	c.Set(1, "a", 1)
	between := c.hold()
	c.Del(1)
	before.release()
	<-between.reached // the Set is applied, the Del is queued
	_, hit := c.Get(1)
	between.release()
	if !hit {
		t.Error("ristretto's Del is in force at once now")
	}
}

// Ristretto's Clear, which is not atomic, is not used.
func TestFlushIsAtomicForReadersAndDoesNotWaitForRistretto(t *testing.T) {
	const n = 1000
	c := newCache(t, l1.Config[int, int]{})
	for i := range n {
		put(t, c, uint64(i), i, i)
	}
	c.Settle()
	release := releasing(t, c.Stall(0))
	c.Flush()
	for i := range n {
		wantMiss(t, c, i)
	}
	release()
}

func TestRistrettoClearIsNotAtomic(t *testing.T) {
	var c *ristretto.Cache[uint64, string]
	var hits int
	c, err := ristretto.NewCache(&ristretto.Config[uint64, string]{
		NumCounters: 1000, MaxCost: 100, BufferItems: 64, IgnoreInternalCost: true,
		OnEvict: func(i *ristretto.Item[string]) {
			if _, ok := c.Get(i.Key + 1); i.Key == 1 && ok { // another shard
				hits++
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Set(1, "a", 1)
	c.Set(2, "b", 1)
	c.Wait()
	c.Clear()
	if hits != 1 {
		t.Error("ristretto's Clear has become atomic")
	}
}

func TestCloseBesideEveryOtherCall(t *testing.T) {
	for range 100 {
		c, err := l1.New(l1.Config[int, int]{MaxEntries: 64})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		start := make(chan struct{})
		for _, call := range []func(i int){
			func(i int) { c.Get(i, 0) },
			func(i int) { c.Peek(i) },
			func(i int) { c.Put(c.Guard(uint64(i)), i, i, far) },
			func(i int) { c.EvictKey(uint64(i), i) },
			func(i int) { c.EvictUnless(uint64(i), i, func(int) bool { return true }) },
			func(i int) {
				if i%50 == 0 {
					c.Flush()
				}
			},
			func(i int) { c.Stats() },
			func(i int) {
				if i == 100 {
					c.Close()
				}
			},
			func(i int) {
				if i == 110 {
					c.Close()
				}
			},
		} {
			wg.Go(func() {
				<-start
				for i := range 300 {
					call(i)
				}
			})
		}
		close(start)
		wg.Wait()
		if s := c.Stats(); s.Entries != 0 || s.Cost != 0 {
			t.Fatalf("Stats after Close = %+v, want nothing held", s)
		}
	}
}

func TestCloseWaitsForReadersThatAreInRistretto(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{})
	get, leave := c.EnterPolicy()
	leave = releasing(t, leave)
	g := c.Guard(1)
	closed := make(chan struct{})
	go func() { c.Close(); close(closed) }()
	until(t, "Close has begun", func() bool { return !c.Valid(g) })
	for i := range 200_000 {
		get(i)
	}
	select {
	case <-closed:
		t.Error("Close returned while a reader was in ristretto")
	default:
	}
	leave()
	<-closed
}

func TestAPutWithAPastDeadlineHidesTheOldValue(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	put(t, c, 1, "a", 1)
	c.Put(c.Guard(1), "a", 2, -1)
	wantMiss(t, c, "a")
}

func TestRistrettoIgnoresASetWithANegativeTTL(t *testing.T) {
	c := newRistretto(t)
	c.Set(1, "old", 1)
	c.Wait()
	c.SetWithTTL(1, "new", 1, -time.Second)
	c.Wait()
	if v, _ := c.Get(1); v != "old" {
		t.Errorf("ristretto answers %q; it used to leave the old value", v)
	}
}

func TestAnEntryCostsWhatItsOwnerSays(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{MaxCost: 1000, MaxEntries: 1000, Cost: func(int, int) int64 { return 10 }})
	for i := range 100 {
		put(t, c, uint64(i), i, i)
	}
	c.Settle()
	for i := range 100 {
		wantHit(t, c, i, i)
	}
	if s := c.Stats(); s.Cost != 1000 || c.PolicyCost() != 1000 || s.Evicted != 0 {
		t.Errorf("Stats = %+v, ristretto's cost %d, want 1000 and nothing evicted", s, c.PolicyCost())
	}
}

func TestKeysThatCollideAreToldApart(t *testing.T) {
	c := newCache(t, l1.Config[string, int]{})
	if !c.PutAs("a", c.Guard(2), "b", 2, far) {
		t.Fatal("refused")
	}
	wantMiss(t, c, "a")
	if _, ok := c.Peek("a"); ok {
		t.Error("Peek(a) showed b")
	}
	c.EvictUnless(1, "a", func(int) bool { t.Error("keep was asked about b"); return true })
	put(t, c, 1, "a", 1)
	wantHit(t, c, "a", 1)
	c.Settle()
	wantHit(t, c, "a", 1)
	if s := c.Stats(); s.Entries != 1 || c.PolicyCost() != 1 {
		t.Errorf("Stats = %+v, ristretto's cost %d, want 1 entry", s, c.PolicyCost())
	}
}

func TestAnUpdateBeyondMaxCostIsRefused(t *testing.T) {
	c := newCache(t, l1.Config[string, int64]{MaxCost: 100, Cost: func(_ string, v int64) int64 { return v }})
	put(t, c, 1, "a", 10)
	c.Settle()
	if c.Put(c.Guard(1), "a", 101, far) {
		t.Error("Put answered true")
	}
	wantHit(t, c, "a", 10)
	if s := c.Stats(); s.Rejected != 1 || s.Cost != 10 {
		t.Errorf("Stats = %+v, want 1 rejected, cost 10", s)
	}
}

func TestUpdatesThatRaiseTheCostsStayWithinMaxCost(t *testing.T) {
	c := newCache(t, l1.Config[int, int64]{MaxCost: 100, Cost: func(_ int, v int64) int64 { return v }})
	for _, cost := range []int64{10, 90, 50, 100, 10} {
		for key := range 10 {
			c.Put(c.Guard(uint64(key)), key, cost, far)
		}
		c.Settle()
		if s := c.Stats(); s.Cost > 100 || s.Cost != c.PolicyCost() || s.Entries == 0 {
			t.Errorf("after updates to %d: Stats = %+v, ristretto's cost %d, want at most 100", cost, s, c.PolicyCost())
		}
	}
}

func TestRistrettoAcceptsAnUpdateBeyondMaxCost(t *testing.T) {
	c := newRistretto(t)
	c.Set(1, "a", 1)
	c.Wait()
	c.Set(1, "b", 1000)
	c.Wait()
	if v, ok := c.Get(1); !ok || v != "b" || c.RemainingCost() >= 0 {
		t.Error("ristretto bounds updates now")
	}
}

func TestUserCodeMayCallTheCache(t *testing.T) {
	var c *l1.Cache[string, int]
	c = newCache(t, l1.Config[string, int]{Cost: func(key string, v int) int64 {
		if key == "a" {
			put(t, c, 2, "b", v+1)
			c.EvictKey(3, "c")
			c.Flush()
			c.Get("b", 0)
			put(t, c, 2, "b", v+1)
		}
		return 1
	}})
	g := c.Guard(1)
	if c.Put(g, "a", 1, far) {
		t.Error("Put did not notice the Flush of its cost function")
	}
	wantHit(t, c, "b", 2)
	c.EvictUnless(2, "b", func(int) bool { put(t, c, 4, "d", 4); c.EvictKey(2, "b"); return false })
	wantMiss(t, c, "b")
	wantHit(t, c, "d", 4)
}

// bareRistretto is a small ristretto cache whose worker can be held.
type bareRistretto struct {
	*ristretto.Cache[uint64, string]
	holds chan hold
}

type hold struct{ reached, resume chan struct{} }

func (h hold) release() { close(h.resume) }

func newRistretto(t *testing.T) *bareRistretto {
	t.Helper()
	b := &bareRistretto{holds: make(chan hold, 8)}
	c, err := ristretto.NewCache(&ristretto.Config[uint64, string]{
		NumCounters: 1000, MaxCost: 100, BufferItems: 64, IgnoreInternalCost: true,
		OnReject: func(i *ristretto.Item[string]) {
			if i.Value == "hold" {
				h := <-b.holds
				close(h.reached)
				<-h.resume
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b.Cache = c
	return b
}

// hold queues an item, too costly to be admitted, at which the worker waits for release.
func (b *bareRistretto) hold() hold {
	h := hold{reached: make(chan struct{}), resume: make(chan struct{})}
	b.holds <- h
	b.Set(1<<40, "hold", 1<<40)
	return h
}
