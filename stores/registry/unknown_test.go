package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

// mute is a backend whose answers to heartbeats are lost on the way.
type mute struct{ registry.Backend }

func (m mute) Beat(ctx context.Context, id string, terms registry.Terms) (bool, uint64, error) {
	_, _, _ = m.Backend.Beat(ctx, id, terms)
	return false, 0, fmt.Errorf("%w: %w", readthrough.ErrUnavailable, context.DeadlineExceeded)
}

// The beat that follows finds the agent available, changes nothing and tells nobody.
func TestABeatOfUnknownOutcomeLeavesNobodyWithAnAgentOffline(t *testing.T) {
	s := open(t, registry.Config{
		Backend: mute{&registry.Memory{}}, Local: &invalidation.Local{}, MaxAge: time.Hour,
	})
	register(t, s, registry.Agent{ID: "a"})
	if err := s.SetStatus(t.Context(), "a", registry.Offline); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "a").Status; got != registry.Offline {
		t.Fatal(got)
	}
	if err := s.Heartbeat(t.Context(), "a"); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatal(err)
	}
	if got := get(t, s, "a").Status; got != registry.Available {
		t.Errorf("memory has the agent %s, the backend available", got)
	}
}

// refusing is a backend that has not done what it was asked for, and knows it.
type refusing struct{ *broken }

func (r refusing) Update(ctx context.Context, id string, u registry.Update) (bool, uint64, error) {
	changed, asOf, err := r.broken.Update(ctx, id, u)
	if err != nil {
		err = fmt.Errorf("%w: %w", registry.ErrUnchanged, err)
	}
	return changed, asOf, err
}

// Else each failed attempt would take the last list from every process, which is all that an outage leaves them.
func TestOnlyAWriteOfUnknownOutcomeVoidsTheList(t *testing.T) {
	for _, test := range []struct {
		name    string
		backend func(b *broken) registry.Backend
		kept    bool
	}{
		{"unknown", func(b *broken) registry.Backend { return b }, false},
		{"unchanged", func(b *broken) registry.Backend { return refusing{b} }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &broken{Backend: &registry.Memory{}}
			s := open(t, registry.Config{Backend: test.backend(b), Local: &invalidation.Local{}, MaxAge: time.Hour})
			register(t, s, registry.Agent{ID: "a"})
			wantList(t, s, "a")
			b.down = true
			_, err := s.Claim(t.Context(), "a")
			wantCode(t, "claim", err, registry.Failed)
			if _, err := s.List(t.Context()); (err == nil) != test.kept {
				t.Errorf("a list after it: %v", err)
			}
		})
	}
}

func TestAWriteThatTheDatabaseNeverTookLeavesEveryProcessItsLastList(t *testing.T) {
	server := pgtest.NewServer(t)
	bus := redistest.Start(t)
	stores := map[string]*registry.Store{}
	for _, name := range []string{"writer", "reader"} {
		stores[name] = open(t, registry.Config{
			Backend: onSQL(t, registry.SQLConfig{Source: inPostgres(t, server.URL())}), Link: link(t, bus.Client()),
			MaxAge: 100 * time.Millisecond, Mode: readthrough.ServeStale(time.Hour),
		})
	}
	w := stores["writer"]
	if err := w.Register(t.Context(), registry.Agent{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := w.SetStatus(t.Context(), "a", registry.Offline); err != nil { // a beat would change the list
		t.Fatal(err)
	}
	for _, s := range stores {
		wantList(t, s, "a")
	}
	server.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, s := range stores { // until no connection is left whose end nobody has noticed: what is sent over one may be taken
		eventually(t, "the outage", func() bool {
			_, err := s.List(ctx, readthrough.SkipL1())
			dial, ok := errors.AsType[*net.OpError](err)
			return ok && dial.Op == "dial"
		})
		wantList(t, s, "a")
	}
	_, claim := w.Claim(ctx, "a")
	_, register := w.RegisterAsync(ctx, registry.Agent{ID: "b"})
	_, deregister := w.DeregisterAsync(ctx, "a")
	_, reap := w.Reap(ctx, time.Second)
	for what, err := range map[string]error{
		"claim": claim, "register": register, "deregister": deregister, "reap": reap, "heartbeat": w.Heartbeat(ctx, "a"), "flush": w.Flush(ctx),
	} {
		wantCode(t, what, err, registry.Failed)
		if !errors.Is(err, registry.ErrUnchanged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	pass(t, 200*time.Millisecond) // past the end of the list, and a message would have arrived
	for name, s := range stores {
		t.Run(name, func(t *testing.T) { wantList(t, s, "a") })
	}
}
