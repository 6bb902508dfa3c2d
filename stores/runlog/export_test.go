package runlog

// Stored is the fast way to read an envelope.
var Stored = stored

// Tagged splits an event.
var Tagged = tagged

// Remembered is how many runs have a tail in memory.
func (s *Store) Remembered() int {
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	return len(s.tails.runs)
}
