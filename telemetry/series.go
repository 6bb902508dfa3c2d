package telemetry

import "sync"

// series remembers the options of each time series, so that recording does not build an attribute set each time.
// It grows with namespaces times the constants of this package, never with keys.
type series[K comparable, O any] struct {
	mu      sync.RWMutex
	options map[K][]O // guarded by mu; a slice in it is never changed
}

// of returns the options of a series, made by build the first time.
func (s *series[K, O]) of(key K, build func() []O) []O {
	s.mu.RLock()
	options, ok := s.options[key]
	s.mu.RUnlock()
	if ok {
		return options
	}

	options = build()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options == nil {
		s.options = make(map[K][]O)
	}
	s.options[key] = options
	return options
}
