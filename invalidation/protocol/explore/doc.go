// Package explore visits every state that a few small fleets can get into, and checks the coherence protocol's promises in
// each. It is a checker, not part of the library.
//
//	go test -v -run Interleaving ./invalidation/protocol/explore                                   # CI's sizes
//	go test -v -run Interleaving -timeout 2h ./invalidation/protocol/explore -explore.large        # larger ones
//	go test -v -run BrokenRule ./invalidation/protocol/explore                                     # what it finds when a rule is broken
//
// # What is real and what is a model
//
// Every decision of a process is taken by the shipped code: protocol.Receiver, Wait, Load and Joinable. Around it stand models: the
// partition's Redis state with the scripts as functions (redis.go), requests and answers on their way, the authority and its log, and of
// L1 one entry a key with its guard. The model of the scripts is driven side by side with the real scripts, on miniredis and on a real
// server, by one seeded sequence of commands, and every answer is compared (TestModelAnswersAsTheScriptsDo).
//
// # What is explored
//
// Each [World] has two processes, 1 or 2 keys, up to 3 versions, and a set of [Events] between which anything else may happen.
// A request, its execution by the server, and its answer are separate events, as are the halves of a load. The search is breadth first and
// ends when nothing new is left, so a counterexample is a shortest one, told step by step. A world whose result says "cut"
// was explored to a depth only. Every Result counts states, transitions, depth and the most faults that a run contained.
//
// Messages are worse than a real bus: every one ever published may arrive at any time, in any order, any number of times, or never, and this
// costs nothing. Processes may be as slow as they like: a pause is that nothing happens in one while time passes. Fill leases
// end at any time. What the fault budget pays for (up to 2 in one run) is the set [Faults].
//
// Time is counted in ticks, B is 1 to 3 of them, and ages stop where no decision tells them apart; so the number of renewals, ticks, loads and reads in
// a run is unbounded, and only versions, faults and what is under way at one time are bounded.
//
// # What is checked
//
//	I1  no L2 answer is older than an invalidation executed before; no load is
//	I2  no L1 hit is older than an invalidation its process has applied, nor than one it made or polled itself
//	I3  no L1 hit is older than an invalidation executed B ago
//	I4  no read is older than a Wait that had returned when it began
//	I5, I7  are I1 to I4 with failovers and lost keys among the events
//	I6  no answer is older than its token; with an authority that answers from behind, none is below a fence that L2 told of
//	I8  is that hits need a lease and a sound guard; that a load with no such answer ends in an error
//
// L1 is judged in every state, and between any two actions that an event asks for, as a reader beside it would find it; the world "hits in two
// reads" takes lease and entry apart.
//
// # What is left out
//
//   - Expiry of values and of fences. A lost value or fence stands for it; with an authority that is behind, fences do not end.
//   - Clocks that differ in rate: Margin is for that. They need not agree on the time, and do not here.
//   - A request that its sender has given up is executed before that or never, except fills, which may be executed at any later time.
//   - A process that crashed leaves no registration behind. It would only make a Wait longer.
//   - GapWait is 0: a gap may be given up at once. Renew actions are not followed: a renewal may be sent at any time anyway.
//   - More than one partition, tags, ServeStale, positions as tokens, two primaries at one time, other protocol configurations,
//     more than 64 ids but for the message it sends, evictions of L1, a full Redis, the relay and its outbox.
//   - Ristretto, locks, atomics and go-redis: the race detector and the tests with servers look at those.
//   - A visited state is remembered by a 64-bit hash. See visited for how likely it is that one was missed.
//
// # How it is known to notice
//
// [Flaw] lists rules that can be broken, in the models or around the shipped functions. TestEveryBrokenRuleHasACounterexample shows a run that goes wrong
// for each. Some rules were taken away and no run went wrong, because another rule covers them: the fence at the fill (what raises
// it voids the lease), the epoch of the fill (a lease is named by its epoch), not keeping an L2 answer of another epoch (the old
// epoch's lease ends before it can be too old), and no acks for an invalidation of everything (its epoch is young until the leases have ended).
package explore
