package runlog_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

// meddler is a backend that fails.
type meddler struct {
	runlog.Backend
	failAfter int            // how many restores succeed
	longest   int            // bytes that one of them was given
	before    map[int]func() // by failAfter: what happens before the restore
}

func (m *meddler) Restore(
	ctx context.Context, run string, after uint64, records []runlog.Restored, session string, counter uint64, keep runlog.Retention,
) (runlog.Slice, error) {
	size := 0
	for _, rec := range records {
		size += len(rec.Data)
	}
	m.longest = max(m.longest, size)
	if do := m.before[m.failAfter]; do != nil {
		do()
	}
	if m.failAfter--; m.failAfter < 0 {
		return runlog.Slice{}, fmt.Errorf("%w: told so", readthrough.ErrUnavailable)
	}
	return m.Backend.Restore(ctx, run, after, records, session, counter, keep)
}

// late is a backend that holds back answers, or loses them.
type late struct {
	runlog.Backend
	next  atomic.Pointer[answer]
	tails atomic.Int64 // how often Tail was called
	lose  atomic.Bool  // the next answer of Append
}

// answer is one that was given and is on its way.
type answer struct{ given, arrive chan struct{} }

// hold holds back the next answer.
func (l *late) hold() *answer {
	a := &answer{given: make(chan struct{}), arrive: make(chan struct{})}
	l.next.Store(a)
	return a
}

func (l *late) travel() {
	if a := l.next.Swap(nil); a != nil {
		close(a.given)
		<-a.arrive
	}
}

func (l *late) Append(ctx context.Context, run string, drafts []runlog.Draft, keep runlog.Retention) (runlog.Appended, error) {
	defer l.travel()
	added, err := l.Backend.Append(ctx, run, drafts, keep)
	if l.lose.Swap(false) {
		return runlog.Appended{}, fmt.Errorf("%w: the answer is lost", readthrough.ErrUnavailable)
	}
	return added, err
}

func (l *late) Tail(ctx context.Context, run string) (runlog.Slice, error) {
	defer l.travel()
	l.tails.Add(1)
	return l.Backend.Tail(ctx, run)
}

func (l *late) Delete(ctx context.Context, run string) error {
	defer l.travel()
	return l.Backend.Delete(ctx, run)
}

func (l *late) Restore(
	ctx context.Context, run string, after uint64, records []runlog.Restored, session string, counter uint64, keep runlog.Retention,
) (runlog.Slice, error) {
	defer l.travel()
	return l.Backend.Restore(ctx, run, after, records, session, counter, keep)
}
