package invalidation

import (
	"context"
	"errors"
	"time"

	"github.com/layercache/layercache/l2"
)

// Target is the cache that a bus keeps coherent. Its methods may be called at the same time and with locks of the bus held:
// they must not block, and must not call the bus. When one of them returns, no later read of L1 is answered with what it
// voided.
type Target interface {
	// Evict voids the entries, and the loads under way, of every id with one of these hashes.
	Evict(hashes []uint64)
	// Flush voids everything.
	Flush()
	// Invalidated is this process's own invalidation of ids, at version asOf (0: the authority has no versions): it
	// voids them, and nothing below asOf may be answered or kept from now on.
	Invalidated(ids []l2.ID, asOf uint64)
	// Raise is a row of the authority's log: nothing of the raw id below asOf may be answered or kept from now on, whether
	// or not the bus delivered it. An entry at or above asOf may stay.
	Raise(id string, asOf uint64)
	// RaiseAll is the same for every id.
	RaiseAll(asOf uint64)
	// Rewind says that the authority's versions went back, as those of a restored backup do: what was raised says nothing
	// any more, and everything loaded is void.
	Rewind()
}

// Bus tells every process what changed in one namespace, and this process until when it may trust what it holds.
// Safe for concurrent use. Redis and Local are the implementations; both pass the same conformance suite.
type Bus interface {
	// Lease is the serving lease of a partition, for the hit path.
	Lease(part int) *Lease
	// Position is the epoch this process lives in and the sequence it has applied.
	Position(part int) l2.Position
	// Renew asks for a serving lease now and waits for it; callers share one round trip. An error means that freshness
	// cannot be established through Redis, on Local through the log, at the moment. It answers at once while they are known to
	// be out.
	Renew(ctx context.Context, part int) error
	// Observe tells the bus of the epoch that some other answer carried, "" if none came in time. Another one than Position's asks
	// for a renewal.
	Observe(part int, epoch l2.Epoch)
	// Tokens makes and reads the namespace's tokens.
	Tokens() Tokens
	// Usable says whether L2 may be asked for the id: the configuration was found to fit at the first contact, Redis is not
	// known to be out, the log has been read once or does not answer, and no invalidation of the id by this process waits to be
	// delivered. Before the first contact it waits for one, until ctx ends, and in the first 100 ms of a process for the first poll
	// of the log, for a quarter of ctx's time at most.
	Usable(ctx context.Context, id l2.ID) bool
	// Invalidate executes the invalidation of ids at version asOf (0: none). The caller's cancellation does not stop it:
	// it is called after a commit. It answers after one round trip per partition, or, when Redis does not answer or ctx ends
	// before, with a pending receipt; delivery then goes on in the background.
	Invalidate(ctx context.Context, ids []l2.ID, asOf uint64) *Receipt
	// InvalidateAll is the same for every id of the namespace. It is not atomic across partitions.
	InvalidateAll(ctx context.Context, asOf uint64) *Receipt
	// Epoch names the lives of the partitions' Redis state as they are now, asked of Redis after the call began. It is compared
	// with Receipt.Epoch for equality: an invalidation executed in a life that has ended may be lost.
	Epoch(ctx context.Context) (string, error)
	// Health is the state of the bus for probes and logs.
	Health() Health
	// Close gives up the leases and the registrations, tries once more to deliver what is pending, and waits for what it
	// started, all no longer than until ctx ends. Waits under way end with ErrClosed. Safe to call twice. An error says how
	// much could not be delivered.
	Close(ctx context.Context) error
}

// State is how much of its promise a bus can keep at the moment.
type State uint8

const (
	// Up means that everything works.
	Up State = iota
	// Weak means that Redis hides its replication id (INFO refused), so a failover is noticed by lost keys only; the rest
	// falls back to the authority's poll.
	Weak
	// Unpolled means that the authority's log cannot be read, so nothing checks what Redis says. Where the poll is the
	// serving lease the state is Down.
	Unpolled
	// Degraded means that Redis refuses PUBLISH; other processes learn of invalidations by their renewals, at most B later.
	Degraded
	// Down means that Redis does not answer. L1 answers until the lease ends, then reads go to the authority.
	Down
	// Mismatch means that the namespace is in use with another configuration. Neither L1 nor L2 is used.
	Mismatch
)

var stateNames = [...]string{Up: "up", Weak: "weak", Unpolled: "unpolled", Degraded: "degraded", Down: "down", Mismatch: "mismatch"}

// String names the state in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// Health is what a bus knows of itself. The worst partition decides.
type Health struct {
	State State
	// Lease is what is left of the shortest serving lease of the partitions in use; 0: none is held, or one has lapsed.
	Lease time.Duration
	// Pending counts invalidations that Redis has not executed yet.
	Pending int
	// PollAge is how long ago the authority's log was last read; 0 if there is none to read.
	PollAge time.Duration
	// Err is the failure that made the state what it is, of Redis or of the poll; nil after a success.
	Err error
}

// ErrClosed is returned by calls on a closed bus or cache.
var ErrClosed = errors.New("layercache: closed")
