// Package runlog keeps what happened in each run of an agent: events under numbers without holes, read in pages and followed
// live.
//
//	backend, err := runlog.NewRedis(runlog.RedisConfig{Client: client})
//	log, err := runlog.New(runlog.Config{Backend: backend, Link: link}) // or &runlog.Memory{} without Redis
//	defer log.Close(ctx)
//	event, err := runlog.NewEvent(runlog.TextDelta, delta)    // has an id: appending it again is harmless
//	envelope, err := log.Append(ctx, run, event)              // its number is envelope.Seq
//	envelopes, err := log.AppendBatch(ctx, run, events)       // all or none, one round trip
//	page, err := log.ListAfter(ctx, run, cursor, 100)         // page.Next is the next cursor
//	for envelope, err := range log.Follow(ctx, run, cursor) { // those there are, then those that come, until the run ends
//		…
//		save(envelope.Cursor()) // another process goes on from here
//	}
//	last, err := log.Last(ctx, run)
//	session, err := log.Session(ctx, run)
//	err = log.Delete(ctx, run)
//	found, err := log.Import(ctx, runlog.Original{Client: client}, run) // what the original system has written
//
// # What it keeps
//
// An event is stored when Append returns, under the next number of its run, from 1. Appenders in any number of processes get
// numbers without holes, each caller's in its order. The bytes of an event are those that were appended. An id that a run
// holds is never stored again: Append answers its first envelope, whatever the bytes are this time. An id is forgotten with
// its event, and one that an import has brought twice with the first of the two: appended again, it is stored again then.
//
// A run ends with RunCompleted, RunFailed or RunCancelled. A new event after it is ErrEnded, since followers have left.
//
// The session id is that of the first RunStarted that names one, and is on that envelope and on all after it.
//
// # Retention
//
// A run keeps its last MaxEvents events, and at most a 64th more; up to 64 events more while it has some that were appended
// under a larger MaxEvents. Events older than MaxAge go with an append, an eighth of MaxAge later at most; a run that nobody
// appends to goes after MaxAge, one that has ended after KeepAfterEnd. Where many thousands have to go, an append takes out about
// 10,000 from Redis, which is not held up, and later ones the rest. Every key has an expiry at any time. Readers never pass over a
// number silently: what is not there is a *TrimmedError, what cannot be read a *DecodeError, and both say where to go on.
//
// # What Redis and memory hold
//
// Redis is the authority. A run is {runs:<run>}:events, a stream; …:meta, a hash; …:ids, a sorted set of the event ids by the number of
// their entry. An entry of the stream has the id <seq>-0. It is an event, with its envelope as JSON in the field data, or a block of
// up to 64 events and some 32 KiB that a batch has brought, up to the one with that number: the fields ids, lengths, between and
// events have the parts of their envelopes. Who reads one of them is sent all. Every change is one script. The hash tag is the run's
// own, so a Redis Cluster needs nothing else. Appends tell …:ch the new number; a message that is lost costs its followers up
// to Poll. The followers of a process share one connection.
//
// Memory holds session ids, which never change while a run lives: another process's Delete is told over the bus, and a
// Delete whose process is killed between its two steps leaves a session id elsewhere for at most TTL. It also holds the last
// event of runs this process asked for or appended to, if it has no more than 16 KiB: at most TailTTL old, which is at most
// Bound, and never behind this process's own appends.
//
// FLUSHALL loses every run. A cursor of before is then ErrGone, or ErrRestarted once the run is appended to again, and so for
// followers; a plain number that the new run has not reached is ErrRestarted too. An append begins the run anew at 1. Eviction
// of one of a run's keys is ErrDamaged or a *TrimmedError, never an empty answer: use the policy noeviction. A failover to a
// replica that lags may lose the last appends, as Redis says; their numbers are then given again.
//
// # Failure
//
// Everything fails closed: with Redis out, every verb is readthrough.ErrUnavailable, except that Session and Last answer from
// memory while they may. An unknown run is an empty page and readthrough.ErrNotFound. After an append that is
// ErrUnavailable it is unknown whether the events are stored: append the same Events again. A follower goes on trying for
// Patience.
//
// # Concurrency
//
// Store, Redis and Memory are safe for concurrent use. What they answer belongs to the caller. The body of a loop over Follow
// runs on the caller's goroutine; Close waits for it to come back to the loop, and for the writes under way.
//
// # What it refuses to do
//
// No event is changed, moved or taken out. It does not read the original's layout but to import it, and writes nothing there:
// a run that programs of the original still append to has to end before it is imported.
package runlog
