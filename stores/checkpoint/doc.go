// Package checkpoint keeps the state of an agent's thread between messages, so that the thread goes on after a pause, an approval
// or a crash, in whatever process.
//
//	backend, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: client})
//	threads, err := checkpoint.New(checkpoint.Config{Backend: backend, Link: link, TTL: 24 * time.Hour, RefreshOnLoad: true})
//	defer threads.Close(ctx)
//	saved, err := threads.Save(ctx, "t1", state)              // any bytes; whatever the thread held before
//	loaded, err := threads.Load(ctx, "t1")                    // from memory: no round trip, no allocation
//	saved, err = threads.SaveIf(ctx, "t1", next, loaded.Version) // or ErrConflict: somebody else has saved
//	err = threads.Pin(ctx, "t1")                              // waits for a person: does not end
//	page, err := threads.List(ctx, "", 50)                    // saved last first
//	page, err = threads.List(ctx, page.Next, 50)
//	err = threads.Delete(ctx, "t1")
//
// The state of the original system is a Snapshot: LoadSnapshot, SaveSnapshot, and Merge.
//
// # What Save waits for
//
// A save comes after every message, so it waits for two round trips and for no other process: the backend has the state, and
// the bus the message. In this process every Load that follows answers it. In others L1 may answer the state before it for
// Bound at most, in practice for the milliseconds that the message takes. Who goes on elsewhere takes Saved.Token along and
// loads with readthrough.AtLeast, which waits for nothing but a read; or Saved.Wait waits for all. Delete waits by itself, since
// it is rare and what is deleted must not be shown. SaveIf asks no L1: it is exact wherever the version came from.
//
// A process that dies between its save and its message leaves the old state in the L1 of others for L1TTL at most.
//
// A Save or Delete that failed with readthrough.ErrUnavailable may still be on its way, and be executed after a later Save of
// somebody else has returned: that one is lost then, and L1 may answer it for L1TTL at most. A SaveIf that comes late conflicts.
//
// # Where it is kept
//
// The backend is authoritative: Memory, which is lost with the process, or Redis. There eviction and FLUSHALL lose the
// threads: a Load is readthrough.ErrNotFound from then on, after what L1 still answers for min(Bound, L1TTL), and SaveIf with an
// older version is ErrConflict. Configure a Redis that keeps threads with persistence and without eviction. What L1 holds is
// rebuildable.
//
//	<prefix>:thread:<id>        the state, plain unless CompressAbove says otherwise   the original system's
//	<prefix>:threads            set of ids                                             the original system's
//	<prefix>:threads.index      sorted set of ids by save                              ours
//	<prefix>:thread.mark:<id>   version, length and pin; ends with the state           ours
//	<prefix>:thread.new:<…>     a state on its way, for a minute at most               ours
//
// All that a save changes changes in one script; the state itself is sent just before, in the same round trip, and renamed
// into place, since Lua would copy it. So the index has no thread that is not there, but those that have ended: a list
// drops those that it meets, a save that makes the index longer looks at four at random, and one in a hundred of the others at
// ten, so that they are not expected to be more than a third as many as live ones. If the index is lost, the first page of a list makes it
// again from the set; then the order is lost, and a list that is under way is readthrough.ErrUnavailable or ends early.
//
// # Other programs
//
// Without Config.Foreign, threads that the original system left behind are loaded and listed, and what it writes while we
// run is noticed by SaveIf if its length differs, and by L1 not before L1TTL. With Config.Foreign the bound is 0, as L1 is off, or
// ForeignTTL; a version is then a part of the state's SHA-1, so that SaveIf notices every other state, and the same bytes
// written again are the same version; and each first page of a list looks for new ids, which takes a round trip for each
// thousand threads. So does, also without Foreign, a set that has an id the index cannot have, since the original system's key of
// it has a byte that ours would encode. A thread that another program has saved is listed as if it had been saved when a list first saw it, and keeps
// its place when that program saves it again.
//
// # Concurrency
//
// Everything is safe for concurrent use. What Load answers is shared and must not be changed. What is given to Save may be
// reused after it has returned.
//
// # Failure
//
//	no thread                    readthrough.ErrNotFound, not kept in L1
//	saved by somebody else       *ConflictError; the next Load asks the backend
//	backend out                  Load from L1 while its lease lasts, then readthrough.ErrUnavailable; everything else at once. A list
//	                             is never empty for that reason. After a write it is unknown whether it was done
//	bus out                      saves are done and told later; Load asks the backend
//	stored bytes are no state    readthrough.ErrUnavailable with ErrCorrupt, until the next save
//	state too large              *TooLargeError, before anything is written, or more than MaxState read
//
// Nothing fails open.
//
// # What it refuses to do
//
// It keeps one state per thread and no history, merges nothing by itself, looks into no state but a Snapshot, and does not
// find threads by what they hold. A state whose bytes were flipped is noticed if it is compressed or a Snapshot, and not otherwise.
package checkpoint
