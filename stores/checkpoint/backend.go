package checkpoint

import (
	"context"
	"time"
)

// Backend keeps the records of threads: *Memory, *Redis, or a driver of your own, which storetest.Checkpoints checks. It
// is safe for concurrent use. An id is never empty and at most l2.MaxID bytes long. Bytes that are given are neither changed
// nor kept; bytes that are answered belong to the caller.
//
// A call changes the record, its version, its place in the order, its end and its pin in one step, or none of them. A thread
// whose time has come is absent in every call, and is not kept for ever because nobody asks for it. Only
// readthrough.ErrNotFound says that there is none: what cannot be reached is readthrough.ErrUnavailable.
type Backend interface {
	// Load answers a thread's record, readthrough.ErrNotFound, or a *TooLargeError.
	Load(ctx context.Context, id string, r Read) (Record, error)
	// Save writes a thread's record and makes the thread the newest. It answers the record's version, or a
	// *ConflictError having changed nothing.
	Save(ctx context.Context, id string, w Write) (Version, error)
	// Keep changes how long a thread is kept, and nothing else of it; its errors are readthrough.ErrNotFound and failures.
	Keep(ctx context.Context, id string, k Keep) error
	// Delete removes a thread, its pin included, if there is one.
	Delete(ctx context.Context, id string) error
	// List answers live threads, those saved last first. It does a bounded amount of work: a listing may hold fewer
	// than q.Limit, or none, and still have more.
	List(ctx context.Context, q Query) (Listing, error)
	// Ping answers nil when the backend can be reached.
	Ping(ctx context.Context) error
}

// Read is how to load.
type Read struct {
	// Refresh, if not 0, lets the thread live this long from now on, unless it has no end.
	Refresh time.Duration
	// Max is how many bytes the record may have.
	Max int
	// Foreign says that other programs write what the backend keeps, without giving versions: a version must tell
	// their writes too. A backend that only its own calls can change need not look at it.
	Foreign bool
}

// Record is what is kept of a thread.
type Record struct {
	Value   []byte
	Version Version
	// TTL is how long the thread lives if nothing happens, 0 if it has no end.
	TTL time.Duration
}

// Write is what to save.
type Write struct {
	Value []byte
	// TTL is how long the thread lives from now on, unless it is pinned. 0: it has no end. Milliseconds count.
	TTL time.Duration
	// Conditional saves only if the thread has version Expect.
	Conditional bool
	Expect      Version
	// Foreign as in Read.
	Foreign bool
}

// Keep says how long a thread is kept.
type Keep struct {
	// Pin exempts the thread from its end, Unpin ends that. Neither: a pin stays, and a thread without one lives for TTL.
	Pin, Unpin bool
	// TTL as in Write.
	TTL time.Duration
}

// Query asks for a page.
type Query struct {
	// Before is the Order below which threads are listed. 0: from the newest.
	Before uint64
	// Limit is how many, at least 1.
	Limit int
	// Foreign as in Read: threads that others saved are listed too.
	Foreign bool
}

// Listing is a page as a backend answers it.
type Listing struct {
	Threads []Thread
	// More says that there may be more threads, below Next.
	More bool
	Next uint64
}

// Thread is an entry of a list.
type Thread struct {
	// ID of the thread.
	ID string
	// Order grows with each save, of whatever thread, and no two threads have the same: Unix microseconds of the
	// backend's clock when the thread was saved, or a little later.
	Order uint64
	// Pinned threads have no end.
	Pinned bool
}

// SavedAt is when the thread was saved last, by the backend's clock. Of a thread that another program saved it is when
// this library first saw it.
func (t Thread) SavedAt() time.Time { return time.UnixMicro(int64(t.Order)) }
