package registry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

// quietStore is a store that makes no renewal while a test counts what it sends.
func quietStore(t testing.TB, server *redistest.Server) *registry.Store {
	t.Helper()
	s := open(t, registry.Config{
		Backend: onRedis(t, registry.RedisConfig{Client: server.Client()}), Bound: time.Hour, MaxAge: time.Hour,
	})
	eventually(t, "a lease", func() bool { return s.Ready(t.Context()) == nil })
	return s
}

// counted answers what the server ran meanwhile, once the background is quiet.
func counted(t testing.TB, server *redistest.Server, do func()) redistest.Commands {
	t.Helper()
	c := server.Client()
	before := redistest.CountCommands(t, c)
	do()
	return redistest.CountCommands(t, c).Since(before)
}

func fill(t testing.TB, s *registry.Store, n int) {
	t.Helper()
	for i := range n {
		register(t, s, registry.Agent{ID: fmt.Sprintf("agent-%04d", i), Name: "n", Capabilities: registry.Capable("go", "sql"), MaxLoad: 4})
	}
}

func TestAWarmGetOrListIsNoRoundTripAndNoAllocation(t *testing.T) {
	server := redistest.Start(t)
	s := quietStore(t, server)
	fill(t, s, 100)
	if _, err := s.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "warm reads that send nothing", func() bool {
		n := counted(t, server, func() {
			for range 50 {
				_ = get(t, s, "agent-0007")
				if _, err := s.List(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Find(t.Context(), registry.Query{Capabilities: []string{"go"}}); err != nil {
					t.Fatal(err)
				}
			}
		})
		return n.Scripts() == 0 && n["get"] == 0 && n["mget"] == 0
	})
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		all, err := s.List(ctx)
		if err != nil || all.Len() != 100 || all.At(3).ID == "" {
			t.Error(err)
		}
		for a := range all.All() {
			if a.ID == "" {
				t.Error("no id")
			}
		}
	}); n > 0 {
		t.Errorf("a warm List makes %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if a, err := s.Get(ctx, "agent-0042"); err != nil || !a.Capabilities.Has("sql") {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("a warm Get makes %v allocations", n)
	}
}

func TestAListIsOneRoundTripAndNoScan(t *testing.T) {
	server := redistest.Start(t)
	s := quietStore(t, server)
	fill(t, s, 1000)
	other := quietStore(t, server) // cold
	eventually(t, "a list in one script", func() bool {
		n := counted(t, server, func() {
			all, err := other.List(t.Context(), readthrough.SkipL1())
			if err != nil || all.Len() != 1000 {
				t.Fatalf("%d, %v", all.Len(), err)
			}
		})
		if n["scan"] > 0 || n["keys"] > 0 || n["get"] > 0 {
			t.Fatalf("a list of 1,000 agents ran %v", n)
		}
		return n.Scripts() == 0 && n["mget"] == 0 && n["sort"] == 1
	})
}

func TestAHeartbeatIsOneRoundTripAndWakesNobody(t *testing.T) {
	server := redistest.Start(t)
	a, b := quietStore(t, server), quietStore(t, server)
	register(t, a, registry.Agent{ID: "x"})
	beat := func() {
		if err := a.Heartbeat(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	wantList(t, b, "x")
	eventually(t, "beats that send no message", func() bool {
		n := counted(t, server, func() {
			for range 20 {
				beat()
				_ = get(t, b, "x")
			}
		})
		if n["publish"] > 0 || n["spublish"] > 0 || n["mget"] > 0 {
			t.Logf("20 heartbeats ran %v", n)
		}
		return n["publish"] == 0 && n["spublish"] == 0 && n["mget"] == 0 && n.Scripts() == 20
	})
	n := counted(t, server, func() {
		if _, err := a.SetStatusAsync(t.Context(), "x", registry.Offline); err != nil {
			t.Fatal(err)
		}
		beat()
	})
	if n["publish"] < 2 {
		t.Errorf("a change of a status and a revival published %d messages", n["publish"])
	}
}

func BenchmarkGetWarm(b *testing.B) {
	s := open(b, registry.Config{Backend: &registry.Memory{}, MaxAge: time.Hour})
	fill(b, s, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), "agent-0500"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkListWarm answers what a task's dispatch pays for the list of all agents.
func BenchmarkListWarm(b *testing.B) {
	s := open(b, registry.Config{Backend: &registry.Memory{}, MaxAge: time.Hour})
	fill(b, s, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if all, err := s.List(b.Context()); err != nil || all.Len() != 1000 {
			b.Fatal(err)
		}
	}
}

// BenchmarkFindWarm answers what the choice of an agent among 1,000 costs.
func BenchmarkFindWarm(b *testing.B) {
	s := open(b, registry.Config{Backend: &registry.Memory{}, MaxAge: time.Hour})
	fill(b, s, 1000)
	query := registry.Query{Capabilities: []string{"go"}, Limit: 3}
	b.ReportAllocs()
	for b.Loop() {
		if found, err := s.Find(b.Context(), query); err != nil || found.Len() != 3 {
			b.Fatal(err)
		}
	}
}

// BenchmarkList1000Cold compares one round trip with what the original does: SCAN, and a GET for each agent. The metric
// times-faster is the ratio of their medians in this run, which a busy machine disturbs less than that of their sums.
func BenchmarkList1000Cold(b *testing.B) {
	server := redistest.Start(b)
	s := quietStore(b, server)
	fill(b, s, 1000)
	c := server.Client()
	var original, ours []time.Duration
	for b.Loop() {
		began := time.Now()
		n := 0
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			keys, next, err := c.Scan(b.Context(), cursor, "agentic:agent:*", 100).Result()
			if err != nil {
				b.Fatal(err)
			}
			for _, key := range keys {
				doc, err := c.Get(b.Context(), key).Bytes()
				var a registry.Agent
				if err != nil || a.UnmarshalJSON(doc) != nil {
					b.Fatal(err)
				}
				n++
			}
			cursor = next
		}
		half := time.Now()
		all, err := s.List(b.Context(), readthrough.SkipL1())
		if err != nil || all.Len() != n {
			b.Fatal(all.Len(), n, err)
		}
		original, ours = append(original, half.Sub(began)), append(ours, time.Since(half))
	}
	median := func(took []time.Duration) float64 {
		slices.Sort(took)
		return float64(took[len(took)/2].Microseconds())
	}
	b.ReportMetric(median(original)/median(ours), "times-faster")
	b.ReportMetric(median(ours), "µs/list")
}

// BenchmarkHeartbeat answers what one costs in Redis, the round trip included.
func BenchmarkHeartbeat(b *testing.B) {
	server := redistest.Start(b)
	s := quietStore(b, server)
	fill(b, s, 100)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Heartbeat(b.Context(), "agent-0050"); err != nil {
			b.Fatal(err)
		}
	}
}
