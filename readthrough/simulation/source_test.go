package simulation_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/readthrough/history"
)

type (
	loaded = readthrough.Loaded[uint64]
	batch  = readthrough.Batch[int, uint64]
)

// source is the authority: the version of each record, and of the whole.
type source struct {
	versioned bool // it says so
	history   *history.History

	mu      sync.Mutex // guards the fields below
	version uint64
	records []uint64
	log     []invalidation.Change
}

var _ invalidation.Log = (*source)(nil)

func name(key int) string { return fmt.Sprint("record ", key) }

// read answers a record as it is now.
func (s *source) read(key int) (l loaded, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versioned {
		l.AsOf = s.version
	}
	if l.Value = s.records[key]; l.Value == 0 {
		err = readthrough.ErrNotFound
	}
	return l, err
}

// put writes the next version into records, in one transaction.
func (s *source) put(all bool, keys ...int) (writings []*history.Writing, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	for _, key := range keys {
		w := s.history.Write(name(key), s.version)
		s.records[key] = s.version
		w.Committed()
		writings = append(writings, w)
		if !all {
			s.log = append(s.log, invalidation.Change{ID: fmt.Sprint(key), AsOf: s.version})
		}
	}
	if all {
		s.log = append(s.log, invalidation.Change{All: true, AsOf: s.version})
	}
	return writings, s.version
}

// Changes implements invalidation.Log.
func (s *source) Changes(_ context.Context, after uint64, _ int) (invalidation.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	page := invalidation.Page{Head: s.version}
	for _, c := range s.log {
		if c.AsOf > after {
			page.Changes = append(page.Changes, c)
		}
	}
	return page, nil
}

// loader is a process's way to the authority. It takes its time before it reads, and after.
type loader struct {
	source  *source
	net     *network
	process int
	read    func(key int) (loaded, error)
}

var _ readthrough.BatchLoader[int, uint64] = loader{}

// pause lets time pass on the way to the authority or back: how long follows from who is on it, for what and since when, as the
// order of those who set out in one instant may not matter.
func (l loader) pause(ctx context.Context, way direction, keys ...int) {
	p := l.net.plan
	d, long := dice(p.seed, fmt.Sprint("load ", l.process, way, keys, l.net.now())), 5*time.Millisecond
	if happens(d, 0.02) {
		long = 2 * p.bound
	}
	l.net.pass(ctx, between(d, 0, long))
}

// Load implements readthrough.Loader.
func (l loader) Load(ctx context.Context, key int) (loaded, error) {
	l.pause(ctx, toServer, key)
	answer, err := l.read(key)
	l.pause(ctx, toClient, key)
	return answer, err
}

// LoadMany implements readthrough.BatchLoader.
func (l loader) LoadMany(ctx context.Context, keys []int) (batch, error) {
	l.pause(ctx, toServer, keys...)
	answer := batch{Found: map[int]loaded{}}
	for _, key := range keys {
		one, err := l.read(key)
		answer.AsOf = one.AsOf
		if err == nil {
			answer.Found[key] = one
		}
	}
	l.pause(ctx, toClient, keys...)
	return answer, nil
}
