// Package readthrough is the cache that users hold: L1 in the process, L2 in Redis, a loader behind both, and a bus that
// keeps every process coherent.
//
//	users, err := readthrough.New(readthrough.Config[string, User]{
//		Name:   "users",
//		Redis:  client, // nil: one process
//		Loader: readthrough.LoaderFunc[string, User](loadUser), // ErrNotFound or sql.ErrNoRows: there is none
//	})
//	defer users.Close(ctx)
//	u, err := users.Get(ctx, "u1")            // L1: no round trip, no allocation
//	many, err := users.GetMany(ctx, ids)      // one round trip and one call of a BatchLoader for what L1 lacks
//	err = db.Save(ctx, changed)               // the authority is written first,
//	err = users.Invalidate(ctx, "u1")         // then this returns when the change is in force in every process
//	receipt, err := users.InvalidateAsync(ctx, "u1")
//	u, err = users.Get(ctx, "u1", readthrough.AtLeast(receipt.Token())) // nothing older than the change, anywhere
//
// # What it keeps
//
// When Invalidate returns nil, no Get that begins afterwards, in any process, is answered from before the change. Before it
// returns, and whatever fails, an answer of L1 is at most Config.Bound older than an invalidation that Redis has executed.
// A value that was read before an invalidation is stored neither in L2 nor in L1 after it. One load of a key runs per
// process and about one per fleet; no caller of a load can harm another.
//
// Invalidate takes milliseconds when every process acknowledges. It waits up to Bound where it must: the first time after
// Redis is new, was emptied or failed over, in the first Bound of a process's life, for a process that died, and always
// without Redis but with a Log. With a context that ends before, it is a *NotInForceError; the change goes on.
//
// # Concurrency
//
// A Cache is safe for concurrent use, Close included. Values are shared between callers and must not be changed, unless
// Config.Clone copies them. Loads run on goroutines of their own with a deadline of their own, at most Config.MaxLoads at
// once, of which one key has a quarter; the next one waits for a slot within its deadline and is then ErrUnavailable. A caller
// leaves when its context ends and the load goes on. Loader, codec, Cost, Clone, ID and ParseID run without a lock held; a panic
// in any of them is an error or a miss, never the end of the process. A loader may read the cache, but each level takes a slot.
//
// # Failure
//
// A miss, an absence and a failure are three things. Absence is what the authority says, and nothing else is ErrNotFound.
//
//	                       FailClosed                             ServeStale(max)
//	all well               L1, L2, authority                      the same
//	Redis out              L1 until the lease ends (at most B),   the same
//	                       then the authority
//	authority out          L1 and L2, then ErrUnavailable         L1 and L2, then an entry at most max past its end
//	both out               L1 until the lease ends,               then an entry at most max past its lease or end,
//	                       then ErrUnavailable                    marked Stale
//	entry invalidated      never served                           never served
//	absence past its end   ErrUnavailable                         ErrUnavailable: an outage is not "none"
//	authority too old      ErrUnavailable                         never served, the entry is invalidated
//	value does not decode  a miss: counted, deleted, replaced     the same
//	Redis without memory   answers as ever, nothing stored        the same
//	other configuration    authority; Ready: ErrConfigMismatch    the same
//
// An invalidation that Redis does not execute is pending: the receipt says so, this process reads the authority for its
// keys until it is delivered, Wait goes on, and Close tries once more. A Wait that ends early is a *NotInForceError. Without
// a lease a hot key costs two loads at a time, since an answer from before a caller began may not be joined.
//
// ServeStale asks the authority again for an entry one second after its load has failed, not before. A load that has not ended by
// its caller's deadline counts as failed for that second, and goes on. So of callers who have less time than LoadTimeout those wait
// until their deadline who come before the first one's has passed, and from then on one a second; they have the stale entry too.
//
// # Readers of another system
//
// Config.Mirror keeps a copy of each record under keys of theirs, written and deleted together with L2's own and under the
// same rules; see Mirror for what its readers do not have.
//
// # What it refuses to do
//
// There is no Set: what is not in the authority is not in the cache. GetMany is no snapshot. Invalidate without keys does
// nothing, InvalidateAll is a verb of its own. It caches no failure, retries no loader but once, below a fence, and reads no
// replica of Redis.
package readthrough
