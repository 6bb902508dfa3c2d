package invalidation

import "time"

// SuspendHost makes it look as if the wall clock had gone on for d while this process and its monotonic clock stood still.
func (b *Redis) SuspendHost(d time.Duration) {
	for _, p := range b.parts {
		p.mu.Lock()
		p.sentWall = p.sentWall.Add(-d)
		p.mu.Unlock()
	}
	b.link.poke()
}

// Process is the id under which the member is registered.
func (b *Redis) Process() string { return b.process }

// SeenSince is since when the epoch of the newest answer is known.
func (b *Redis) SeenSince(part int) int64 {
	_, since := b.parts[part].known()
	return int64(since)
}

// MaxPending is how many invalidations wait one by one.
const MaxPending = maxPending

// Attempts is how many callers have an invalidation on its way to Redis.
func (b *Redis) Attempts() (n int) {
	for _, p := range b.parts {
		p.mu.Lock()
		n += len(p.attempts)
		p.mu.Unlock()
	}
	return n
}

// Namespaces is how many a Local knows.
func (l *Local) Namespaces() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spaces)
}
