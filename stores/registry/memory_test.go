package registry_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/registry"
)

func TestMemoryHoldsNotAllWhoEverRegistered(t *testing.T) {
	m := &registry.Memory{Now: hourly()}
	terms := registry.Terms{TTL: time.Minute}
	for i := range 10_000 {
		if _, _, err := m.Put(t.Context(), registry.Agent{ID: strconv.Itoa(i)}, terms); err != nil {
			t.Fatal(err)
		}
	}
	if n := registry.Held(m); n > 2048 {
		t.Errorf("%d agents are held of which one is there", n)
	}
}

// hourly is a clock that goes on by an hour each time it is read.
func hourly() func() time.Time {
	now := time.Unix(1_700_000_000, 0)
	return func() time.Time {
		now = now.Add(time.Hour)
		return now
	}
}
