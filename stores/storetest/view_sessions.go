package storetest

import (
	"context"
	"time"

	"github.com/layercache/layercache/stores/session"
)

// sessionView are the sessions as a process sees them.
type sessionView struct{ *view }

var _ session.Backend = sessionView{}

func (s sessionView) live() *session.Memory { return &s.world.records.sessions }

func (s sessionView) changing(id session.ID) {
	changing(s.view, &s.world.remembered.sessions, id, func() oldSession {
		rec, left, found, _ := s.live().Load(context.Background(), id, 0) // memory does not fail
		return oldSession{rec, time.Now().Add(left), found}
	})
}

// Save implements session.Backend.
func (s sessionView) Save(ctx context.Context, id session.ID, rec session.Record, ttl time.Duration) error {
	return s.write(ctx, func() { s.changing(id) }, func() error { return s.live().Save(ctx, id, rec, ttl) })
}

// Load implements session.Backend.
func (s sessionView) Load(ctx context.Context, id session.ID, rearm time.Duration) (session.Record, time.Duration, bool, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return session.Record{}, 0, false, err
	}
	defer leave()
	if was, ok := old(s.view, s.world.remembered.sessions, id); ok {
		left := time.Until(was.ends)
		if !was.found || left <= 0 {
			return session.Record{}, 0, false, nil
		}
		return was.record, left, true, nil
	}
	return s.live().Load(ctx, id, rearm)
}

// Touch implements session.Backend.
func (s sessionView) Touch(ctx context.Context, id session.ID, ttl time.Duration) (found bool, err error) {
	err = s.write(ctx, func() { s.changing(id) }, func() error {
		found, err = s.live().Touch(ctx, id, ttl)
		return err
	})
	return found, err
}

// Delete implements session.Backend.
func (s sessionView) Delete(ctx context.Context, id session.ID) error {
	return s.write(ctx, func() { s.changing(id) }, func() error { return s.live().Delete(ctx, id) })
}
