package invalidation

import (
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

var base = time.Now()

// Now reads this process's monotonic clock. It is a real read of the clock: one fed by a ticker stands still while the
// process is stopped and would let a lease outlive its bound.
func Now() protocol.Instant { return protocol.Instant(time.Since(base)) }

// Lease is until when this process may answer from L1 for one partition. Safe for concurrent use; reading it costs two
// loads and no lock.
type Lease struct {
	until atomic.Int64
	held  atomic.Int64 // how far the lease has ever been good for
	used  atomic.Bool  // somebody read it since the last look; keeps the renewals going
}

func newLease() *Lease {
	l := &Lease{}
	l.until.Store(int64(protocol.Never))
	l.held.Store(int64(protocol.Never))
	return l
}

// Valid says whether the lease is held at now. Read now with Now, and only then look at the entry's guard.
func (l *Lease) Valid(now protocol.Instant) bool {
	if !l.used.Load() {
		l.used.Store(true)
	}
	return int64(now) < l.until.Load()
}

// Until is when the lease ends, as of now.
func (l *Lease) Until() protocol.Instant { return protocol.Instant(l.until.Load()) }

// Held is until when the lease was last good: Until, or if it was given up early, that moment.
func (l *Lease) Held() protocol.Instant { return protocol.Instant(l.held.Load()) }

// publish sets the end of the lease. Calls are ordered by the partition's lock.
func (l *Lease) publish(until protocol.Instant) {
	if until != protocol.Never {
		l.held.Store(int64(until))
	} else if t := Now(); protocol.Instant(l.held.Load()) > t {
		l.held.Store(int64(t))
	}
	l.until.Store(int64(until))
}

// touched says whether the lease was read since the last call.
func (l *Lease) touched() bool { return l.used.Swap(false) }
