package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/tenants"
	"github.com/layercache/layercache/stores/layout"
)

// Memory keeps threads in this process, and loses them with it. A Store takes its tenant's part of it, and it is a Backend
// itself, for the tenant "". The zero Memory is ready for use. Safe for concurrent use.
type Memory struct {
	// Now is the clock. nil: time.Now. It is set before the first use.
	Now func() time.Time

	tenants tenants.Of[Memory]

	mu      sync.Mutex // guards what follows
	threads map[string]*kept
	last    uint64 // the highest order given
}

// tenant answers a tenant's part of m.
func (m *Memory) tenant(name string) *Memory {
	if name == "" {
		return m
	}
	return m.tenants.Get(name, func() *Memory { return &Memory{Now: m.Now} })
}

// kept is a thread in memory.
type kept struct {
	value  []byte
	order  uint64    // its version too
	ends   time.Time // zero: it has no end
	pinned bool
}

var _ Backend = (*Memory)(nil)

// swept is how many threads a save looks at, for those whose time has come: as in save.lua.
const swept = 4

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// liveLocked answers a thread, if its time has not come.
func (m *Memory) liveLocked(id string, now time.Time) *kept {
	t := m.threads[id]
	if t == nil || t.over(now) {
		return nil
	}
	return t
}

func (t *kept) over(now time.Time) bool { return !t.ends.IsZero() && !now.Before(t.ends) }

func (t *kept) liveFor(ttl time.Duration, now time.Time) {
	t.ends = time.Time{}
	if ttl > 0 && !t.pinned {
		t.ends = now.Add(ttl.Truncate(time.Millisecond))
	}
}

// Load implements Backend.
func (m *Memory) Load(ctx context.Context, id string, r Read) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	t := m.liveLocked(id, now)
	if t == nil {
		return Record{}, readthrough.ErrNotFound
	}
	if len(t.value) > r.Max {
		return Record{}, &TooLargeError{Size: int64(len(t.value)), Limit: int64(r.Max)}
	}
	if r.Refresh > 0 && !t.ends.IsZero() {
		t.liveFor(r.Refresh, now)
	}
	rec := Record{Value: bytes.Clone(t.value), Version: Version(t.order)}
	if !t.ends.IsZero() {
		rec.TTL = t.ends.Sub(now)
	}
	return rec, nil
}

// Save implements Backend.
func (m *Memory) Save(ctx context.Context, id string, w Write) (Version, error) {
	if err := ctx.Err(); err != nil {
		return 0, layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	t := m.liveLocked(id, now)
	if w.Conditional {
		var current Version
		if t != nil {
			current = Version(t.order)
		}
		if current != w.Expect {
			return 0, &ConflictError{Current: current}
		}
	}
	if t == nil {
		t = &kept{}
		if m.threads == nil {
			m.threads = map[string]*kept{}
		}
		m.threads[id] = t
	}
	m.last = max(m.last+1, uint64(max(now.UnixMicro(), 0)))
	t.value, t.order = append([]byte{}, w.Value...), m.last
	t.liveFor(w.TTL, now)
	m.sweepLocked(now)
	return Version(t.order), nil
}

// sweepLocked forgets some of those whose time has come. The order of a map is random enough.
func (m *Memory) sweepLocked(now time.Time) {
	n := 0
	for id, t := range m.threads {
		if n++; n > swept {
			return
		}
		if t.over(now) {
			delete(m.threads, id)
		}
	}
}

// Keep implements Backend.
func (m *Memory) Keep(ctx context.Context, id string, k Keep) error {
	if err := ctx.Err(); err != nil {
		return layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	t := m.liveLocked(id, now)
	if t == nil {
		return readthrough.ErrNotFound
	}
	t.pinned = k.Pin || t.pinned && !k.Unpin
	t.liveFor(k.TTL, now)
	return nil
}

// Delete implements Backend.
func (m *Memory) Delete(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.threads, id)
	return nil
}

// List implements Backend. It sorts all threads for each page.
func (m *Memory) List(ctx context.Context, q Query) (Listing, error) {
	if err := ctx.Err(); err != nil {
		return Listing{}, layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var l Listing
	for id, t := range m.threads {
		switch {
		case t.over(now):
			delete(m.threads, id)
		case q.Before == 0 || t.order < q.Before:
			l.Threads = append(l.Threads, Thread{ID: id, Order: t.order, Pinned: t.pinned})
		}
	}
	slices.SortFunc(l.Threads, func(a, b Thread) int { return cmp.Compare(b.Order, a.Order) })
	if len(l.Threads) > q.Limit {
		l.Threads = slices.Clip(l.Threads[:q.Limit])
		l.More, l.Next = true, l.Threads[q.Limit-1].Order
	}
	return l, nil
}

// Ping implements Backend.
func (m *Memory) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return layout.Unavailable(err)
	}
	return nil
}
