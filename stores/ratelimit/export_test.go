package ratelimit

// Size is how many keys are kept.
func (m *Memory) Size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.windows) + len(m.gcra)
}

// StopTimer keeps the lease's block from becoming void by its timer, as when the process is stopped.
func (l *Lease) StopTimer() { l.block.Load().void.Stop() }
