package runlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

func TestARunThatWasStartedHasASessionAlsoBesideALoadFromBefore(t *testing.T) {
	server := redistest.Start(t)
	for name, backend := range map[string]runlog.Backend{"memory": &runlog.Memory{}, "redis": onRedis(t, server.Client())} {
		t.Run(name, func(t *testing.T) {
			backend := &late{Backend: backend}
			s := linked(t, server.Client(), func(c *runlog.Config) { c.Backend, c.Bound = backend, time.Hour })
			redistest.Eventually(t, patience, "lease", func() bool { return s.Ready(t.Context()) == nil })
			answered := make(chan error, 1)
			during(t, backend, func() { _, _ = s.Session(t.Context(), "r") }, func() {
				add(t, s, "r", start("s1"))
				go func() {
					id, err := s.Session(t.Context(), "r")
					if err == nil && id != "s1" {
						err = errors.New(id)
					}
					answered <- err
				}()
				select {
				case err := <-answered:
					answered <- err
				case <-time.After(50 * time.Millisecond): // it has joined the load
				}
			})
			if err := <-answered; err != nil {
				t.Error(err)
			}
		})
	}
}

// Else it would be the session of the run before, whatever Config.TTL is: nobody tells that a run has come to its end.
func TestASessionInMemoryDoesNotOutliveAnEndedRun(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect(func(c *runlog.Config) { c.KeepAfterEnd, c.TTL = 50*time.Millisecond, time.Hour })
		add(t, s, "r", start("s1"))
		redistest.Eventually(t, patience, "session", func() bool {
			id, err := s.Session(t.Context(), "r")
			return err == nil && id == "s1"
		})
		add(t, s, "r", end())
		redistest.Eventually(t, patience, "end of the run", func() bool {
			p, err := s.ListAfter(t.Context(), "r", runlog.Cursor{}, 1)
			if err != nil && !errors.Is(err, runlog.ErrDamaged) { // to a miniredis the same end is another for each key, by microseconds
				t.Fatal(err)
			}
			return err == nil && p.LastSeq == 0
		})
		add(t, s, "r", start("s2"))
		redistest.Eventually(t, patience, "session of the run that was begun anew", func() bool {
			id, err := s.Session(t.Context(), "r")
			return err == nil && id == "s2"
		})
	})
}

// Nor one that nobody has appended to for MaxAge.
func TestASessionInMemoryDoesNotOutliveARunThatExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := runlog.New(runlog.Config{Backend: &runlog.Memory{}, MaxAge: time.Minute, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close(context.Background()) }()
		add(t, s, "r", start("s1"))
		for range 2 {
			if id, err := s.Session(t.Context(), "r"); id != "s1" || err != nil {
				t.Fatal(id, err)
			}
			<-time.After(29 * time.Second)
		}
		<-time.After(2 * time.Second)
		if id, err := s.Session(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%q, %v", id, err)
		}
	})
}

func TestADeletionThatNobodyIsToldOfLeavesASessionForTTL(t *testing.T) {
	client := redistest.Start(t).Client()
	s := linked(t, client, func(c *runlog.Config) { c.TTL, c.Bound = 50*time.Millisecond, time.Hour })
	redistest.Eventually(t, patience, "lease", func() bool { return s.Ready(t.Context()) == nil })
	add(t, s, "r", start("s1"))
	if id, err := s.Session(t.Context(), "r"); id != "s1" || err != nil {
		t.Fatal(id, err)
	}
	if err := onRedis(t, client).Delete(t.Context(), "r"); err != nil { // and is killed
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, "end of the session", func() bool {
		_, err := s.Session(t.Context(), "r")
		return errors.Is(err, readthrough.ErrNotFound)
	})
}

func TestSessionAndTailComeFromMemory(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := linked(t, client, func(c *runlog.Config) { c.Bound, c.TailTTL = time.Hour, 10*time.Second })
	add(t, s, "r", start("s1"))
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Session(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	before := redistest.CountCommands(t, client)
	for range 100 {
		if id, err := s.Session(t.Context(), "r"); id != "s1" || err != nil {
			t.Fatal(id, err)
		}
		if e, err := s.Last(t.Context(), "r"); e.Seq != 1 || err != nil {
			t.Fatal(e, err)
		}
	}
	if got := redistest.CountCommands(t, client).Since(before); got["xrevrange"] != 0 {
		t.Errorf("%v", got)
	}
}

func TestTheSessionIsExactlyTheMemberSessionID(t *testing.T) {
	s := open(t, runlog.Config{Backend: &runlog.Memory{}})
	for payload, want := range map[string]string{
		`{"session_id":"s1","Session_ID":"other"}`: "s1",
		`{"Session_ID":7}`:                         "",
		`{"session_id":null}`:                      "",
		`{"session_id":"\ud83d\ude00"}`:            "\U0001F600",
	} {
		e := runlog.Event{Body: json.RawMessage(`{"RunStarted":` + payload + `}`)}
		if got := add(t, s, payload, e)[0]; got.SessionID != want {
			t.Errorf("%s: %q", payload, got.SessionID)
		}
	}
}
