package runlog

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/stores/internal/tenants"
	"github.com/layercache/layercache/stores/layout"
)

// Memory keeps runs in this process's memory and loses them with it. Stores of one tenant that share a Memory share its runs: a
// Store takes its tenant's part of it, and it is a Backend itself, for the tenant "". The zero Memory is ready for use. Safe for
// concurrent use.
type Memory struct {
	// Now is the clock by which events and runs expire. nil: time.Now. Not to be changed while in use.
	Now func() time.Time

	bus invalidation.Local // of the stores on it

	tenants tenants.Of[Memory]

	mu      sync.Mutex // guards the fields below
	runs    map[string]*memoryRun
	watched map[string]map[*watcher]struct{}
}

// tenant answers a tenant's part of m.
func (m *Memory) tenant(name string) *Memory {
	if name == "" {
		return m
	}
	return m.tenants.Get(name, func() *Memory { return &Memory{Now: m.Now} })
}

var _ Backend = (*Memory)(nil)

// memoryRun is a run.
type memoryRun struct {
	life    string
	seq     uint64
	session string
	ended   bool
	records []memoryRecord
	ids     map[EventID]uint64
	expires time.Time
}

type memoryRecord struct {
	Record
	id EventID
	at time.Time // when it was added
}

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// runLocked answers the run, or nil. It also drops a few that have expired.
func (m *Memory) runLocked(run string, now time.Time) *memoryRun {
	looked := 0
	for name, r := range m.runs {
		if !now.Before(r.expires) {
			delete(m.runs, name)
		}
		if looked++; looked == 4 {
			break
		}
	}
	if r := m.runs[run]; r != nil && now.Before(r.expires) {
		return r
	}
	delete(m.runs, run)
	return nil
}

func (m *Memory) newLocked(run string) *memoryRun {
	r := &memoryRun{life: newLife(), ids: map[EventID]uint64{}}
	if m.runs == nil {
		m.runs = map[string]*memoryRun{}
	}
	m.runs[run] = r
	return r
}

// Append implements Backend.
func (m *Memory) Append(ctx context.Context, run string, drafts []Draft, keep Retention) (Appended, error) {
	if err := layout.Unavailable(ctx.Err()); err != nil {
		return Appended{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	r := m.runLocked(run, now)
	fresh, err := r.check(drafts)
	if err != nil {
		return Appended{}, err
	}
	if r == nil {
		r = m.newLocked(run)
	}
	a := Appended{Life: r.life, Session: r.session}
	for _, d := range drafts {
		if seq, ok := r.ids[d.ID]; ok {
			a.Events = append(a.Events, Added{Seq: seq, Stored: slices.Clone(r.records[r.index(seq)].Data)})
			continue
		}
		if r.session == "" {
			r.session = d.Session
		}
		r.ended = r.ended || d.Terminal
		r.add(memoryRecord{Record{Seq: r.seq + 1, Data: d.Record(run, r.seq+1, r.session)}, d.ID, now})
		a.Events = append(a.Events, Added{Seq: r.seq})
	}
	if fresh > 0 {
		r.cut(keep, now)
		r.keep(keep, now)
		m.wakeLocked(run)
	}
	return a, nil
}

// check says how many drafts are new, or why none may be added. The run may be nil.
func (r *memoryRun) check(drafts []Draft) (fresh uint64, err error) {
	over, seq := false, uint64(0)
	var there map[EventID]uint64
	if r != nil {
		over, seq, there = r.ended, r.seq, r.ids
	}
	seen := map[EventID]bool{}
	for _, d := range drafts {
		if _, ok := there[d.ID]; ok || seen[d.ID] {
			continue
		}
		if over {
			return 0, ErrEnded
		}
		seen[d.ID], over = true, d.Terminal
		fresh++
	}
	if seq+fresh > MaxSeq {
		return 0, ErrFull
	}
	return fresh, nil
}

func (r *memoryRun) add(rec memoryRecord) {
	r.seq = rec.Seq
	r.records = append(r.records, rec)
	if _, again := r.ids[rec.id]; !again {
		r.ids[rec.id] = rec.Seq
	}
}

// cut drops what the retention does not keep; never what was just added.
func (r *memoryRun) cut(keep Retention, now time.Time) {
	n := 0
	if int64(len(r.records)) > keep.MaxEvents+keep.Slack() {
		n = len(r.records) - int(keep.MaxEvents)
	}
	for n < len(r.records) && r.records[n].at.Before(now.Add(-keep.MaxAge)) {
		n++
	}
	for _, rec := range r.records[:n] {
		if r.ids[rec.id] == rec.Seq {
			delete(r.ids, rec.id)
		}
	}
	r.records = slices.Delete(r.records, 0, n)
}

func (r *memoryRun) keep(keep Retention, now time.Time) {
	r.expires = now.Add(keep.MaxAge)
	if r.ended {
		r.expires = now.Add(keep.KeepAfterEnd)
	}
}

// index is where the record with a number is, or the next one.
func (r *memoryRun) index(seq uint64) int {
	return sort.Search(len(r.records), func(i int) bool { return r.records[i].Seq >= seq })
}

// List implements Backend.
func (m *Memory) List(ctx context.Context, run string, after uint64, limit int) (Slice, error) {
	return m.read(ctx, run, func(r *memoryRun) []memoryRecord {
		if after >= MaxSeq {
			return nil
		}
		from := r.records[r.index(after+1):]
		room := maxPageBytes
		for i, rec := range from {
			if i == limit || room <= 0 {
				return from[:i]
			}
			room -= len(rec.Data)
		}
		return from
	})
}

// Tail implements Backend.
func (m *Memory) Tail(ctx context.Context, run string) (Slice, error) {
	return m.read(ctx, run, func(r *memoryRun) []memoryRecord { return r.records[max(0, len(r.records)-1):] })
}

func (m *Memory) read(ctx context.Context, run string, part func(*memoryRun) []memoryRecord) (Slice, error) {
	if err := layout.Unavailable(ctx.Err()); err != nil {
		return Slice{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	r := m.runLocked(run, now)
	if r == nil {
		return Slice{}, nil
	}
	s := r.facts()
	s.Left = r.expires.Sub(now)
	for _, rec := range part(r) {
		s.Records = append(s.Records, Record{Seq: rec.Seq, Data: slices.Clone(rec.Data)})
	}
	return s, nil
}

func (r *memoryRun) facts() Slice {
	return Slice{Life: r.life, Seq: r.seq, Session: r.session, Ended: r.ended}
}

// Delete implements Backend.
func (m *Memory) Delete(ctx context.Context, run string) error {
	if err := layout.Unavailable(ctx.Err()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, run)
	m.wakeLocked(run)
	return nil
}

// Restore implements Backend.
func (m *Memory) Restore(
	ctx context.Context, run string, after uint64, records []Restored, session string, counter uint64, keep Retention,
) (Slice, error) {
	if err := layout.Unavailable(ctx.Err()); err != nil {
		return Slice{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	r := m.runLocked(run, now)
	if after > 0 && (r == nil || r.seq < after) {
		return Slice{}, ErrRestarted
	}
	if r != nil {
		for _, rec := range records {
			if rec.Seq > r.seq || len(r.records) == 0 || rec.Seq < r.records[0].Seq {
				continue
			}
			if i := r.index(rec.Seq); i == len(r.records) || r.records[i].Seq != rec.Seq || r.records[i].id != rec.ID {
				return Slice{}, ErrConflict
			}
		}
	} else {
		if len(records) == 0 && session == "" && counter == 0 {
			return Slice{}, nil
		}
		r = m.newLocked(run)
	}
	seq, known := r.seq, r.session
	if r.session == "" {
		r.session = session
	}
	var added []Record
	for _, rec := range records {
		if rec.Seq <= r.seq {
			continue
		}
		r.add(memoryRecord{Record{Seq: rec.Seq, Data: slices.Clone(rec.Data)}, rec.ID, now})
		r.ended = r.ended || rec.Terminal
		added = append(added, Record{Seq: rec.Seq})
	}
	r.seq = max(r.seq, counter)
	s := r.facts()
	if r.seq != seq || r.session != known || r.expires.IsZero() {
		r.keep(keep, now)
		m.wakeLocked(run)
	}
	s.Records = added
	return s, nil
}

// Watch implements Backend.
func (m *Memory) Watch(run string, wake func()) (stop func(), err error) {
	w := &watcher{wake: wake}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watched == nil {
		m.watched = map[string]map[*watcher]struct{}{}
	}
	if m.watched[run] == nil {
		m.watched[run] = map[*watcher]struct{}{}
	}
	m.watched[run][w] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watched[run], w)
		if len(m.watched[run]) == 0 {
			delete(m.watched, run)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stopped = true
	}, nil
}

// wakeLocked holds m.mu: wake does not block and calls nothing of the Memory.
func (m *Memory) wakeLocked(run string) {
	for w := range m.watched[run] {
		w.call()
	}
}
