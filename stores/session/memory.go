package session

import (
	"context"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/stores/internal/tenants"
	"github.com/layercache/layercache/stores/layout"
)

// Memory is a Backend in this process's memory: for tests and for single processes that can lose it. Stores without Redis
// that share one tell each other of changes at once. A Store takes its tenant's part of it, and it is a Backend itself, for the
// tenant "". The zero Memory is empty and ready for use. What has expired is freed when it is asked for, and by saves.
type Memory struct {
	// Now is the clock. nil: time.Now. It is set before the first use.
	Now func() time.Time

	bus invalidation.Local // of the stores without Redis

	tenants tenants.Of[Memory]

	mu      sync.Mutex // guards the fields below
	records map[ID]memoryRecord
	sweep   int // as many records as this, and expired ones are looked for
}

// tenant answers a tenant's part of m.
func (m *Memory) tenant(name string) *Memory {
	if name == "" {
		return m
	}
	return m.tenants.Get(name, func() *Memory { return &Memory{Now: m.Now} })
}

type memoryRecord struct {
	Record
	ends time.Time
}

// sweepMin is the number of records below which expired ones are not looked for.
const sweepMin = 1024

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// Save implements Backend.
func (m *Memory) Save(ctx context.Context, id ID, rec Record, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return layout.Unavailable(err)
	}
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records == nil {
		m.records, m.sweep = map[ID]memoryRecord{}, sweepMin
	}
	m.records[id] = memoryRecord{Record: rec, ends: now.Add(ttl)}
	if len(m.records) > m.sweep {
		for id, rec := range m.records {
			if !now.Before(rec.ends) {
				delete(m.records, id)
			}
		}
		m.sweep = max(sweepMin, 2*len(m.records)) // so that a save costs a constant on average
	}
	return nil
}

// Load implements Backend.
func (m *Memory) Load(ctx context.Context, id ID, rearm time.Duration) (Record, time.Duration, bool, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, 0, false, layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, left, found := m.live(id, rearm)
	return rec, left, found, nil
}

// Touch implements Backend.
func (m *Memory) Touch(ctx context.Context, id ID, ttl time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, found := m.live(id, ttl)
	return found, nil
}

// live answers a record that has not expired, with at least rearm left. m.mu is held.
func (m *Memory) live(id ID, rearm time.Duration) (Record, time.Duration, bool) {
	rec, found := m.records[id]
	if !found {
		return Record{}, 0, false
	}
	now := m.now()
	left := rec.ends.Sub(now)
	if left <= 0 {
		delete(m.records, id)
		return Record{}, 0, false
	}
	if left < rearm {
		left, rec.ends = rearm, now.Add(rearm)
		m.records[id] = rec
	}
	return rec.Record, left, true
}

// Delete implements Backend.
func (m *Memory) Delete(ctx context.Context, id ID) error {
	if err := ctx.Err(); err != nil {
		return layout.Unavailable(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, id)
	return nil
}
