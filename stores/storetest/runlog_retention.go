package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
)

func (s runLogs) maxEvents() {
	s.keep.MaxEvents = 100
	s.append("r", started("s"))
	for i := 1; i < 1000; i++ {
		s.append("r", delta("x"))
		got := s.slice("r", 0, 10_000)
		n := int64(len(got.Records))
		if want := min(int64(i+1), s.keep.MaxEvents); n < want || n > s.keep.MaxEvents+s.keep.Slack() ||
			got.Records[n-1].Seq != uint64(i+1) {
			s.Fatalf("%d events after %d", n, i+1)
		}
	}
	if got := s.slice("r", 0, 1); got.Seq != 1000 || got.Session != "s" {
		s.Fatalf("%+v", got)
	}
	s.append("r", deltas(250)...)
	if got := seqs(s.slice("r", 0, 10_000).Records); len(got) != 100 || got[0] != 1151 || got[99] != 1250 {
		s.Fatal(got)
	}
}

func (s runLogs) maxAge() {
	s.append("r", deltas(3)...)
	s.keep.MaxAge = soon
	s.append("r", deltas(3)...)
	redistest.Eventually(s.T, patience, "end of the old events", func() bool {
		s.append("r", delta("x"))
		got := seqs(s.slice("r", 0, 10_000).Records)
		return len(got) > 0 && got[0] > 6 // the machine may stand still for as long as the run lives
	})
	s.append("r", completed()) // which makes it live longer
	if got := s.slice("r", 0, 10_000); got.Records[len(got.Records)-1].Seq != got.Seq {
		s.Fatal(seqs(got.Records))
	}
}

// sitOut returns when what was added before it is older than soon and an eighth.
func (s runLogs) sitOut() {
	s.Helper()
	s.keep.MaxAge = soon + soon/8 + time.Millisecond
	s.append("clock", delta("x"))
	s.gone("clock")
}

func (s runLogs) rare() {
	s.append("r", delta("1"))
	s.append("r", delta("2"))
	s.sitOut()
	s.keep.MaxAge = soon
	s.append("r", completed()) // from here on it lives longer than soon
	if got := seqs(s.slice("r", 0, 10).Records); !slices.Equal(got, []uint64{3}) {
		s.Fatal(got)
	}
}

func (s runLogs) restoredAge() {
	s.restoring("", 0, restored(1), restored(2))
	s.restoring("", 0, restored(3), restored(4))
	s.sitOut()
	s.keep.MaxAge = soon
	s.append("r", completed()) // from here on it lives longer than soon
	if got := seqs(s.slice("r", 0, 10).Records); !slices.Equal(got, []uint64{5}) {
		s.Fatal(got)
	}
}

func (s runLogs) forgotten() {
	s.keep.MaxEvents = 10
	old := deltas(100)
	s.append("r", old...)
	kept := s.slice("r", 0, 1000).Records
	if a := s.append("r", old[99]); !bytes.Equal(a.Events[0].Stored, kept[len(kept)-1].Data) {
		s.Errorf("%+v", a)
	}
	if a := s.append("r", old[0]); a.Events[0].Seq != 101 || a.Events[0].Stored != nil {
		s.Errorf("%+v", a)
	}
}

func (s runLogs) gone(run string) {
	s.Helper()
	redistest.Eventually(s.T, patience, "end of the run", func() bool {
		got, err := s.b.List(s.Context(), run, 0, 1)
		if err != nil && !errors.Is(err, runlog.ErrDamaged) { // to a miniredis the same end is another for each key, by microseconds
			s.Fatalf("list: %v", err)
		}
		return err == nil && got.Life == ""
	})
}

func (s runLogs) expires() {
	s.keep.MaxAge = soon
	life := s.append("r", delta("1")).Life
	s.gone("r")
	if a := s.append("r", delta("1")); a.Events[0].Seq != 1 || a.Life == life {
		s.Errorf("%+v", a)
	}
}

func (s runLogs) rearms() {
	run := ""
	for i := range 10 {
		run = strconv.Itoa(i)
		s.keep.MaxAge = soon
		s.append(run, delta("1"))
		s.keep.MaxAge = time.Hour
		if s.append(run, delta("2")).Events[0].Seq == 2 {
			break // the machine did not stand still for the first term
		}
	}
	s.keep.MaxAge = soon
	s.append("other", delta("1"))
	s.gone("other") // by then the first term of the run is over
	if got := s.slice(run, 0, 10); got.Seq != 2 || len(got.Records) != 2 {
		s.Errorf("%+v", got)
	}
}

func (s runLogs) endExpires() {
	s.keep.KeepAfterEnd = soon
	s.append("r", delta("1"), completed())
	s.append("other", delta("1"))
	s.gone("r")
	if got := s.slice("other", 0, 10); got.Seq != 1 {
		s.Errorf("%+v", got)
	}
}
