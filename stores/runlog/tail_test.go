package runlog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

// slow makes a store whose tails live long and whose answers may be held back.
func slow(t *testing.T, change ...change) (*runlog.Store, *late) {
	t.Helper()
	backend := &late{Backend: &runlog.Memory{}}
	cfg := runlog.Config{Backend: backend, TailTTL: 10 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	return open(t, cfg), backend
}

// during lets while happen after do has been answered and before the answer arrives.
func during(t *testing.T, backend *late, do, while func()) {
	t.Helper()
	held, done := backend.hold(), make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	<-held.given
	while()
	close(held.arrive)
	<-done
}

func last(t *testing.T, s *runlog.Store) runlog.Envelope {
	t.Helper()
	e, err := s.Last(t.Context(), "r")
	if err != nil {
		t.Error(err)
	}
	return e
}

func TestLastIsNotBehindAnAppendThatADeletionOvertakes(t *testing.T) {
	s, backend := slow(t)
	add(t, s, "r", text("1"))
	during(t, backend, func() {
		if _, err := s.Append(t.Context(), "r", text("2")); err != nil {
			t.Error(err)
		}
	}, func() {
		if err := s.Delete(t.Context(), "another"); err != nil {
			t.Error(err)
		}
	})
	if e := last(t, s); e.Seq != 2 {
		t.Errorf("the last event is %d after an append of 2", e.Seq)
	}
}

func TestLastIsNotBehindAnAppendWhoseAnswerWasLost(t *testing.T) {
	s, backend := slow(t)
	for _, asked := range []bool{false, true} { // between the two
		lost := text("2")
		add(t, s, "r", text("1"))
		backend.lose.Store(true)
		if _, err := s.Append(t.Context(), "r", lost); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Fatal(err)
		}
		if asked {
			last(t, s)
		}
		if e := add(t, s, "r", lost)[0]; last(t, s).Seq != e.Seq {
			t.Errorf("the last event is %d after an append of %d", last(t, s).Seq, e.Seq)
		}
	}
}

// The answer of an append that is there already is not the run's last event: it may be of long ago.
func TestLastIsNotAnEventThatIsAppendedAgain(t *testing.T) {
	s, backend := slow(t)
	first := text("1")
	add(t, s, "r", first)
	other, _ := slow(t, func(c *runlog.Config) { c.Backend = backend })
	add(t, other, "r", text("2"))
	add(t, s, "r", first)
	if e := last(t, s); e.Seq != 2 {
		t.Errorf("the last event is %d", e.Seq)
	}
}

// A primary that has lost its last events gives their numbers again.
func TestLastIsOwnAppendAlsoAfterRedisWasRolledBack(t *testing.T) {
	client := redistest.Start(t).Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client), TailTTL: 10 * time.Second})
	add(t, s, "r", text("kept"))
	before := map[string]string{}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		before[key] = client.Dump(t.Context(), key).Val()
	}
	for range 5 {
		add(t, s, "r", text("lost"))
	}
	for key, value := range before {
		if err := client.RestoreReplace(t.Context(), key, time.Hour, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if own := add(t, s, "r", text("own"))[0]; own.Seq != 2 || last(t, s).EventID != own.EventID {
		t.Errorf("the last event is %d, own append was %d", last(t, s).Seq, own.Seq)
	}
}

func TestLastIsNotBehindAnAppendWhoseTailHadToMakeRoom(t *testing.T) {
	s, backend := slow(t, func(c *runlog.Config) { c.MaxEntries = 1 })
	add(t, s, "r", text("1"))
	add(t, s, "another", text("x"))
	during(t, backend, func() { last(t, s) }, func() {
		add(t, s, "r", text("2"))
		add(t, s, "another", text("x"))
	})
	if e := last(t, s); e.Seq != 2 {
		t.Errorf("the last event is %d after an append of 2", e.Seq)
	}
}

func TestLastIsOfTheLifeThatThisProcessAppendsTo(t *testing.T) {
	s, backend := slow(t)
	add(t, s, "r", texts(5)...)
	for range 2 { // the answer that is on its way is of the life before
		s, _ = slow(t, func(c *runlog.Config) { c.Backend = backend })
		during(t, backend, func() { last(t, s) }, func() {
			if err := backend.Delete(t.Context(), "r"); err != nil { // another process's
				t.Error(err)
			}
			add(t, s, "r", text("1"))
		})
		if e := last(t, s); e.Seq != 1 {
			t.Errorf("the last event is %d of the run that was deleted", e.Seq)
		}
	}
}

func TestLastIsNotOfARunThatThisProcessHasDeleted(t *testing.T) {
	s, backend := slow(t)
	add(t, s, "r", text("1"))
	s, _ = slow(t, func(c *runlog.Config) { c.Backend = backend })
	during(t, backend, func() { last(t, s) }, func() {
		if err := s.Delete(t.Context(), "r"); err != nil {
			t.Error(err)
		}
	})
	if e, err := s.Last(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("%+v, %v", e, err)
	}
	add(t, s, "r", text("1"))
	for range 2 {
		if e := last(t, s); e.Seq != 1 {
			t.Errorf("%+v", e)
		}
	}
}

// Else the tails of many runs would fill the memory; and what is not remembered is not answered from before either.
func TestALongEventIsNotRememberedAndNothingOlderAnsweredForIt(t *testing.T) {
	s, backend := slow(t)
	long := runlog.Event{Body: json.RawMessage(`{"A":"` + strings.Repeat("x", 16<<10) + `"}`)}
	add(t, s, "r", text("1"))
	for i := range 3 {
		add(t, s, "r", long)
		asked := backend.tails.Load()
		for range 2 {
			if e := last(t, s); e.Seq != uint64(2*i+2) || len(e.Event) < 16<<10 {
				t.Errorf("the last event is %d with %d bytes", e.Seq, len(e.Event))
			}
		}
		if n := backend.tails.Load() - asked; n != 2 {
			t.Errorf("the backend was asked %d times", n)
		}
		add(t, s, "r", text("short"))
		if e := last(t, s); e.Seq != uint64(2*i+3) || backend.tails.Load() != asked+2 {
			t.Errorf("the last event is %d", e.Seq)
		}
	}
}

func TestTailsLeaveMemoryWhenTheirTimeHasCome(t *testing.T) {
	s := open(t, runlog.Config{Backend: &runlog.Memory{}, TailTTL: 10 * time.Millisecond})
	for i := range 100 {
		add(t, s, fmt.Sprint(i), text("x"))
	}
	redistest.Eventually(t, patience, "room", func() bool {
		add(t, s, "r", text("x"))
		return s.Remembered() == 1
	})
	s, _ = slow(t, func(c *runlog.Config) { c.MaxEntries = 10 })
	for i := range 100 {
		if add(t, s, fmt.Sprint(i), text("x")); s.Remembered() > 10 {
			t.Fatalf("%d tails", s.Remembered())
		}
	}
}
