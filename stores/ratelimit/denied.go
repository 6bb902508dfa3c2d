package ratelimit

import (
	"sync"
	"time"
)

// denial remembers that a key is denied. It holds from from permits on, until a moment that is not after the one at which
// the backend would allow them: it is counted from before the request was sent.
type denial struct {
	limit     Limit
	from      int64
	remaining int64
	until     int64 // moments of the store's clock
	retry     int64
	reset     int64
}

// holds says whether n permits are still denied.
func (d *denial) holds(limit Limit, n, now int64) bool {
	return now < d.until && n >= d.from && limit == d.limit
}

// result answers n permits, for which it holds. With GCRA more permits than were denied take longer to come back.
func (d *denial) result(c clock, n, now int64) Result {
	retry := d.retry
	if d.limit.Algorithm == GCRA {
		retry += int64(d.limit.worth(n - d.from).length())
	}
	return Result{Remaining: d.remaining, ResetAt: c.at(d.reset), RetryAfter: time.Duration(max(0, retry-now))}
}

// denied is what L1 knows: which keys are denied, and until when.
type denied struct {
	max int

	mu     sync.RWMutex // guards the fields below
	byKey  map[string]denial
	resets uint64 // keys forgotten so far
}

func newDenied(max int) *denied { return &denied{max: max, byKey: map[string]denial{}} }

// find answers the denial of a demand, if it is known.
func (m *denied) find(d Demand, now int64) (denial, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	found, ok := m.byKey[d.Key]
	return found, ok && found.holds(d.Limit, d.N, now)
}

// generation is to be asked for before a request is sent, for note.
func (m *denied) generation() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.resets
}

// note remembers, unless some key was forgotten since the generation: it may have been this one.
func (m *denied) note(key string, d denial, generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resets != generation {
		return
	}
	if _, known := m.byKey[key]; !known && len(m.byKey) >= m.max {
		for other := range m.byKey { // any: it costs a round trip
			delete(m.byKey, other)
			break
		}
	}
	m.byKey[key] = d
}

// forget makes the next call of a key ask the backend.
func (m *denied) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resets++
	delete(m.byKey, key)
}
