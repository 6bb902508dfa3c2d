package l1_test

import (
	"fmt"
	"time"

	"github.com/layercache/layercache/l1"
)

var start = time.Now()

// now reads the process's monotonic clock.
func now() int64 { return int64(time.Since(start)) }

// soon is a deadline a minute from now.
func soon() int64 { return now() + int64(time.Minute) }

// idHash stands for a stable hash of a record's id, such as xxhash.
func idHash(id string) uint64 { return uint64(len(id)) }

func newExample() *l1.Cache[string, string] {
	c, err := l1.New(l1.Config[string, string]{MaxEntries: 1000})
	if err != nil {
		panic(err)
	}
	return c
}

func Example() {
	cache, err := l1.New(l1.Config[string, string]{MaxEntries: 1000})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close()

	id := "agent-1"
	hash := idHash(id)

	g := cache.Guard(hash) // before the load reads anything
	policy := "allow"      // the load
	cache.Put(g, id, policy, soon())

	e, ok := cache.Get(id, now())
	fmt.Println(e.Value, ok)

	cache.Evict(hash)
	_, ok = cache.Get(id, now())
	fmt.Println(ok)
	// Output:
	// allow true
	// false
}

func ExampleNew() {
	_, err := l1.New(l1.Config[string, []byte]{
		MaxCost: -1,
		Cost:    func(_ string, v []byte) int64 { return int64(len(v)) },
	})
	fmt.Println(err)
	// Output: l1: Config.MaxCost must be from 0 to 1125899906842624, got -1
}

func ExampleCache_Get() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "value", 100)
	_, before := cache.Get("a", 99)
	_, after := cache.Get("a", 100)
	fmt.Println(before, after)
	// Output: true false
}

func ExampleCache_Peek() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "value", now()-1) // past its deadline
	e, ok := cache.Peek("a")
	fmt.Println(e.Value, ok)
	// Output: value true
}

func ExampleCache_Put() {
	cache := newExample()
	defer cache.Close()
	g := cache.Guard(idHash("a"))
	cache.Evict(idHash("a")) // comes while the load runs
	fmt.Println(cache.Put(g, "a", "old", soon()))
	// Output: false
}

func ExampleCache_PutUnless() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "version 7", soon())
	fmt.Println(cache.PutUnless(cache.Guard(idHash("a")), "a", "version 6", soon(), func(v string) bool { return v > "version 6" }))
	e, _ := cache.Get("a", now())
	fmt.Println(e.Value)
	// Output:
	// false
	// version 7
}

func ExampleCache_Guard() {
	cache := newExample()
	defer cache.Close()
	g := cache.Guard(idHash("a"))
	fmt.Println(g == cache.Guard(idHash("a")))
	cache.Evict(idHash("a"))
	fmt.Println(g == cache.Guard(idHash("a")))
	// Output:
	// true
	// false
}

func ExampleCache_Valid() {
	cache := newExample()
	defer cache.Close()
	g := cache.Guard(idHash("a"))
	fmt.Println(cache.Valid(g))
	cache.Flush()
	fmt.Println(cache.Valid(g))
	// Output:
	// true
	// false
}

func ExampleCache_Evict() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "value", soon())
	cache.Evict(idHash("a"))
	_, ok := cache.Get("a", now())
	fmt.Println(ok, cache.Stats().Entries) // void, and still in memory
	// Output: false 1
}

func ExampleCache_EvictKey() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "value", soon())
	cache.EvictKey(idHash("a"), "a")
	_, ok := cache.Get("a", now())
	fmt.Println(ok, cache.Stats().Entries)
	// Output: false 0
}

func ExampleCache_EvictUnless() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "version 7", soon())
	// The authority's log says that version 7 is new; we have it already.
	cache.EvictUnless(idHash("a"), "a", func(v string) bool { return v >= "version 7" })
	_, ok := cache.Get("a", now())
	fmt.Println(ok)
	// Output: true
}

func ExampleCache_EvictIf() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "version 7", soon())
	// The authority has answered version 8, which is not to be kept.
	cache.EvictIf("a", func(v string) bool { return v < "version 8" })
	_, ok := cache.Get("a", now())
	fmt.Println(ok)
	// Output: false
}

func ExampleCache_Flush() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "value", soon())
	cache.Flush()
	_, ok := cache.Get("a", now())
	fmt.Println(ok)
	// Output: false
}

func ExampleCache_Stats() {
	cache := newExample()
	defer cache.Close()
	cache.Put(cache.Guard(idHash("a")), "a", "value", soon())
	cache.Get("a", now())
	cache.Get("b", now())
	s := cache.Stats()
	fmt.Println(s.Hits, s.Misses, s.Entries, s.Cost)
	// Output: 1 1 1 1
}

func ExampleCache_Close() {
	cache := newExample()
	cache.Close()
	cache.Close()
	fmt.Println(cache.Put(cache.Guard(idHash("a")), "a", "value", soon()))
	// Output: false
}
