package sqlsource

import "sync"

// marksMax bounds the deliveries that wait to be recorded. Beyond it they are forgotten, and relays deliver again.
const marksMax = 1 << 16

// marks are the writers' own deliveries that the database has not been told of yet.
type marks struct {
	mu      sync.Mutex // guards byEpoch, n
	byEpoch map[string][]uint64
	n       int
	wake    chan struct{} // of one slot
}

func newMarks() *marks { return &marks{byEpoch: map[string][]uint64{}, wake: make(chan struct{}, 1)} }

func (m *marks) add(epoch string, versions ...uint64) {
	m.mu.Lock()
	if m.n+len(versions) <= marksMax {
		m.byEpoch[epoch] = append(m.byEpoch[epoch], versions...)
		m.n += len(versions)
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *marks) take() map[string][]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.byEpoch
	m.byEpoch, m.n = map[string][]uint64{}, 0
	return taken
}
