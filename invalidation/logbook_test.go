package invalidation_test

import (
	"context"
	"errors"
	"sync"

	"github.com/layercache/layercache/invalidation"
)

// logbook is an authority's change log in memory.
type logbook struct {
	mu      sync.Mutex
	rows    []invalidation.Change
	head    uint64
	trimmed uint64
	err     error         // what Changes fails with
	hold    chan struct{} // Changes waits for it, if set
	calls   int
}

var errLog = errors.New("the log is out")

func (l *logbook) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	l.mu.Lock()
	l.calls++
	hold := l.hold
	l.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return invalidation.Page{}, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return invalidation.Page{}, l.err
	}
	page := invalidation.Page{Head: l.head, Trimmed: l.trimmed}
	for _, row := range l.rows {
		if row.AsOf > after && row.AsOf > l.trimmed && (limit <= 0 || len(page.Changes) < limit) {
			page.Changes = append(page.Changes, row)
		}
	}
	return page, nil
}

// change writes a row, of everything if id is empty.
func (l *logbook) change(id string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head++
	l.rows = append(l.rows, invalidation.Change{ID: id, All: id == "", AsOf: l.head})
	return l.head
}

func (l *logbook) set(f func(l *logbook)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func (l *logbook) polls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}
