package readthrough

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// slots bounds the loads of a cache that are under way in the authority, and how many of them are of one key.
type slots struct {
	all chan struct{}

	mu   sync.Mutex
	keys map[uint64]*share // by the hash of the id, while a load of it has or wants a slot
}

// share is what the loads of one key have of the slots.
type share struct {
	*semaphore.Weighted
	users int // guarded by slots.mu
}

func newSlots(n int) *slots {
	return &slots{all: make(chan struct{}, n), keys: map[uint64]*share{}}
}

// take waits for a slot until ctx ends.
func (s *slots) take(ctx context.Context) error {
	select {
	case s.all <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *slots) free() { <-s.all }

// enter waits until a load of keys may take a slot, or until ctx ends. A key has a quarter of the slots, and two at least: while
// its loads hang, others' do not wait for them. Several keys come in ascending order, so that no two loads wait for each other.
func (s *slots) enter(ctx context.Context, hashes ...uint64) error {
	for i, hash := range hashes {
		if s.use(hash).Acquire(ctx, 1) != nil {
			s.unuse(hash)
			s.leave(hashes[:i]...)
			return context.Cause(ctx)
		}
	}
	return nil
}

// tryEnter is enter without waiting.
func (s *slots) tryEnter(hash uint64) bool {
	entered := s.use(hash).TryAcquire(1)
	if !entered {
		s.unuse(hash)
	}
	return entered
}

// leave ends what enter began.
func (s *slots) leave(hashes ...uint64) {
	for _, hash := range hashes {
		s.unuse(hash).Release(1)
	}
}

// taken is take by a load that has entered. Its end, and that of its fills, is to be called once; a failure is the end, too.
func (s *slots) taken(ctx context.Context, hashes ...uint64) (end func(), err error) {
	if err := s.take(ctx); err != nil {
		s.leave(hashes...)
		return nil, err
	}
	return func() {
		s.free()
		s.leave(hashes...)
	}, nil
}

func (s *slots) use(hash uint64) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.keys[hash]
	if of == nil {
		of = &share{Weighted: semaphore.NewWeighted(int64(max(2, cap(s.all)/4)))}
		s.keys[hash] = of
	}
	of.users++
	return of
}

func (s *slots) unuse(hash uint64) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.keys[hash]
	if of.users--; of.users == 0 {
		delete(s.keys, hash)
	}
	return of
}
