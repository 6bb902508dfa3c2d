// Package invalidation tells every process what changed in a namespace, and each process until when it may trust what it
// holds in memory.
//
// A cache joins a bus as a Target. After the authority was written, the writer invalidates, and waits if it wants to know
// that no process answers from before the change any more:
//
//	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client}) // one for each process
//	bus, err := link.Join(invalidation.Membership{Store: store, Target: cache})
//	…
//	if bus.Lease(part).Valid(invalidation.Now()) {
//		// only now look at the entry and at its guard
//	}
//	…
//	receipt := bus.Invalidate(ctx, ids, asOf) // after the commit
//	err = receipt.Wait(ctx)                   // nil: in force in every process
//
// Two implementations pass the same conformance suite: Redis over a Link, and Local within one process, which bounds other
// processes on the same database by polling the authority's log.
//
// # What is promised
//
// A Lease that is valid at an instant was given by a renewal sent at most B before it, and everything that the server had
// executed when it answered that renewal has been voided in the Target. So an answer from memory is at most B older than an
// executed invalidation, whatever happens to messages, connections or a stopped process, and without synchronised clocks.
// When Wait returns nil, no read that begins afterwards returns anything older, in any process.
// Package protocol holds the rules as pure functions; what is here moves bytes and reads clocks.
//
// # Concurrency
//
// Everything exported is safe for concurrent use. A Link runs four goroutines, whatever the number of its members: one
// receives messages, one keeps the channels subscribed, one renews leases, one delivers what is pending; and one for each
// member with a Log, which polls it. Calls to Redis run in goroutines of their own, each bounded by LinkConfig.CallTimeout. Link.Close
// ends them all. Methods of the Target are called from these goroutines and from callers of Invalidate, some with locks of
// the bus held: they must be quick and must not call the bus.
//
// # Failure
//
// Without Redis a lease ends by itself, at most B after its renewal was sent, and Renew fails at once until Redis is found to
// be back. An invalidation that Redis did not execute is pending: it is tried again until it succeeds, and L2 is not asked
// for its ids meanwhile. At most 1,024 wait in each partition; one more, and they become one invalidation of everything
// (nothing is lost; layercache.invalidation{mode="pending"} counts them). Close tries once more and reports what is left.
// A lost message is found by its number and costs a flush of L1, counted as layercache.bus.gap; at most 1,024 messages are
// kept behind a missing one. Lost, rolled-back or failed-over Redis state shows as another epoch and costs a flush.
// A namespace made with another configuration is not trusted at all (state Mismatch). Health tells all of it.
//
// # What it refuses to do
//
// It does not carry values, keys or tenants to other processes: messages hold hashes. It keeps no log in Redis and replays
// nothing. It does not take the word of a message for the epoch, nor an answer's arrival for the time it was asked. It does
// not order invalidations of different partitions, and an invalidation of everything is not atomic across them.
package invalidation
