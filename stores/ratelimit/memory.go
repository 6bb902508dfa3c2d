package ratelimit

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/layercache/layercache/stores/layout"
)

// Memory is the Backend in this process's memory: lost with the process and shared by nobody else. A tenant has a Memory of
// its own. The zero Memory is ready for use and must not be copied. Safe for concurrent use.
type Memory struct {
	// Now is the clock. nil: time.Now. Set it before first use.
	Now func() time.Time

	mu      sync.Mutex // guards the fields below
	began   time.Time
	windows map[string]*counted
	gcra    map[string]arrival
	named   int64         // windows so far
	sweep   int           // when there are so many keys, those that are over are removed
	full    time.Duration // until then, since began, room does not look for keys that are over
}

var _ Backend = (*Memory)(nil)

// counted is a fixed window.
type counted struct {
	total int64
	name  int64
	ends  time.Duration // since began
}

// arrival is GCRA's theoretical arrival time.
type arrival struct {
	at  span // since began
	max int64
}

// window is a fixed window as an answer sees it.
type window struct {
	total int64
	left  time.Duration // 0: there is none
}

func (w window) answer(d Demand, fits bool) Answer {
	a := Answer{Fits: fits, Remaining: d.Limit.Max, Reset: w.left}
	if w.total > 0 {
		a.Remaining = max(0, d.Limit.Max-w.total)
	}
	if !fits {
		a.Retry = w.left
	}
	return a
}

// lock answers the time since the first call; the caller unlocks.
func (m *Memory) lock() time.Duration {
	m.mu.Lock()
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	t := now()
	if m.windows == nil {
		m.began, m.windows, m.gcra, m.sweep = t, map[string]*counted{}, map[string]arrival{}, 1024
	}
	return t.Sub(m.began)
}

// window answers the window of a key, nil if there is none.
func (m *Memory) window(key string, now time.Duration) *counted {
	w := m.windows[key]
	if w == nil || now >= w.ends {
		return nil
	}
	return w
}

// open answers the window of a key, a new one if there is none.
func (m *Memory) open(key string, now, length time.Duration) *counted {
	w := m.window(key, now)
	if w == nil {
		m.tidy(now)
		m.named++
		w = &counted{name: m.named, ends: now + wholeMS(length)}
		m.windows[key] = w
	}
	return w
}

// tidy keeps what is over from filling the memory, at a constant cost per new key.
func (m *Memory) tidy(now time.Duration) {
	if m.size() < m.sweep {
		return
	}
	m.clear(now)
	m.sweep = max(1024, 2*m.size())
}

func (m *Memory) size() int { return len(m.windows) + len(m.gcra) }

// clear removes what is over.
func (m *Memory) clear(now time.Duration) {
	for key, w := range m.windows {
		if now >= w.ends {
			delete(m.windows, key)
		}
	}
	for key, a := range m.gcra {
		if now > a.at.length() {
			delete(m.gcra, key)
		}
	}
}

// room says whether a demand's key is counted here, and if not, whether it can be, with no more than most keys. When they are
// all in use it looks for such that are over, which costs as much as there are keys, ten times a second at most. The caller
// holds the lock until it has taken.
func (m *Memory) room(d Demand, most int, now time.Duration) (counted, room bool) {
	if d.Limit.Algorithm == GCRA {
		_, counted = m.gcra[d.Key]
	} else {
		_, counted = m.windows[d.Key]
	}
	if !counted && m.size() >= most && now >= m.full {
		m.clear(now)
		if m.size() >= most {
			m.full = now + time.Second/10
		}
	}
	return counted, counted || m.size() < most
}

// Increment adds to the counter of a window.
func (m *Memory) Increment(ctx context.Context, key string, amount int64, length time.Duration) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, layout.Unavailable(err)
	}
	now := m.lock()
	defer m.mu.Unlock()
	if amount == 0 {
		return m.total(key, now), nil
	}
	w := m.open(key, now, length)
	if w.total > math.MaxInt64-amount {
		return 0, ErrOverflow
	}
	w.total += amount
	return w.total, nil
}

func (m *Memory) total(key string, now time.Duration) int64 {
	if w := m.window(key, now); w != nil {
		return w.total
	}
	return 0
}

// Current answers the total of the window.
func (m *Memory) Current(ctx context.Context, key string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, layout.Unavailable(err)
	}
	now := m.lock()
	defer m.mu.Unlock()
	return m.total(key, now), nil
}

// Reset forgets a key.
func (m *Memory) Reset(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return layout.Unavailable(err)
	}
	m.lock()
	defer m.mu.Unlock()
	delete(m.windows, key)
	delete(m.gcra, key)
	return nil
}

// Take spends every demand or none.
func (m *Memory) Take(ctx context.Context, demands []Demand) ([]Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, layout.Unavailable(err)
	}
	now := m.lock()
	defer m.mu.Unlock()
	return m.take(demands, now), nil
}

func (m *Memory) take(demands []Demand, now time.Duration) []Answer {
	answers := make([]Answer, len(demands))
	all := true
	for i, d := range demands {
		answers[i] = m.judge(d, now)
		all = all && answers[i].Fits
	}
	if all {
		for i, d := range demands {
			answers[i] = m.spend(d, now)
		}
	}
	return answers
}

// judge says whether a demand fits, and changes nothing.
func (m *Memory) judge(d Demand, now time.Duration) Answer {
	if d.Limit.Algorithm == GCRA {
		ahead := m.ahead(d, now)
		return d.answer(!ahead.plus(d.Limit.worth(d.N), d.Limit.Max).exceeds(d.Limit.worth(d.Limit.capacity())), ahead)
	}
	w := m.window(d.Key, now)
	if w == nil {
		return window{}.answer(d, true)
	}
	return window{w.total, (w.ends - now).Truncate(time.Millisecond)}.answer(d, w.total <= d.Limit.Max-d.N)
}

func (m *Memory) spend(d Demand, now time.Duration) Answer {
	if d.Limit.Algorithm == GCRA {
		ahead := m.ahead(d, now).plus(d.Limit.worth(d.N), d.Limit.Max)
		m.tidy(now)
		m.gcra[d.Key] = arrival{span{now.Microseconds() + ahead.us, ahead.part}, d.Limit.Max}
		return d.answer(true, ahead)
	}
	w := m.open(d.Key, now, d.Limit.Window)
	w.total += d.N
	return window{w.total, (w.ends - now).Truncate(time.Millisecond)}.answer(d, true)
}

// ahead is how far the theoretical arrival time is ahead of now, as take.lua has it.
func (m *Memory) ahead(d Demand, now time.Duration) span {
	a, ok := m.gcra[d.Key]
	if !ok {
		return span{}
	}
	if a.max != d.Limit.Max && a.at.part > 0 {
		a.at = span{us: a.at.us + 1}
	}
	ahead := span{a.at.us - now.Microseconds(), a.at.part}
	if ahead.us < 0 {
		return span{}
	}
	return ahead
}

// Lease takes a block of permits.
func (m *Memory) Lease(ctx context.Context, key string, q Request) (Grant, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, layout.Unavailable(err)
	}
	now := m.lock()
	defer m.mu.Unlock()
	w := m.open(key, now, q.Limit.Window)
	g := Grant{Remaining: max(0, q.Limit.Max-w.total), Window: w.name, Reset: (w.ends - now).Truncate(time.Millisecond)}
	if q.Need <= g.Remaining {
		g.N = max(q.Need, min(q.Want, g.Remaining/q.Parts))
		w.total += g.N
		g.Remaining -= g.N
	}
	return g, nil
}

// Return gives permits back.
func (m *Memory) Return(ctx context.Context, key string, name, n int64) error {
	if err := ctx.Err(); err != nil {
		return layout.Unavailable(err)
	}
	now := m.lock()
	defer m.mu.Unlock()
	if w := m.window(key, now); w != nil && w.name == name {
		w.total = max(0, w.total-n)
	}
	return nil
}
