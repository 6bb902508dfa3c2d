// Package storetest has the conformance suite of each store's backends, for the backends of this module and for those of
// others:
//
//	func TestMine(t *testing.T) {
//		storetest.Sessions(t, func(t testing.TB) session.Backend { return mine.Open(t) }) // a fresh one each time
//	}
//
// A suite needs nothing but the backend and real time. It waits for what must happen, and asserts no upper bound on how long
// that takes.
//
// New opens all stores in memory, for the tests of a program that uses them. What its user should survive can be made to
// happen:
//
//	b := storetest.New(t)
//	run(b.Backend)                            // the program under test; b.Policies() and so on are the stores
//	b.Elsewhere().Policies().Put(ctx, id, doc) // another process on the same records
//	b.Stale()                                 // the program does not hear of what is written Elsewhere
//	b.Fresh()                                 // now it does
//	b.Slow(time.Second)                       // each call that reaches the records takes that much longer
//	b.Down(err)                               // each call is readthrough.ErrUnavailable
//	b.Up()
//
// It uses no network and nothing but this process's memory, and is deterministic in a synctest bubble.
package storetest
