package storetest

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

// threads are the threads as a process sees them.
type threads struct{ *view }

var _ checkpoint.Backend = threads{}

func (h threads) live() *checkpoint.Memory { return &h.world.records.threads }

func (h threads) changing(id string) {
	changing(h.view, &h.world.remembered.threads, id, func() oldThread {
		ctx := context.Background()
		rec, err := h.live().Load(ctx, id, checkpoint.Read{Max: math.MaxInt}) // memory fails with an absence only
		was := oldThread{record: rec, found: err == nil}
		all, _ := h.live().List(ctx, checkpoint.Query{Limit: math.MaxInt}) // and here with nothing
		for _, thread := range all.Threads {
			if thread.ID == id {
				was.thread = thread
			}
		}
		return was
	})
}

// Load implements checkpoint.Backend.
func (h threads) Load(ctx context.Context, id string, r checkpoint.Read) (checkpoint.Record, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return checkpoint.Record{}, err
	}
	defer leave()
	if was, ok := old(h.view, h.world.remembered.threads, id); ok {
		switch {
		case !was.found:
			return checkpoint.Record{}, readthrough.ErrNotFound
		case len(was.record.Value) > r.Max:
			return checkpoint.Record{}, &checkpoint.TooLargeError{Size: int64(len(was.record.Value)), Limit: int64(r.Max)}
		}
		was.record.Value = slices.Clone(was.record.Value)
		return was.record, nil
	}
	return h.live().Load(ctx, id, r)
}

// Save implements checkpoint.Backend.
func (h threads) Save(ctx context.Context, id string, w checkpoint.Write) (version checkpoint.Version, err error) {
	err = h.write(ctx, func() { h.changing(id) }, func() error {
		version, err = h.live().Save(ctx, id, w)
		return err
	})
	return version, err
}

// Keep implements checkpoint.Backend.
func (h threads) Keep(ctx context.Context, id string, k checkpoint.Keep) error {
	return h.write(ctx, func() { h.changing(id) }, func() error { return h.live().Keep(ctx, id, k) })
}

// Delete implements checkpoint.Backend.
func (h threads) Delete(ctx context.Context, id string) error {
	return h.write(ctx, func() { h.changing(id) }, func() error { return h.live().Delete(ctx, id) })
}

// List implements checkpoint.Backend.
func (h threads) List(ctx context.Context, q checkpoint.Query) (checkpoint.Listing, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return checkpoint.Listing{}, err
	}
	defer leave()
	if !h.late() {
		return h.live().List(ctx, q)
	}
	limit := q.Limit
	q.Limit = math.MaxInt
	l, err := h.live().List(ctx, q)
	if err != nil {
		return l, err
	}
	was := h.world.remembered.threads
	l.Threads = slices.DeleteFunc(l.Threads, func(t checkpoint.Thread) bool { _, changed := was[t.ID]; return changed })
	for _, old := range was {
		if old.found && (q.Before == 0 || old.thread.Order < q.Before) {
			l.Threads = append(l.Threads, old.thread)
		}
	}
	slices.SortFunc(l.Threads, func(a, b checkpoint.Thread) int { return cmp.Compare(b.Order, a.Order) })
	if len(l.Threads) > limit {
		l.Threads = l.Threads[:limit]
		l.More, l.Next = true, l.Threads[limit-1].Order
	}
	return l, nil
}

// Ping implements checkpoint.Backend.
func (h threads) Ping(ctx context.Context) error {
	leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return h.live().Ping(ctx)
}
