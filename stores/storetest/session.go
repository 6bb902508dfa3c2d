package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

// sessionPatience is how long a suite waits for what must happen.
const sessionPatience = 30 * time.Second

// Sessions runs the conformance suite of session backends. open makes an empty backend; one that keeps time in its own way
// has to let it pass as fast as the wall clock does.
func Sessions(t *testing.T, open func(t testing.TB) session.Backend) {
	for name, test := range map[string]func(*testing.T, sessions){
		"a saved record is loaded byte for byte":             sessionsKeepBytes,
		"a save replaces the record and its time to live":    sessionsReplace,
		"what was never saved is absent":                     sessionsAbsent,
		"a deleted record is gone, and deleting again is ok": sessionsDelete,
		"a record ends with its time to live":                sessionsEnd,
		"a time to live under a second is kept":              sessionsShort,
		"touching and loading re-arm and never shorten":      sessionsRearm,
		"touching and loading make no record":                sessionsReviveNothing,
		"what is deleted stays so beside touches and loads":  sessionsStayDeleted,
		"ids are apart":                                 sessionsApart,
		"records are whole at any time":                 sessionsWhole,
		"a call whose context has ended is unavailable": sessionsContext,
	} {
		t.Run(name, func(t *testing.T) { test(t, sessions{t: t, Backend: open(t)}) })
	}
}

// sessions is a backend with the calls of the suite, which fail the test on an error.
type sessions struct {
	session.Backend
	t *testing.T
}

func sessionID(n byte) session.ID { return session.ID{0: 0xff, 15: n} }

func sessionRecord(fill string) session.Record {
	return session.Record{AgentID: strings.Repeat(fill, 16), StartedAtNS: "1700000000123456789"}
}

func (s sessions) save(id session.ID, rec session.Record, ttl time.Duration) {
	s.t.Helper()
	if err := s.Save(s.t.Context(), id, rec, ttl); err != nil {
		s.t.Fatalf("Save: %v", err)
	}
}

func (s sessions) load(id session.ID, rearm time.Duration) (session.Record, time.Duration, bool) {
	s.t.Helper()
	rec, left, found, err := s.Load(s.t.Context(), id, rearm)
	if err != nil {
		s.t.Fatalf("Load: %v", err)
	}
	return rec, left, found
}

func (s sessions) want(id session.ID, rec session.Record) time.Duration {
	s.t.Helper()
	got, left, found := s.load(id, 0)
	if !found || got != rec {
		s.t.Fatalf("%+v, %t; want %+v", got, found, rec)
	}
	return left
}

func (s sessions) wantAbsent(id session.ID) {
	s.t.Helper()
	if rec, _, found := s.load(id, 0); found {
		s.t.Fatalf("%+v is there", rec)
	}
}

func (s sessions) gone(id session.ID) {
	s.t.Helper()
	end := time.Now().Add(sessionPatience)
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		if _, _, found := s.load(id, 0); !found {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("still there after %s", sessionPatience)
		}
		<-again.C
	}
}

func sessionsKeepBytes(t *testing.T, s sessions) {
	for i, rec := range []session.Record{
		{AgentID: "\x00\xff\r\n\x80{}*:'\"\\\x01\x02\x03 ", StartedAtNS: "-9223372036854775808"},
		{AgentID: strings.Repeat("\x00", 16), StartedAtNS: "9223372036854775807"}, // beyond 2^53 too
		{AgentID: "short", StartedAtNS: "x"},                                      // the backend judges nothing
		{AgentID: strings.Repeat("\xff", 16), StartedAtNS: "0"},
	} {
		s.save(sessionID(byte(i)), rec, time.Hour)
		s.want(sessionID(byte(i)), rec)
	}
}

func sessionsReplace(t *testing.T, s sessions) {
	s.save(sessionID(1), sessionRecord("a"), 2*time.Hour)
	s.save(sessionID(1), sessionRecord("b"), time.Hour)
	if left := s.want(sessionID(1), sessionRecord("b")); left <= 0 || left > time.Hour {
		t.Fatalf("%s left of an hour", left)
	}
}

func sessionsAbsent(t *testing.T, s sessions) {
	s.wantAbsent(sessionID(1))
	s.wantAbsent(session.ID{})
	s.save(session.ID{}, sessionRecord("a"), time.Hour) // the zero id is one
	s.want(session.ID{}, sessionRecord("a"))
}

func sessionsDelete(t *testing.T, s sessions) {
	s.save(sessionID(1), sessionRecord("a"), time.Hour)
	for range 2 {
		if err := s.Delete(t.Context(), sessionID(1)); err != nil {
			t.Fatal(err)
		}
		s.wantAbsent(sessionID(1))
	}
}

func sessionsEnd(_ *testing.T, s sessions) {
	s.save(sessionID(1), sessionRecord("a"), 30*time.Millisecond)
	s.save(sessionID(2), sessionRecord("b"), time.Hour)
	s.gone(sessionID(1))
	s.want(sessionID(2), sessionRecord("b"))
}

func sessionsShort(t *testing.T, s sessions) {
	for { // the machine may be so slow that the record is gone before it is looked at
		s.save(sessionID(1), sessionRecord("a"), 900*time.Millisecond)
		if _, left, found := s.load(sessionID(1), 0); found {
			if left <= 0 || left > 900*time.Millisecond {
				t.Fatalf("%s left of 900ms", left)
			}
			return
		}
	}
}

func sessionsRearm(t *testing.T, s sessions) {
	for name, rearm := range map[string]func(id session.ID, ttl time.Duration) bool{
		"touch": func(id session.ID, ttl time.Duration) bool {
			found, err := s.Touch(t.Context(), id, ttl)
			return found && err == nil
		},
		"load": func(id session.ID, ttl time.Duration) bool {
			rec, left, found := s.load(id, ttl)
			return found && rec == sessionRecord("a") && left > time.Minute
		},
	} {
		s.save(sessionID(1), sessionRecord("a"), time.Hour)
		if !rearm(sessionID(1), 3*time.Hour) {
			t.Fatalf("%s: not found", name)
		}
		if left := s.want(sessionID(1), sessionRecord("a")); left <= time.Hour || left > 3*time.Hour {
			t.Fatalf("%s: %s left of 3 hours", name, left)
		}
		if !rearm(sessionID(1), time.Millisecond) {
			t.Fatalf("%s: not found", name)
		}
		if left := s.want(sessionID(1), sessionRecord("a")); left <= time.Hour {
			t.Fatalf("%s: shortened to %s", name, left)
		}
	}
}

func sessionsReviveNothing(t *testing.T, s sessions) {
	s.save(sessionID(1), sessionRecord("a"), 30*time.Millisecond)
	s.gone(sessionID(1))
	s.save(sessionID(2), sessionRecord("b"), time.Hour)
	if err := s.Delete(t.Context(), sessionID(2)); err != nil {
		t.Fatal(err)
	}
	for n := range byte(4) {
		if found, err := s.Touch(t.Context(), sessionID(n), time.Hour); found || err != nil {
			t.Fatalf("touched: %t, %v", found, err)
		}
		if _, _, found := s.load(sessionID(n), time.Hour); found {
			t.Fatal("loaded")
		}
		s.wantAbsent(sessionID(n))
	}
}

func sessionsStayDeleted(t *testing.T, s sessions) {
	for range races {
		s.save(sessionID(1), sessionRecord("a"), time.Minute)
		beside(t, func() error { return s.Delete(t.Context(), sessionID(1)) }, func() error {
			_, err := s.Touch(t.Context(), sessionID(1), time.Hour)
			return err
		}, func() error {
			_, _, _, err := s.Load(t.Context(), sessionID(1), time.Hour)
			return err
		})
		s.wantAbsent(sessionID(1))
	}
}

// races is how often a suite calls beside.
const races = 100

// beside calls one while each of the others is called again and again, and returns when all have ended.
func beside(t testing.TB, one func() error, others ...func() error) {
	t.Helper()
	var begun, ended sync.WaitGroup
	var done atomic.Bool
	begun.Add(len(others))
	for _, call := range others {
		ended.Go(func() {
			begun.Done()
			for ok := true; ok; ok = !done.Load() {
				if err := call(); err != nil {
					t.Errorf("beside: %v", err)
					return
				}
			}
		})
	}
	begun.Wait()
	if err := one(); err != nil {
		t.Error(err)
	}
	done.Store(true)
	ended.Wait()
}

func sessionsApart(t *testing.T, s sessions) {
	ids := []session.ID{{}, {0: 'k'}, {0: 'K'}, {15: 'k'}, {15: 'K'}, {15: ' '}, {0: ' '}, {0: 0xfe}, {15: 0xfe}, {0: 0xfe, 15: 0xff}}
	for i, id := range ids {
		s.save(id, sessionRecord(string('A'+rune(i))), time.Hour)
	}
	for i, id := range ids {
		s.want(id, sessionRecord(string('A'+rune(i))))
	}
	for n := range byte(16) {
		s.save(sessionID(n), sessionRecord(string('a'+rune(n))), time.Hour)
	}
	if err := s.Delete(t.Context(), sessionID(3)); err != nil {
		t.Fatal(err)
	}
	s.wantAbsent(sessionID(3))
	for n := range byte(16) {
		if n != 3 {
			s.want(sessionID(n), sessionRecord(string('a'+rune(n))))
		}
	}
}

// sessionsWhole: savers and deleters of one id beside loaders. Nobody sees the fields of two records in one, or one without a
// time to live.
func sessionsWhole(t *testing.T, s sessions) {
	records := []session.Record{
		{AgentID: strings.Repeat("a", 16), StartedAtNS: "1"}, {AgentID: strings.Repeat("b", 16), StartedAtNS: "2"},
	}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for _, rec := range records {
		writers.Go(func() { // ends with ctx
			for i := 0; ctx.Err() == nil; i++ {
				var err error
				if i%8 == 7 {
					err = s.Delete(ctx, sessionID(1))
				} else {
					err = s.Save(ctx, sessionID(1), rec, time.Hour)
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	for range 300 {
		rec, left, found, err := s.Load(t.Context(), sessionID(1), 0)
		if err != nil {
			t.Error(err)
			break
		}
		if found && (rec != records[0] && rec != records[1] || left <= 0 || left > time.Hour) {
			t.Errorf("%+v with %s left", rec, left)
			break
		}
	}
	stop()
	writers.Wait()
}

func sessionsContext(t *testing.T, s sessions) {
	s.save(sessionID(1), sessionRecord("a"), time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, found, loaded := s.Load(ctx, sessionID(1), 0)
	touched, touch := s.Touch(ctx, sessionID(1), time.Hour)
	for name, err := range map[string]error{
		"load": loaded, "touch": touch,
		"save":   s.Save(ctx, sessionID(1), sessionRecord("b"), time.Hour),
		"delete": s.Delete(ctx, sessionID(1)),
	} {
		if !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, context.Canceled) || errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found || touched {
		t.Error("found without an answer")
	}
	s.want(sessionID(1), sessionRecord("a"))
}
