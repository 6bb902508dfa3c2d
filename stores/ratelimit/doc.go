// Package ratelimit counts what agents do and says when it is too much, exactly across processes or, by leases, in
// nanoseconds.
//
//	backend, err := ratelimit.NewRedis(ratelimit.RedisConfig{Client: client, Tenant: tenant})
//	store, err := ratelimit.New(ratelimit.Config{Backend: backend, Processes: 4})
//	defer store.Close(ctx)
//	limit := ratelimit.Limit{Max: 100, Window: time.Minute}
//	r, err := store.Allow(ctx, "agent:a1", 1, limit)      // one round trip; r.Allowed, r.RetryAfter
//	v, err := store.AllowAll(ctx,                         // all or none, one round trip
//		ratelimit.Demand{Key: "agent:a1", N: 1, Limit: limit},
//		ratelimit.Demand{Key: "team:t1", N: 1, Limit: ratelimit.Limit{Max: 50, Window: time.Second, Algorithm: ratelimit.GCRA}})
//	lease, err := store.Lease(ratelimit.LeaseConfig{Key: "tenant:x", Limit: limit})
//	r, err = lease.Allow(ctx, 1)                          // no round trip, no allocation, no lock
//	total, err := store.Increment(ctx, "agent:a1", 1, time.Minute) // the bare counter; Current, Reset
//
// # What is counted
//
// A Fixed window begins with the first hit and no later hit moves its end; up to twice Max can be allowed around an end.
// GCRA, the generic cell rate algorithm of ITU-T I.371 in its form "virtual scheduling", spreads Max over the window and
// allows a burst; fractions of a microsecond are kept, so no rate is rounded. Time is the backend's alone: in Redis the
// server's. Counters are exact to 2^63-1. What is denied spends nothing. The end of a window and what GCRA keeps are moments of
// that clock: when it is set back, keys that are denied stay so for as long, and RetryAfter says so. After a Burst or a Max that
// shrinks, GCRA denies until what was spent under the larger one is back, and says that too.
//
// In Redis a window is the integer aa:ratelimit:<key> of the original system, with a time to live in milliseconds, and GCRA
// has aa:ratelimit-gcra:<key>, the text <us since 1970>:<fraction>/<Max> of the theoretical arrival time. Every call is one
// script that is sent once: after readthrough.ErrUnavailable it is unknown whether it ran. Reset is one DEL, sent once too, and
// two on a Redis Cluster whose keys are not Tagged. A counter that has lost its time to live gets the window of the next hit.
// Something else under a key is ErrNotCounter and stays. A replica is unavailable, also for an answer that needs no write: a primary
// that was demoted while its clients stayed with it may be behind without any limit.
//
// # Memory
//
// This process remembers nothing but denials: a key that was denied is denied without a round trip until it can be allowed
// again, at most for Config.Remember (250 ms). Counted from before the request, that is never longer than the backend would
// deny, but for permits that came back early: a Reset by another process or program, or permits that a lease has returned, are
// seen Remember later. Reset in this process ends it at once. A call with another Limit asks.
//
// # Leases
//
// A lease takes a block of permits from the shared fixed window in one step and one round trip, and spends them locally. A
// permit is counted before it is spent, so leases and Allow together never spend more than Max of a window's permits, and
// none is spent twice. Its block is void when the window ends, by this process's monotonic clock from before the request
// was sent, which may run a thousandth slower than the backend's. So it may be void before its window ends; what is left then
// goes back, but for windows of at most a second, for which it would come too late. What can be allowed in a window on top of
// Max are permits of the window before, and never more than Processes × Block, or × the largest call if that is more:
//
//   - a lease looks at the clock for every fourth permit, and a timer makes the block void. A process that was stopped over
//     the end of a window can hand out three more for each goroutine that is in Allow at that moment;
//   - after a Reset by another process, FLUSHALL, eviction of the counter, or a failover that loses it, leases may spend what
//     they hold of the old window;
//   - after the backend's clock was set forward, or this host was suspended (its monotonic clock stands still then), the same,
//     for as long as that was.
//
// Permits that lie in one process are missing in another: at most a block each, and near the limit less, since a block is at
// most 1/(2·Processes) of what remains. What lies unused (LeaseConfig.Idle), or at Close, goes back, to its own window only;
// what lies unused while the backend is known to be out is kept until it answers.
// A process that is killed takes its block with it until the window ends. More is asked for while half a block is left, so a
// caller waits for the first block of a window, when permits go faster than a round trip brings them, and near the limit.
//
// # Rebuildable or authoritative
//
// The counters are authoritative: nothing else knows what was spent. Eviction, FLUSHALL and a failover that loses writes end
// the window early: the next hit begins one, and up to Max more is allowed. Use a Redis that does not evict keys with a
// time to live (noeviction) where that matters. Memory is lost with its process.
//
// # Concurrency
//
// Store, Lease, Memory and Redis are safe for concurrent use, Close included. A Store has no goroutine of its own; those of
// leases end within two of Config.Timeout and Close waits for them. Denials are bounded by Config.MaxDenied.
//
// # Failure
//
// A failure is never a count: Increment, Current and Reset are readthrough.ErrUnavailable. Allow, AllowAll and leases answer by
// Config.OnFailure, marked Degraded:
//
//	Deny        not allowed, beside readthrough.ErrUnavailable; the default
//	AllowAny    allowed, no error
//	LocalShare  each process allows its 1/Processes of the limit, counted in its memory; no error. What Redis had counted is
//	            not known there: in the window of the loss up to Max more is allowed. It counts Config.MaxDenied keys at
//	            most, of either algorithm, and denies others until some of those are over
//
// Leases first spend what they hold, and denials in memory are answered, whoever asks. Where the backend has to be asked, the
// caller's own cancellation, a deadline that had passed before, and errors that are no outage always deny. While the backend is
// known to be out, calls fail at once; one is let through after 50 ms, doubling to 1 s however many fail together. One failure
// makes it known, or three deadlines of callers in a row. A deadline sooner than a sixteenth of Config.Timeout is the caller's own
// affair, whatever the state of the backend: it makes nothing known and lengthens no pause. Where all callers have such, a
// backend that does not answer is never known to be out, or no longer than a pause, and each call waits for its own deadline.
//
// No call of the backend takes longer than Config.Timeout. Lease.Allow may wait for nine of them, if its context lets it, where
// others take what they bring, and for seventeen where windows are so short that what they bring goes back; Reset makes one more
// for each lease of the key that holds something. A call whose answer was lost may have been counted.
//
// # What it refuses to do
//
// It does not wait for permits, queue callers, retry, log, or list keys. There is no GCRA by lease: there is no window to
// bind a block to. Several keys in one call need RedisConfig.Tagged on a Redis Cluster, and then all keys are in one slot.
package ratelimit
