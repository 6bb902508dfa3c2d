package storetest

import (
	"context"
	"math"
	"slices"

	"github.com/layercache/layercache/stores/runlog"
)

// runs are the runs as a process sees them.
type runs struct{ *view }

var _ runlog.Backend = runs{}

func (r runs) live() *runlog.Memory { return &r.world.records.runs }

func (r runs) changing(run string) {
	changing(r.view, &r.world.remembered.runs, run, func() runlog.Slice {
		var all runlog.Slice
		for after := uint64(0); ; {
			page, _ := r.live().List(context.Background(), run, after, math.MaxInt) // memory does not fail
			if len(page.Records) == 0 {
				page.Records = all.Records
				return page
			}
			all.Records = append(all.Records, page.Records...)
			after = page.Records[len(page.Records)-1].Seq
		}
	})
}

// Append implements runlog.Backend.
func (r runs) Append(ctx context.Context, run string, drafts []runlog.Draft, keep runlog.Retention) (a runlog.Appended, err error) {
	err = r.write(ctx, func() { r.changing(run) }, func() error {
		a, err = r.live().Append(ctx, run, drafts, keep)
		return err
	})
	return a, err
}

// List implements runlog.Backend.
func (r runs) List(ctx context.Context, run string, after uint64, limit int) (runlog.Slice, error) {
	leave, err := r.enter(ctx)
	if err != nil {
		return runlog.Slice{}, err
	}
	defer leave()
	if was, ok := old(r.view, r.world.remembered.runs, run); ok {
		was.Records = slices.DeleteFunc(slices.Clone(was.Records), func(rec runlog.Record) bool { return rec.Seq <= after })
		was.Records = was.Records[:min(limit, len(was.Records))]
		return was, nil
	}
	return r.live().List(ctx, run, after, limit)
}

// Tail implements runlog.Backend.
func (r runs) Tail(ctx context.Context, run string) (runlog.Slice, error) {
	leave, err := r.enter(ctx)
	if err != nil {
		return runlog.Slice{}, err
	}
	defer leave()
	if was, ok := old(r.view, r.world.remembered.runs, run); ok {
		was.Records = slices.Clone(was.Records[max(0, len(was.Records)-1):])
		return was, nil
	}
	return r.live().Tail(ctx, run)
}

// Delete implements runlog.Backend.
func (r runs) Delete(ctx context.Context, run string) error {
	return r.write(ctx, func() { r.changing(run) }, func() error { return r.live().Delete(ctx, run) })
}

// Restore implements runlog.Backend.
func (r runs) Restore(
	ctx context.Context, run string, after uint64, records []runlog.Restored, session string, counter uint64, keep runlog.Retention,
) (s runlog.Slice, err error) {
	err = r.write(ctx, func() { r.changing(run) }, func() error {
		s, err = r.live().Restore(ctx, run, after, records, session, counter, keep)
		return err
	})
	return s, err
}

// Watch implements runlog.Backend.
func (r runs) Watch(run string, wake func()) (stop func(), err error) {
	return r.live().Watch(run, wake)
}
