package session

// Held is how many records a Memory holds, the expired ones included.
func Held(m *Memory) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.records)
}

// Decode reads a record.
func Decode(id ID, rec Record) (Session, *DecodeError) { return decode(id, rec) }

// Encode makes a record.
func Encode(s Session) (Record, error) { return s.record() }

// Peek is what a store's memory would answer.
func Peek(s *Store, id ID) (Session, bool) {
	e, ok := s.cache.Peek(id)
	return e.Value.session, ok
}
