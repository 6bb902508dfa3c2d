package readthrough

import (
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
)

// maxFences bounds what is remembered per id. One more, and the highest version is required of every id instead: costs
// misses, never an old answer.
const maxFences = 1 << 16

// fences are the versions below which nothing of an id may be answered or kept, as this process knows them: from its own
// writes and from the authority's log, whatever Redis says. A fence is kept for at least life, which is longer than a value
// from before it can last in L2: it may be read just before, stored when its load ends, and last for MaxTTL then.
type fences struct {
	life time.Duration

	mu       sync.RWMutex // guards the fields below
	floor    uint64       // of every id
	current  map[uint64]uint64
	previous map[uint64]uint64
	turned   protocol.Instant // when current was begun
}

func newFences(life time.Duration) *fences {
	return &fences{life: life, current: map[uint64]uint64{}, turned: invalidation.Now()}
}

// raise requires asOf of the id with this hash. A hash shared by two ids costs the other a miss.
func (f *fences) raise(hash, asOf uint64) {
	if asOf == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := invalidation.Now(); now.Sub(f.turned) > f.life {
		f.previous, f.current, f.turned = f.current, map[uint64]uint64{}, now
	}
	if len(f.current) >= maxFences {
		for _, v := range f.current {
			f.floor = max(f.floor, v)
		}
		f.current = map[uint64]uint64{}
	}
	f.current[hash] = max(f.current[hash], asOf)
}

// raiseAll requires asOf of every id.
func (f *fences) raiseAll(asOf uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.floor = max(f.floor, asOf)
}

// forget drops every fence.
func (f *fences) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.floor, f.previous, f.current = 0, nil, map[uint64]uint64{}
}

// of answers what is required of the id with this hash.
func (f *fences) of(hash uint64) uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return max(f.floor, f.current[hash], f.previous[hash])
}
