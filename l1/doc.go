// Package l1 is a bounded in-process cache that can never show an entry older than an invalidation it has applied.
//
//	cache, err := l1.New(l1.Config[string, *Policy]{MaxEntries: 10_000})
//	if err != nil {
//		return err
//	}
//	defer cache.Close()
//
//	g := cache.Guard(hash)                    // before anything is read
//	p, err := load(ctx, id)                   // slow; an Evict may come meanwhile
//	cache.Put(g, id, p, deadline)             // refused if it did
//	if e, ok := cache.Get(id, now); ok {      // checks the guard again, at the read
//		use(e.Value)
//	}
//	cache.Evict(hash)                         // every entry and load of that stripe is void from here on
//
// # How it works
//
// Every entry carries the [Guard] that was taken before its load: the epoch of its stripe and the flush epoch. Evict
// moves the stripe's epoch, Flush moves the flush epoch, and a read compares the entry's guard with the epochs as they
// are at that moment. A void entry may stay in memory for a while; it cannot be read.
//
// What readers see is a hash table of ours, read without locks. Which entries are worth keeping is decided by ristretto
// (TinyLFU admission, sampled LFU eviction), which holds a ticket for each entry and tells when one has to go. It hears
// of every miss and of a sample of the hits. Its writes are queued, dropped and reordered; that can cost an entry, never
// show one: see put.go for how an entry's ticket is kept true.
//
// Keys are hashed with a seed of this cache and compared on a hit. The hash given to Guard and Evict is another one: a
// stable hash of the record's id, the same in every process, because invalidations arrive as hashes.
//
// # Bounds
//
// The cache is bounded by cost and by entries. An entry is charged at least MaxCost/MaxEntries, rounded up, so that the
// one bound ristretto knows keeps both. Evictions run behind the Put that caused them; a Put that finds the cache more
// than an eighth over its bound waits for them. At the bound an entry is dropped, old or new, and counted in [Stats].
//
// # Concurrency
//
// Every method is safe for concurrent use, Close too, beside any other method and more than once. Get and Peek take no
// lock and allocate nothing when K holds no pointers other than strings. User code, Config.Cost and the functions given to
// EvictUnless and EvictIf, runs on the caller's goroutine without a lock held and may call the cache; the one given to
// PutUnless runs with a lock held and may not.
// Ristretto's two goroutines are ended by Close.
//
// # Failure
//
// Nothing here fails but New. After Close, Get and Peek miss, Put answers false, the rest does nothing.
//
// # What it refuses to do
//
// It has no clock (the caller reads one and passes it in), no expiry goroutine (an expired entry is not shown, and goes
// when its room is needed), no loader, and no way to store a value without a guard.
package l1
