package readthrough_test

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

// A hit allocates nothing, with options and without, and tells telemetry nothing.
func TestAHitAllocatesNothingAndReportsNothing(t *testing.T) {
	for name, with := range map[string]func(*config){
		"local":         func(c *config) { c.Local = &invalidation.Local{} },
		"redis":         func(c *config) { c.Redis = mini(t).client },
		"16 partitions": func(c *config) { c.Redis, c.Partitions = mini(t).client, 16 },
	} {
		t.Run(name, func(t *testing.T) {
			src, tel := newSource(map[string]int{"k": 1}), newRecorder()
			src.versioned = true
			cfg := config{Name: "test", Loader: src, Telemetry: tel, Bound: time.Hour}
			with(&cfg)
			c := open(t, cfg)
			ready(t, c)
			token := invalidateAsync(t, c, 1, "another").Token()
			if cfg.Redis != nil { // by its message, or by a flush if that is late
				redistest.Eventually(t, 10*time.Second, "the invalidation is applied", func() bool {
					return tel.count(telemetry.InvalidationReceived)+tel.count(telemetry.BusGap) > 0
				})
			}
			wantGet(t, c, "k", 1)
			wantErr(t, c, "absent", readthrough.ErrNotFound)
			if cfg.Redis != nil {
				redistest.Eventually(t, 10*time.Second, "the fills are done", func() bool { return tel.count(telemetry.FillStored) == 2 })
			}
			ctx, keys := t.Context(), []string{"k"}
			before, loads := tel.calls.Load(), src.loads.Load()
			for verb, hit := range map[string]func() bool{
				"Get": func() bool { v, err := c.Get(ctx, "k"); return v == 1 && err == nil },
				"Get with AtLeast": func() bool {
					v, err := c.Get(ctx, "k", readthrough.AtLeast(token))
					return v == 1 && err == nil
				},
				"Get with MaxStale and AtLeast": func() bool {
					v, err := c.Get(ctx, "k", readthrough.MaxStale(time.Second), readthrough.AtLeast(token))
					return v == 1 && err == nil
				},
				"Get of an absence": func() bool { _, err := c.Get(ctx, "absent"); return errors.Is(err, readthrough.ErrNotFound) },
				"GetAsOf":           func() bool { v, asOf, err := c.GetAsOf(ctx, "k"); return v == 1 && asOf == 1 && err == nil },
				"GetEntry":          func() bool { e, err := c.GetEntry(ctx, "k"); return e.Value == 1 && err == nil },
				"Peek":              func() bool { e, ok := c.Peek("k"); return e.Value == 1 && ok },
			} {
				ok := true
				if n := allocations(func() { ok = hit() && ok }); n != 0 || !ok {
					t.Errorf("%s: %v allocations, right: %v", verb, n, ok)
				}
			}
			if m, err := c.GetMany(ctx, keys); m["k"] != 1 || err != nil {
				t.Errorf("GetMany = %v, %v", m, err)
			}
			if n := src.loads.Load() - loads; n != 0 {
				t.Fatalf("%d loads: these were not hits", n)
			}
			// What ran behind the reads before them may still end; thousands of hits would show.
			if n := tel.calls.Load() - before; n > 100 {
				t.Errorf("telemetry was told %d times", n)
			}
			if s := tel.snapshot(); s.L1Hits < 4000 || s.L1Entries != 2 || s.Negative < 1000 || s.LoadFound != 1 || s.LoadAbsent != 1 || s.LoadFailed != 0 {
				t.Errorf("snapshot %+v", s)
			}
		})
	}
}

// allocations of a call, on average over the quietest of several runs: what else goes on in the process counts too.
func allocations(f func()) float64 {
	least := testing.AllocsPerRun(1000, f)
	for range 20 {
		if least == 0 {
			break
		}
		least = min(least, testing.AllocsPerRun(1000, f))
	}
	return least
}

func TestAHitByAnArrayAllocatesNothing(t *testing.T) {
	c := open(t, arrayConfig())
	key := [16]byte{1, 2, 3}
	ctx := t.Context()
	get := func() {
		if v, err := c.Get(ctx, key); v != 1 || err != nil {
			t.Fatal(v, err)
		}
	}
	get()
	if n := allocations(get); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func arrayConfig() readthrough.Config[[16]byte, int] {
	return readthrough.Config[[16]byte, int]{
		Name: "test", ID: func(k [16]byte) (string, error) { return hex.EncodeToString(k[:]), nil },
		Loader: readthrough.LoaderFunc[[16]byte, int](func(_ context.Context, k [16]byte) (int, error) { return int(k[0]), nil }),
	}
}
