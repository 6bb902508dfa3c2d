package registry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
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
