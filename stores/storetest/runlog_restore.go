package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/layercache/layercache/stores/runlog"
)

func restored(seq uint64) runlog.Restored {
	d := delta(fmt.Sprint(seq))
	return runlog.Restored{Record: runlog.Record{Seq: seq, Data: append([]byte(" "), d.Record("r", seq, "old")...)}, ID: d.ID}
}

func (s runLogs) restoring(session string, counter uint64, records ...runlog.Restored) runlog.Slice {
	s.Helper()
	got, err := s.b.Restore(s.Context(), "r", 0, records, session, counter, s.keep)
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func (s runLogs) restore() {
	records := []runlog.Restored{restored(3), restored(4), restored(9)}
	got := s.restoring("old", 0, records...)
	if got.Seq != 9 || got.Session != "old" || got.Ended || got.Life == "" || !slices.Equal(seqs(got.Records), []uint64{3, 4, 9}) {
		s.Fatalf("%+v", got)
	}
	for i, rec := range s.slice("r", 0, 10).Records {
		if want := records[i].Record; rec.Seq != want.Seq || !bytes.Equal(rec.Data, want.Data) {
			s.Errorf("%+v, want %+v", rec, want)
		}
	}
	if got := s.restoring("", 12); got.Seq != 12 || got.Session != "old" {
		s.Errorf("%+v", got)
	}
	if a := s.append("r", delta("x"), runlog.Draft{ID: records[1].ID, Body: json.RawMessage(`"X"`), EmittedAt: draftTime}); a.Events[0].Seq != 13 ||
		a.Session != "old" || !bytes.Equal(a.Events[1].Stored, records[1].Data) {
		s.Errorf("%+v", a)
	}
	last := restored(20)
	last.Terminal = true
	if got := s.restoring("other", 0, last); !got.Ended || got.Session != "old" || got.Seq != 20 {
		s.Errorf("%+v", got)
	}
	if _, err := s.b.Append(s.Context(), "r", deltas(1), s.keep); !errors.Is(err, runlog.ErrEnded) {
		s.Error(err)
	}
}

func (s runLogs) restoreAgain() {
	records := []runlog.Restored{restored(1), restored(2), restored(3), restored(4)}
	life := s.restoring("", 0, records[:2]...).Life
	got := s.restoring("", 0, records...)
	if !slices.Equal(seqs(got.Records), []uint64{3, 4}) || got.Life != life || got.Seq != 4 {
		s.Fatalf("%+v", got)
	}
	s.keep.MaxEvents = 2
	s.append("r", deltas(4)...) // the first ones go
	if got := s.restoring("", 0, records...); len(got.Records) != 0 || got.Seq != 8 {
		s.Fatalf("%+v", got)
	}
}

func (s runLogs) conflict() {
	s.append("r", deltas(2)...)
	before := s.slice("r", 0, 10)
	_, err := s.b.Restore(s.Context(), "r", 0, []runlog.Restored{restored(2), restored(3)}, "s", 9, s.keep)
	if !errors.Is(err, runlog.ErrConflict) {
		s.Fatal(err)
	}
	after := s.slice("r", 0, 10)
	if after.Seq != 2 || after.Session != "" || !slices.Equal(seqs(after.Records), seqs(before.Records)) {
		s.Fatalf("%+v", after)
	}
}

func (s runLogs) restoreLost() {
	refused := func(after uint64) {
		s.Helper()
		if _, err := s.b.Restore(s.Context(), "r", after, []runlog.Restored{restored(9)}, "s", 10, s.keep); !errors.Is(err, runlog.ErrRestarted) {
			s.Errorf("after %d: %v", after, err)
		}
	}
	refused(1)
	if got := s.slice("r", 0, 10); got.Life != "" || len(got.Records) > 0 {
		s.Fatalf("begun all the same: %+v", got)
	}
	s.restoring("", 0, restored(1), restored(2))
	refused(3)
	if got := s.slice("r", 0, 10); got.Seq != 2 || got.Session != "" || !slices.Equal(seqs(got.Records), []uint64{1, 2}) {
		s.Fatalf("%+v", got)
	}
	next := restored(3)
	for _, after := range []uint64{2, 1} {
		if got, err := s.b.Restore(s.Context(), "r", after, []runlog.Restored{next}, "", 0, s.keep); err != nil || got.Seq != 3 {
			s.Errorf("after %d: %+v, %v", after, got, err)
		}
	}
}

func (s runLogs) restoreBatch() {
	drafts := deltas(40)
	s.append("r", drafts...)
	var records []runlog.Restored
	for i, rec := range s.slice("r", 0, 100).Records {
		records = append(records, runlog.Restored{Record: rec, ID: drafts[i].ID})
	}
	next := restored(41)
	if got := s.restoring("", 0, append(slices.Clone(records), next)...); !slices.Equal(seqs(got.Records), []uint64{41}) {
		s.Fatalf("%+v", got)
	}
	for i := range records {
		moved := slices.Clone(records)
		moved[i].ID, moved[39-i].ID = moved[39-i].ID, moved[i].ID
		if _, err := s.b.Restore(s.Context(), "r", 0, moved[i:i+1], "", 0, s.keep); !errors.Is(err, runlog.ErrConflict) {
			s.Error(i, err)
		}
	}
	if n := len(s.envelopes("r")); n != 41 {
		s.Errorf("%d events", n)
	}
}

func (s runLogs) twice() {
	first, again := restored(1), restored(2)
	again.ID = first.ID
	for range 2 {
		s.restoring("", 0, first, again)
	}
	if got := seqs(s.slice("r", 0, 10).Records); !slices.Equal(got, []uint64{1, 2}) {
		s.Fatal(got)
	}
	if a := s.append("r", runlog.Draft{ID: first.ID, Body: json.RawMessage(`"X"`), EmittedAt: draftTime}); !bytes.Equal(a.Events[0].Stored, first.Data) {
		s.Fatalf("%+v", a)
	}
	s.keep.MaxEvents = 1
	s.append("r", deltas(3)...)
	s.append("r", deltas(1)...)
}
