package history

import (
	"sync"
	"time"
)

// History is what happened. New makes one.
type History struct {
	began time.Time

	mu     sync.Mutex // guards the fields below and the records in them
	writes []*Writing
	reads  []*Reading
}

// New makes an empty History.
func New() *History { return &History{began: time.Now()} }

func (h *History) now() time.Duration { return time.Since(h.began) }

// never is the time of what has not happened.
const never = time.Duration(1<<63 - 1)

// Writing is one change of a record.
type Writing struct {
	h       *History
	key     string
	version uint64

	began, committed, executed, inForce time.Duration
}

// Write notes that a version of a record is about to be written.
func (h *History) Write(key string, version uint64) *Writing {
	w := &Writing{h: h, key: key, version: version, committed: never, executed: never, inForce: never}
	h.mu.Lock()
	defer h.mu.Unlock()
	w.began = h.now()
	h.writes = append(h.writes, w)
	return w
}

// Committed notes that the authority holds the version. A write that was never committed may have happened or not.
func (w *Writing) Committed() { w.note(&w.committed) }

// Executed notes that Redis is known to have executed the invalidation.
func (w *Writing) Executed() { w.note(&w.executed) }

// InForce notes that the version is promised to be in force everywhere.
func (w *Writing) InForce() { w.note(&w.inForce) }

func (w *Writing) note(at *time.Duration) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	*at = min(*at, w.h.now())
}

// Read is what is asked of a read.
type Read struct {
	// Process names who reads.
	Process string
	// Floor is the version of the token it was given; 0: none.
	Floor uint64
	// Linearizable says that it was asked to be.
	Linearizable bool
}

// Reading is one read of a record.
type Reading struct {
	Read
	h   *History
	key string

	began, ended time.Duration // ended is never while it is under way, and after a failure
	version      uint64
}

// Read notes that a record is about to be read.
func (h *History) Read(key string, r Read) *Reading {
	reading := &Reading{Read: r, h: h, key: key, ended: never}
	h.mu.Lock()
	defer h.mu.Unlock()
	reading.began = h.now()
	h.reads = append(h.reads, reading)
	return reading
}

// Answered notes the version that was read, 0 for an absence. A Reading without it has failed.
func (r *Reading) Answered(version uint64) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	r.ended, r.version = r.h.now(), version
}
