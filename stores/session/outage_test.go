package session_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

// "Redis or SQL down is NEVER answered as absent".
func TestWithRedisDownNothingIsAbsent(t *testing.T) {
	server := redistest.Start(t)
	f := &fleet{addr: server.Addr()}
	s, cold := f.open(t), f.open(t)
	ready(t, s)
	save(t, s, of(sid(1), 1))
	want(t, s, of(sid(1), 1))
	server.Kill()
	for name, err := range map[string]error{
		"load": second(cold.Load(t.Context(), sid(1))), "load of an unknown": second(s.Load(t.Context(), sid(9))),
		"touch": s.Touch(t.Context(), sid(1)), "save": s.Save(t.Context(), of(sid(1), 2)), "delete": s.Delete(t.Context(), sid(2)),
		"ready": cold.Ready(t.Context()),
		"token": second(cold.Load(t.Context(), sid(1), readthrough.SkipL1())),
	} {
		unavailable(t, name, err)
	}
	// What was in memory is answered until the lease ends, and then no more.
	eventually(t, "end of the lease", func() bool {
		_, err := s.Load(t.Context(), sid(1))
		if err != nil {
			unavailable(t, "load", err)
		}
		return err != nil
	})
	eventually(t, "notice of it", func() bool { return s.Health().State == invalidation.Down })
	server.Restart()                         // empty
	server.Do("REPLICAOF", "127.0.0.1", "1") // a replica that hears nothing of what happened since
	unavailable(t, "load from a replica", second(cold.Load(t.Context(), sid(1))))
	unavailable(t, "touch on a replica", cold.Touch(t.Context(), sid(1)))
	unavailable(t, "a replica is ready", cold.Ready(t.Context()))
	server.Do("REPLICAOF", "NO", "ONE")
	eventually(t, "answer", func() bool {
		_, err := s.Load(t.Context(), sid(1))
		if err != nil && !errors.Is(err, readthrough.ErrNotFound) {
			unavailable(t, "load", err)
		}
		return errors.Is(err, readthrough.ErrNotFound)
	})
	save(t, s, of(sid(1), 3))
	want(t, cold, of(sid(1), 3))
}

func second[T any](_ T, err error) error { return err }

func TestAHangingRedisEndsCallsByTheirDeadline(t *testing.T) {
	server := redistest.Start(t)
	f := &fleet{addr: server.Addr()}
	s := f.open(t)
	ready(t, s)
	save(t, s, of(sid(1), 1))
	server.Stop()
	t.Cleanup(server.Cont)
	for name, call := range map[string]func(ctx context.Context) error{
		"load":   func(ctx context.Context) error { _, err := s.Load(ctx, sid(2)); return err },
		"touch":  func(ctx context.Context) error { return s.Touch(ctx, sid(1)) },
		"save":   func(ctx context.Context) error { return s.Save(ctx, of(sid(1), 2)) },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, sid(1)) },
	} {
		if err := redistest.Overdue(t, name, call); errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%s: unknown is answered as none: %v", name, err)
		}
	}
}

func TestServeStaleAnswersWhileRedisIsOut(t *testing.T) {
	server := redistest.Start(t)
	f := &fleet{addr: server.Addr()}
	s := f.open(t, func(c *session.Config) { c.Mode = readthrough.ServeStale(time.Hour) })
	ready(t, s)
	save(t, s, of(sid(1), 1))
	want(t, s, of(sid(1), 1))
	server.Kill()
	// An answer of the server that is still on its way may give a lease once more after one has lapsed.
	var err error
	eventually(t, "end of the lease", func() bool {
		_, err = s.Load(t.Context(), sid(1), readthrough.MaxStale(0))
		return err != nil
	})
	unavailable(t, "without staleness", err)
	want(t, s, of(sid(1), 1))
	_, err = s.Load(t.Context(), sid(2))
	unavailable(t, "what memory does not have", err)
}

func TestAFlushLosesSessionsAndNothingElse(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		stores, raw := []*session.Store{f.open(t), f.open(t)}, f.client(t)
		ready(t, stores...)
		save(t, stores[0], of(sid(1), 1))
		for _, s := range stores {
			want(t, s, of(sid(1), 1))
		}
		raw.FlushAll(t.Context())
		for i, s := range stores {
			eventually(t, "absence", func() bool {
				got, err := s.Load(t.Context(), sid(1))
				if err == nil && got != of(sid(1), 1) || err != nil && !errors.Is(err, readthrough.ErrNotFound) {
					t.Fatalf("store %d: %+v, %v", i, got, err)
				}
				return err != nil
			})
			if err := s.Touch(t.Context(), sid(1)); !errors.Is(err, readthrough.ErrNotFound) {
				t.Fatalf("touch: %v", err)
			}
		}
		save(t, stores[0], of(sid(1), 2))
		for _, s := range stores {
			want(t, s, of(sid(1), 2))
		}
	})
}

func TestAFullRedisRefusesASaveAndChangesNothing(t *testing.T) {
	server := redistest.Start(t)
	f := &fleet{addr: server.Addr()}
	s := f.open(t)
	ready(t, s)
	save(t, s, of(sid(1), 1))
	save(t, s, of(sid(3), 3))
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	server.Do("CONFIG", "SET", "maxmemory", "1")
	unavailable(t, "save of a new one", s.Save(t.Context(), of(sid(2), 2)))
	unavailable(t, "save", s.Save(t.Context(), of(sid(1), 2)))
	if err := s.Touch(t.Context(), sid(1)); err != nil {
		t.Errorf("touch: %v", err)
	}
	if err := s.Delete(t.Context(), sid(3)); err != nil {
		t.Errorf("delete: %v", err)
	}
	wantAbsent(t, s, sid(3))
	want(t, s, of(sid(1), 1), readthrough.SkipL1())
	wantAbsent(t, s, sid(2), readthrough.SkipL1())
	server.Do("CONFIG", "SET", "maxmemory", "0")
	save(t, s, of(sid(2), 2))
	want(t, s, of(sid(2), 2))
}

// A write whose answer is lost may have happened: nobody may go on answering from before it.
func TestAWriteOfUnknownOutcomeIsTreatedAsOneThatHappened(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		var m meddler
		a, b := f.open(t, m.meddle), f.open(t)
		ready(t, a, b)
		lost := errors.New("the connection was lost")
		for n := byte(1); n < 5; n += 2 {
			save(t, b, of(sid(1), n))
			want(t, a, of(sid(1), n))
			want(t, b, of(sid(1), n))
			m.after.Store(&lost)
			unavailable(t, "save", a.Save(t.Context(), of(sid(1), n+1)))
			want(t, a, of(sid(1), n+1))
			eventually(t, "new answer", func() bool { v, err := b.Load(t.Context(), sid(1)); return err == nil && v == of(sid(1), n+1) })
			unavailable(t, "delete", a.Delete(t.Context(), sid(1)))
			wantAbsent(t, a, sid(1))
			eventually(t, "absence", func() bool { return errors.Is(second(b.Load(t.Context(), sid(1))), readthrough.ErrNotFound) })
			m.after.Store(nil)
		}
	})
}

// The errors of a third party's backend are outages too, and the bus goes on when the backend does not.
func TestEveryFailureOfABackendIsUnavailable(t *testing.T) {
	var m meddler
	f := &fleet{memory: &session.Memory{}, local: &invalidation.Local{}}
	s := f.open(t, m.meddle, func(c *session.Config) { c.Local = &invalidation.Local{} })
	save(t, s, of(sid(1), 1))
	for _, cause := range []error{errors.New("broken"), fmt.Errorf("wrapped: %w", readthrough.ErrUnavailable)} {
		m.fail(cause)
		for name, err := range map[string]error{
			"load": second(s.Load(t.Context(), sid(1), readthrough.SkipL1())), "touch": s.Touch(t.Context(), sid(1)),
			"save": s.Save(t.Context(), of(sid(1), 2)), "delete": s.Delete(t.Context(), sid(1)), "ready": s.Ready(t.Context()),
		} {
			unavailable(t, name, err)
			if !errors.Is(err, cause) {
				t.Errorf("%s does not name the cause: %v", name, err)
			}
		}
	}
}

func TestSaveSaysWhenTheContextEndsBeforeItIsInForce(t *testing.T) {
	f := onRedis(t)
	a, b := f.open(t), f.open(t)
	ready(t, a, b)
	save(t, a, of(sid(1), 1))
	want(t, b, of(sid(1), 1))
	// A process that is registered and silent: its acknowledgement is waited for.
	mute, err := l2.New(l2.Config{Client: f.client(t), Namespace: "sessions", Lease: bound})
	if err != nil {
		t.Fatal(err)
	}
	answer := l2.Renew(t.Context(), mute.Client(), []l2.Renewal{{Store: mute, Process: "mute"}})[0]
	if answer.Err != nil {
		t.Fatal(answer.Err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	var late *readthrough.NotInForceError
	switch err := a.Save(ctx, of(sid(1), 2)); {
	case errors.As(err, &late):
		if !late.Committed || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%+v", late)
		}
		want(t, b, of(sid(1), 2), readthrough.AtLeast(late.Token))
	case errors.Is(err, context.DeadlineExceeded): // the millisecond ended before, or during, the write
	default:
		t.Fatal(err)
	}
}
