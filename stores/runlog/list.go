package runlog

import (
	"context"
	"errors"
	"fmt"
)

// Page is a part of a run.
type Page struct {
	// Events are in order, without a number left out.
	Events []Envelope
	// Next is the position after them, from which the next page begins.
	Next Cursor
	// HasMore says that the run has spent higher numbers than these.
	HasMore bool
	// LastSeq is the last number that the run has spent; 0: there is no such run.
	LastSeq uint64
	// Ended says that the run has a terminal event.
	Ended bool
}

// ListAfter answers the events of a run after a position, in order, at most limit of them and at most MaxPage, fewer where
// they are long. A run that is not there is an empty page; with a cursor that has a life it is ErrGone. Its cost does not
// depend on the position.
//
// What cannot be answered ends a page before it, and the call that begins there says why: a *TrimmedError for events that are
// not there any more or never came, a *DecodeError for one that cannot be read. Both have a Resume to go on from.
// ErrRestarted: the run is not the one that the cursor is of, or is shorter than it.
func (s *Store) ListAfter(ctx context.Context, run string, after Cursor, limit int) (Page, error) {
	if err := s.check(run); err != nil {
		return Page{}, err
	}
	if limit < 1 {
		return Page{}, fmt.Errorf("runlog: list: the limit must be at least 1, got %d", limit)
	}
	slice, err := s.backend.List(ctx, run, after.Seq, min(limit, MaxPage))
	if err != nil {
		return Page{}, fmt.Errorf("runlog: list: %w", failure(err))
	}
	return slice.page(run, after)
}

// page makes a page of what a Backend answered to List.
func (s Slice) page(run string, after Cursor) (Page, error) {
	switch {
	case s.Life == "" && after.Life != "":
		return Page{}, ErrGone
	case s.Life == "":
		return Page{Next: after}, nil
	case after.Life != "" && after.Life != s.Life, after.Seq > s.Seq:
		return Page{}, ErrRestarted
	}
	p := Page{Next: Cursor{Seq: after.Seq, Life: s.Life}, LastSeq: s.Seq, Ended: s.Ended}
	var fault error
	if len(s.Records) > 0 {
		p.Events = make([]Envelope, 0, len(s.Records))
	} else if after.Seq < s.Seq {
		fault = &TrimmedError{After: after.Seq, First: s.Seq + 1, life: s.Life}
	}
	for _, rec := range s.Records {
		if rec.Seq != p.Next.Seq+1 {
			fault = &TrimmedError{After: p.Next.Seq, First: rec.Seq, life: s.Life}
			break
		}
		e, err := decode(run, rec, s.Life)
		if err != nil {
			fault = err
			break
		}
		p.Events = append(p.Events, e)
		p.Next.Seq = e.Seq
	}
	p.HasMore = p.Next.Seq < s.Seq
	if len(p.Events) > 0 {
		fault = nil // for the call that begins there
	}
	return p, fault
}

// decode reads a record, and makes sure that it is the one it is stored as.
func decode(run string, rec Record, life string) (Envelope, error) {
	e, err := ParseEnvelope(rec.Data)
	switch {
	case err != nil:
	case e.Seq != rec.Seq:
		err = errors.New("it is stored under another number")
	case e.RunID != run:
		err = errors.New("it is another run's")
	}
	if err != nil {
		return Envelope{}, &DecodeError{Seq: rec.Seq, Err: err, life: life}
	}
	e.life = life
	return e, nil
}
