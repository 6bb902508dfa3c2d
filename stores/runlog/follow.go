package runlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/layercache/layercache/readthrough"
)

// followPage is how many events a follower reads at once.
const followPage = 256

// Follow answers the events of a run after a position, those that are there and then those that come, each once and without
// a number left out, until the run has ended and its last event was answered. It begins before the run does, if the position
// is the beginning.
//
// The last pair has an error unless the run has ended: the one of ctx, readthrough.ErrClosed, those of ListAfter, ErrGone
// if the run was deleted, has expired or was lost, and readthrough.ErrUnavailable when the Backend has failed for as long as
// Config.Patience. Until then an outage or a lost connection is a pause. Whoever keeps the Cursor of the last event goes on
// after it, in another process too.
//
// A message wakes it at each append; if one is lost it looks by itself after Config.Poll. The loop's body runs on the
// caller's goroutine; while it works, nothing is read.
func (s *Store) Follow(ctx context.Context, run string, after Cursor) iter.Seq2[Envelope, error] {
	return func(yield func(Envelope, error) bool) {
		if err := s.follow(ctx, run, after, yield); err != nil {
			yield(Envelope{}, err)
		}
	}
}

func (s *Store) follow(ctx context.Context, run string, after Cursor, yield func(Envelope, error) bool) error {
	if err := s.check(run); err != nil {
		return err
	}
	if err := s.followers.Enter(); err != nil {
		return err
	}
	defer s.followers.Leave()
	f := follower{store: s, run: run, at: after, woken: make(chan struct{}, 1)}
	stop, err := s.backend.Watch(run, f.wake) // before the first look, so that nothing comes unseen
	if err != nil {
		return fmt.Errorf("runlog: follow: %w", failure(err))
	}
	defer stop()
	for {
		page, err := f.next(ctx)
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if !yield(e, nil) {
				return nil
			}
			f.at = e.Cursor()
		}
		switch {
		case page.HasMore:
			continue
		case page.Ended:
			return nil
		}
		if err := f.wait(ctx, s.poll); err != nil {
			return err
		}
	}
}

// follower is one Follow under way.
type follower struct {
	store *Store
	run   string
	at    Cursor
	woken chan struct{} // one token: something has changed
}

func (f *follower) wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// next reads the next page, however often the Backend fails within the patience.
func (f *follower) next(ctx context.Context) (Page, error) {
	var failing time.Time // since when
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		page, err := f.store.ListAfter(ctx, f.run, f.at, followPage)
		switch {
		case err == nil && page.Next.Life == "" && f.at.Seq > 0:
			return Page{}, ErrGone // the position says that there was one
		case err == nil:
			f.at = page.start(f.at)
			return page, nil
		case ctx.Err() != nil:
			return Page{}, context.Cause(ctx)
		case !errors.Is(err, readthrough.ErrUnavailable):
			return Page{}, err
		case failing.IsZero():
			failing = time.Now()
		}
		if time.Since(failing) >= f.store.patience {
			return Page{}, err
		}
		if err := f.wait(ctx, pause); err != nil {
			return Page{}, err
		}
	}
}

// start is the position before a page, with the life that the run turned out to have.
func (p Page) start(at Cursor) Cursor { return Cursor{Seq: at.Seq, Life: p.Next.Life} }

// wait ends when the follower is woken, or after d.
func (f *follower) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-f.woken:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.store.closing:
		return readthrough.ErrClosed
	}
}
