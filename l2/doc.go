// Package l2 is everything that lives in Redis for a namespace: values, fill leases, fences, epoch, sequence and acks,
// the keys and bytes they are kept in, and the scripts that change them, each in one step and one round trip.
//
//	client, err := l2.NewClient(l2.ClientConfig{URL: "redis://127.0.0.1:6379"})
//	store, err := l2.New(l2.Config{Client: client, Namespace: "users"})
//	id, err := l2.NewID("u1")
//
//	lookup := l2.Lookup{ID: id, Nonce: l2.NewNonce()}
//	reply, err := store.Get(ctx, lookup)
//	if reply.Outcome == l2.Leased { // load it, then
//		envelope := l2.AppendEnvelope(nil, store.Scope(), id, l2.Envelope{AsOf: version, Payload: payload})
//		result, err := store.Fill(ctx, l2.Fill{ID: id, Epoch: reply.Position.Epoch, Nonce: lookup.Nonce,
//			Envelope: envelope, TTL: time.Minute, AsOf: version})
//	}
//	done, err := store.Invalidate(ctx, store.Partition(id.Hash()), l2.Invalidation{IDs: []l2.ID{id}, AsOf: version})
//
// What it keeps: a value read before an invalidation of its id is never stored after it, and a value stored in one life
// of the Redis state is not seen in the next one. It needs Redis 7 or later, on a primary.
//
// Concurrency: a Store is safe for concurrent use. It starts no goroutine and keeps no state but two counters, so that there is
// nothing to close.
//
// Failure: a call ends by its context's deadline or the client's timeouts, whichever comes first, and is not retried. An
// error is never a miss: a miss, a refusal and a failure are three answers. Errors hold no id, value or secret. All of it is
// rebuildable: a Redis that was emptied, restored from an old copy or failed over begins a new epoch at the first script
// that runs on it, and losing a single key costs a miss, a refused fill or a new epoch. A full Redis still invalidates and
// renews; it refuses fills. A user without INFO leaves lost keys as the only sign of a lost state (RenewReply.Weak); one
// without PUBLISH leaves others to learn of an invalidation at their next renewal (Invalidated.Degraded).
//
// A mirror is a second copy of a value for readers of another system, bare and under a name of theirs (Config.Mirror,
// Fill.Mirror; on a standalone Redis). It is written and deleted in the step that writes or deletes its value, also by a
// process of the namespace that has no mirrors itself; every process's user needs the right to these keys. Since it carries
// no epoch, a new epoch deletes all mirrors in its first script, at about 2 µs each. Its readers have that much and no more:
// nothing tells them that Redis was not reached, or that the two sets that remember the mirrors were lost before their
// epoch. Then an old mirror ends with its time to live at the latest, or with the next invalidation of its id.
//
// It does not: subscribe, decide what a process may serve, read from replicas, retry a script, or take a raw string for a key.
package l2
