package runlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

// Original says where the original system keeps its runs: <prefix>:<run>, a stream with an envelope in the field data of each
// entry, <prefix>:<run>:seq and <prefix>:<run>:session.
type Original struct {
	// Client reaches the original's Redis. It is only read from. Required.
	Client redis.UniversalClient
	// Prefix of its keys. "": run.
	Prefix string
}

// Imported says what an import has found.
type Imported struct {
	// Added and Present count the events that this call has added and those that were there already.
	Added, Present int
	// Session is the run's session id; "": not known.
	Session string
	// LastSeq is the last number that the original has spent. The run goes on after it.
	LastSeq uint64
	// Holes are the numbers below LastSeq that the original does not hold, or does not hold readably. Readers are told of
	// them by a TrimmedError.
	Holes []Range
	// Faults are the entries that were not imported.
	Faults []Fault
}

// Range is all numbers from First to Last.
type Range struct{ First, Last uint64 }

// Fault is an entry of an original run that was not imported.
type Fault struct {
	// Entry is its id in the original's stream.
	Entry string
	// Err says why, without its content.
	Err error
}

// What an import reads or hands on at once comes within the timeouts of l2.NewClient, however long the entries are.
const (
	importRead       = 16 // entries in one round trip; half of that where they do not come in time, and so on
	importBatch      = 256
	importBatchBytes = 2 << 20
	// importWindow and importWindowBytes, whichever is less, are how far an entry may be out of order: the original's appenders
	// could overtake each other.
	importWindow      = 1024
	importWindowBytes = 32 << 20
)

// Import adds an original run that nobody appends to any more, under the same id: numbers, ids and times stay, and envelopes
// are kept byte for byte. It reads and writes in small batches, holds some 32 MiB of entries in memory and those of one read,
// which are 16 at most, and may be repeated: after a failure it goes on where it stopped, and after a success it adds nothing.
// What cannot be imported is in the answer, beside an error too. Follow the run when Import has returned: the original may go on
// after a terminal event, with which a follower leaves.
//
// readthrough.ErrNotFound: the original has no such run. ErrConflict: the run has other events here. ErrRestarted: the run was
// deleted, has expired or was lost here in the midst of it, in part or as a whole.
func (s *Store) Import(ctx context.Context, from Original, run string) (Imported, error) {
	if err := s.check(run); err != nil {
		return Imported{}, err
	}
	src, err := from.open(run)
	if err != nil {
		return Imported{}, err
	}
	if err := s.writes.Enter(); err != nil {
		return Imported{}, err
	}
	defer s.writes.Leave()
	im := importer{store: s, run: run, source: src}
	err = im.all(ctx)
	s.tails.forget(run) // there may be later events, also if it has failed
	if err != nil {
		return im.found, fmt.Errorf("runlog: import: %w", err)
	}
	return im.found, nil
}

// source reads one original run.
type source struct {
	client redis.UniversalClient
	key    string
	next   string // id of the entry to begin with
	count  int64  // entries in one round trip
}

func (o Original) open(run string) (*source, error) {
	if layout.IsNil(o.Client) {
		return nil, errors.New("runlog: Original.Client is required")
	}
	if o.Prefix == "" {
		o.Prefix = "run"
	}
	space, err := layout.New(layout.Config{Prefix: o.Prefix})
	if err != nil {
		return nil, fmt.Errorf("runlog: Original.%w", err)
	}
	id, err := l2.NewID(run)
	if err != nil {
		return nil, err
	}
	return &source{client: o.Client, key: space.Name(id.String()), next: "-", count: importRead}, nil
}

// facts reads the session id and the last number that was spent. found: there is one of the run's keys.
func (s *source) facts(ctx context.Context) (session string, counter uint64, found bool, err error) {
	session, err = s.client.Get(ctx, s.key+":session").Result()
	if found = err == nil; err != nil && !errors.Is(err, redis.Nil) {
		return "", 0, false, layout.Failed(ctx, err)
	}
	if err := checkSession(session); err != nil {
		return "", 0, false, fmt.Errorf("%s:session: %w", s.key, err)
	}
	digits, err := s.client.Get(ctx, s.key+":seq").Result()
	switch {
	case errors.Is(err, redis.Nil):
		return session, 0, found, nil
	case err != nil:
		return "", 0, false, layout.Failed(ctx, err)
	}
	if counter, err = strconv.ParseUint(digits, 10, 64); err != nil || counter > MaxSeq {
		return "", 0, false, fmt.Errorf("%s:seq is not a number from 0 to %d", s.key, uint64(MaxSeq))
	}
	return session, counter, true, nil
}

// read answers the next entries, none at the end.
func (s *source) read(ctx context.Context) ([]redis.XMessage, error) {
	for {
		entries, err := s.client.XRangeN(ctx, s.key, s.next, "+", s.count).Result()
		var late net.Error
		switch {
		case err == nil && len(entries) > 0:
			s.next = "(" + entries[len(entries)-1].ID
			return entries, nil
		case err == nil:
			return nil, nil
		case s.count == 1 || ctx.Err() != nil || !errors.As(err, &late) || !late.Timeout():
			return nil, layout.Failed(ctx, err)
		}
		s.count /= 2 // they may be too long to come in time
	}
}

// importer puts the entries of a source in order and hands them to the backend.
type importer struct {
	store   *Store
	run     string
	source  *source
	session string

	waiting []Restored // by number: what may still be overtaken
	size    int        // bytes of what is waiting
	last    uint64     // the last number that was handed on
	found   Imported
}

func (im *importer) all(ctx context.Context) error {
	session, counter, found, err := im.source.facts(ctx)
	if err != nil {
		return err
	}
	im.session = session
	for {
		entries, err := im.source.read(ctx)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		found = true
		for _, entry := range entries {
			im.take(entry)
			if err := im.hand(ctx, false); err != nil {
				return err
			}
		}
	}
	if !found {
		return readthrough.ErrNotFound
	}
	if err := im.hand(ctx, true); err != nil {
		return err
	}
	if counter > im.last {
		im.hole(counter + 1)
	}
	im.found.LastSeq = max(counter, im.last)
	return im.restore(ctx, nil, counter)
}

// take reads an entry.
func (im *importer) take(entry redis.XMessage) {
	data, _ := entry.Values["data"].(string)
	e, err := ParseEnvelope([]byte(data))
	kind, payload, _ := tagged(e.Event)
	if err == nil && e.RunID != im.run {
		err = errors.New("it is another run's")
	}
	if err == nil && e.Seq <= im.last {
		err = fmt.Errorf("number %d is taken, or far out of order", e.Seq)
	}
	at, taken := slices.BinarySearchFunc(im.waiting, e.Seq, func(w Restored, seq uint64) int { return cmp.Compare(w.Seq, seq) })
	if err == nil && taken {
		err = fmt.Errorf("number %d is taken", e.Seq)
	}
	if err != nil {
		im.found.Faults = append(im.found.Faults, Fault{Entry: entry.ID, Err: err})
		return
	}
	if im.session == "" {
		im.session = e.SessionID
	}
	if im.session == "" && kind == RunStarted {
		if id, err := sessionOf(payload); err == nil {
			im.session = id
		}
	}
	rec := Restored{Record: Record{Seq: e.Seq, Data: []byte(data)}, ID: e.EventID, Terminal: IsTerminal(kind)}
	im.waiting = slices.Insert(im.waiting, at, rec)
	im.size += len(data)
}

// hand hands on what is waiting in batches: before the end, those that nothing may overtake any more.
func (im *importer) hand(ctx context.Context, end bool) error {
	for len(im.waiting) >= importWindow+importBatch || im.size >= importWindowBytes+importBatchBytes || end && len(im.waiting) > 0 {
		batch, size := im.batch()
		if err := im.restore(ctx, batch, 0); err != nil {
			return err
		}
		for _, w := range batch {
			im.hole(w.Seq)
			im.last = w.Seq
		}
		im.waiting = slices.Delete(im.waiting, 0, len(batch))
		im.size -= size
	}
	return nil
}

// batch answers the first of those that are waiting, at least one, and their bytes.
func (im *importer) batch() (batch []Restored, size int) {
	n := 0
	for n < min(importBatch, len(im.waiting)) && (n == 0 || size+len(im.waiting[n].Data) <= importBatchBytes) {
		size += len(im.waiting[n].Data)
		n++
	}
	return im.waiting[:n], size
}

// hole notes what is missing before the next number.
func (im *importer) hole(next uint64) {
	if next > im.last+1 {
		im.found.Holes = append(im.found.Holes, Range{First: im.last + 1, Last: next - 1})
	}
}

func (im *importer) restore(ctx context.Context, records []Restored, counter uint64) error {
	select {
	case <-im.store.closing: // Close does not wait for the whole run
		return readthrough.ErrClosed
	default:
	}
	slice, err := im.store.backend.Restore(ctx, im.run, im.last, records, im.session, counter, im.store.keep)
	if err != nil {
		return failure(err)
	}
	im.found.Added += len(slice.Records)
	im.found.Present += len(records) - len(slice.Records)
	im.found.Session = slice.Session
	return nil
}
