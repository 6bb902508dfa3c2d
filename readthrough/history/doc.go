// Package history checks what caches have answered against what was promised.
//
//	h := history.New()
//	w := h.Write("k", 7)          // before the authority is written
//	w.Committed()                 // the authority holds version 7
//	w.Executed()                  // Redis has executed the invalidation
//	w.InForce()                   // Wait has returned nil
//	r := h.Read("k", history.Read{})
//	r.Answered(6)                 // or r.Failed()
//	report := h.Check(bound)
//
// A record's versions rise from 1; 0 is an absence. Check looks at four promises, which coherence calls I3, I4, I6 and
// linearizability:
//
//   - a read is not answered below the newest version whose invalidation was executed the bound before it began;
//   - it is not answered below the newest version that was in force when it began;
//   - it is not answered below the version of its token;
//   - the linearizable reads and the writes of a record are a linearizable register, which porcupine decides (A. Athalye,
//     after Wing and Gong, and Lowe).
//
// A version that was not yet being written when a read ended is one too: it means that the history is wrong. Reads that failed
// promise nothing.
//
// A History is safe for concurrent use until Check. Times are of this process's monotonic clock, in a synctest bubble of the
// bubble's. Recording takes a lock for some ten nanoseconds.
package history
