package registry_test

import (
	"slices"
	"strconv"
	"testing"
	"time"
	"unsafe"

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

// As after a host was suspended, or a clock was put right: the others begin a new life then, and it is no silence of the agents.
func TestNobodyIsReapedForAWallClockThatWasSetForward(t *testing.T) {
	var ahead, step time.Duration
	m := &registry.Memory{Now: func() time.Time { return stepped(time.Now().Add(ahead), step) }}
	s := open(t, registry.Config{Backend: m})
	old := time.Now().Add(-30 * time.Second)
	register(t, s, registry.Agent{ID: "beats"}, registry.Agent{ID: "registers", LastHeartbeat: old}, registry.Agent{ID: "silent"})
	for range 10 {
		ahead += 20 * time.Second
		if err := s.Heartbeat(t.Context(), "beats"); err != nil {
			t.Fatal(err)
		}
	}
	register(t, s, registry.Agent{ID: "registers", LastHeartbeat: time.Now().Add(ahead - 30*time.Second)})
	step = time.Hour
	if marked, err := s.Reap(t.Context(), time.Minute); err != nil || !slices.Equal(marked, []string{"silent"}) {
		t.Errorf("%v, %v; want only who was silent", marked, err)
	}
}

// stepped is what time.Now would answer after the wall clock was set forward by whole seconds: the monotonic clock goes on.
func stepped(now time.Time, by time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&now)) // of it, 33 bits are the seconds since 1885, above 30 of nanoseconds
	*wall += uint64(by/time.Second) << 30
	return now
}

func TestASteppedTimeIsOne(t *testing.T) {
	now := time.Now()
	later := stepped(now, time.Hour)
	if later.Sub(now) != 0 || later.Round(0).Sub(now.Round(0)) != time.Hour {
		t.Errorf("%s after %s", later, now)
	}
}
