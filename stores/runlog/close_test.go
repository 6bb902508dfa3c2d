package runlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

// closing begins to close a store while a write is under way, and answers when that has begun.
func closing(t *testing.T, s *runlog.Store) (closed chan error) {
	t.Helper()
	closed = make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	redistest.Eventually(t, patience, "Close", func() bool { return errors.Is(s.Ready(t.Context()), readthrough.ErrClosed) })
	select {
	case err := <-closed:
		t.Error("Close has not waited")
		closed <- err
	case <-time.After(50 * time.Millisecond):
	}
	return closed
}

func TestCloseWaitsForTheWriteUnderWayAndTakesNoOther(t *testing.T) {
	client := redistest.Start(t).Client()
	run := original(t, client, "old", 3, "s1")
	for what, write := range map[string]func(s *runlog.Store) error{
		"append": func(s *runlog.Store) error { _, err := s.Append(t.Context(), "r", text("x")); return err },
		"delete": func(s *runlog.Store) error { _, err := s.DeleteAsync(t.Context(), "r"); return err },
		"import": func(s *runlog.Store) error { // ends after the batch
			_, err := s.Import(t.Context(), runlog.Original{Client: client}, run)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, backend := slow(t)
			var closed chan error
			during(t, backend, func() {
				if err := write(s); err != nil && (what != "import" || !errors.Is(err, readthrough.ErrClosed)) {
					t.Error(err)
				}
			}, func() {
				closed = closing(t, s)
				if err := write(s); !errors.Is(err, readthrough.ErrClosed) {
					t.Errorf("a write after Close: %v", err)
				}
			})
			if err := <-closed; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCloseWaitsForWritesUntilItsContextEnds(t *testing.T) {
	s, backend := slow(t)
	during(t, backend, func() {
		if _, err := s.Append(t.Context(), "r", text("x")); err != nil {
			t.Error(err)
		}
	}, func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// Else another process would answer its session id for as long as Config.TTL.
func TestADeletionThatIsUnderWayAtCloseIsToldToOthers(t *testing.T) {
	client := redistest.Start(t).Client()
	backend := &late{Backend: onRedis(t, client)}
	s := linked(t, client, func(c *runlog.Config) { c.Backend = backend })
	other := linked(t, client, func(c *runlog.Config) { c.TTL = time.Hour })
	redistest.Eventually(t, patience, "lease", func() bool { return other.Ready(t.Context()) == nil })
	add(t, s, "r", start("s1"))
	if id, err := other.Session(t.Context(), "r"); id != "s1" || err != nil {
		t.Fatal(id, err)
	}
	var closed chan error
	during(t, backend, func() {
		err := s.Delete(t.Context(), "r")
		if late, ok := errors.AsType[*readthrough.NotInForceError](err); err != nil && (!ok || late.Pending) {
			t.Error(err)
		}
	}, func() { closed = closing(t, s) })
	if err := <-closed; err != nil {
		t.Error(err)
	}
	redistest.Eventually(t, patience, "end of the session", func() bool {
		_, err := other.Session(t.Context(), "r")
		return errors.Is(err, readthrough.ErrNotFound)
	})
}
