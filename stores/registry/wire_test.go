package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

func golden(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(data), "\n")
}

var goldenAgents = map[string]registry.Agent{
	"agent.json": {
		ID: "a1", Name: "n", Capabilities: registry.Capable("go"), Status: registry.Available,
		LastHeartbeat: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	},
	"agent_bare.json": {ID: "a1", Name: "n", Status: registry.Offline, LastHeartbeat: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), CurrentLoad: 2, MaxLoad: 4},
	"agent_text.json": {
		ID: "team:é/1", Name: `<"&\` + "\n", Capabilities: registry.Capable("a b", "ü", ""), Status: registry.Busy,
		LastHeartbeat: time.Date(2026, 12, 31, 23, 59, 59, 999_999_999, time.UTC), CurrentLoad: 1<<53 - 1,
	},
}

func TestTheDocumentIsTheOriginalsByteForByte(t *testing.T) {
	for name, agent := range goldenAgents {
		text, err := json.Marshal(agent)
		if want := golden(t, name); err != nil || string(text) != want {
			t.Errorf("%s: %s, %v, want %s", name, text, err, want)
		}
		var back registry.Agent
		if err := json.Unmarshal([]byte(golden(t, name)), &back); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != golden(t, name) {
			t.Errorf("%s: read and written %s, %v", name, again, err)
		}
	}
}

// original is an agent as the original system's programs declare it.
type original struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Capabilities  []string  `json:"capabilities,omitempty"`
	Status        string    `json:"status"`
	LastHeartbeat time.Time `json:"last_heartbeat"`
	CurrentLoad   int       `json:"current_load"`
	MaxLoad       int       `json:"max_load"`
}

func TestAProcessOfTheOriginalSystemReadsWhatIsWritten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c redis.UniversalClient, _ bool) {
		s := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c})})
		register(t, s, registry.Agent{ID: "a1", Name: "n", Capabilities: registry.Capable("go"), MaxLoad: 3})
		read := func() (o original) {
			t.Helper()
			doc, err := c.Get(t.Context(), "agentic:agent:a1").Bytes()
			if err != nil || json.Unmarshal(doc, &o) != nil {
				t.Fatalf("%s, %v", doc, err)
			}
			if ttl := c.PTTL(t.Context(), "agentic:agent:a1").Val(); ttl <= 4*time.Minute || ttl > 5*time.Minute {
				t.Errorf("TTL %s", ttl)
			}
			return o
		}
		if o := read(); o.ID != "a1" || o.Name != "n" || len(o.Capabilities) != 1 || o.Status != "available" || o.MaxLoad != 3 || o.LastHeartbeat.IsZero() {
			t.Errorf("%+v", o)
		}
		before := read().LastHeartbeat
		if err := s.SetStatus(t.Context(), "a1", registry.Offline); err != nil {
			t.Fatal(err)
		}
		if err := s.Heartbeat(t.Context(), "a1"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Claim(t.Context(), "a1"); err != nil {
			t.Fatal(err)
		}
		if o := read(); o.Status != "available" || !o.LastHeartbeat.After(before) || o.CurrentLoad != 1 || o.LastHeartbeat.Location() != time.UTC {
			t.Errorf("%+v, before %s", o, before)
		}
	})
}

// write is what the original does: a plain SET with its TTL, and no word to anybody.
func write(t testing.TB, c redis.UniversalClient, o original) {
	t.Helper()
	doc, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), "agentic:agent:"+o.ID, doc, 5*time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAForeignProgramWritesIsSeenAtOnceWithAWarmMemory(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c redis.UniversalClient, _ bool) {
		s := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c}), Foreign: true, MaxAge: time.Hour})
		register(t, s, registry.Agent{ID: "ours"})
		wantList(t, s, "ours")
		write(t, c, original{ID: "theirs", Status: "available", LastHeartbeat: time.Now()})
		wantList(t, s, "ours", "theirs")
		write(t, c, original{ID: "theirs", Status: "busy", LastHeartbeat: time.Now()})
		if got := get(t, s, "theirs").Status; got != registry.Busy {
			t.Errorf("status %s", got)
		}
		found, err := s.Find(t.Context(), registry.Query{})
		if err != nil || found.Len() != 1 {
			t.Errorf("%v, %v", ids(found), err)
		}
		c.Del(t.Context(), "agentic:agent:theirs")
		wantList(t, s, "ours")
		write(t, c, original{ID: "theirs", Status: "available"})
		if err := s.Heartbeat(t.Context(), "theirs"); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := c.Exists(t.Context(), "agentic:agent:theirs", "agentic:agent:ours").Val(); n != 0 {
			t.Errorf("%d agents left", n)
		}
	})
}

// Else it could not even be emptied. What is new to the index is refused: a list without it would not be whole.
func TestAFullRedisStillListsAndFlushesWhereOtherProgramsWrite(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	c := server.Client()
	s := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c}), Foreign: true})
	register(t, s, registry.Agent{ID: "ours"})
	wantList(t, s, "ours")
	server.Do("CONFIG", "SET", "maxmemory", "1")
	wantList(t, s, "ours")
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantList(t, s)
	server.Do("CONFIG", "SET", "maxmemory", "0")
	write(t, c, original{ID: "theirs", Status: "available", LastHeartbeat: time.Now()})
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if all, err := s.List(t.Context()); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%v, %v", ids(all), err)
	}
}

func TestWhatAForeignProgramWritesIsSeenWithinForeignTTL(t *testing.T) {
	_, c := redistest.Mini(t)
	s := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c}), Foreign: true, ForeignTTL: 50 * time.Millisecond})
	wantList(t, s)
	write(t, c, original{ID: "theirs", Status: "available", LastHeartbeat: time.Now()})
	eventually(t, "a foreign agent", func() bool { all, err := s.List(t.Context()); return err == nil && all.Len() == 1 })
	if _, err := registry.New(registry.Config{Backend: &registry.Memory{}, Foreign: true, ForeignTTL: 2 * time.Second}); err == nil {
		t.Error("a ForeignTTL above 1 s is not refused")
	}
}

// Agents that were there before this library came, and those of a Redis that lost the index alone.
func TestAgentsAreFoundWithoutTheIndexOnce(t *testing.T) {
	server := redistest.Start(t)
	c := server.Client()
	write(t, c, original{ID: "old 1", Status: "available", LastHeartbeat: time.Now()}) // no id of ours is written so
	write(t, c, original{ID: "old2", Status: "available", LastHeartbeat: time.Now()})
	s := quietStore(t, server)
	all, err := s.List(t.Context())
	if err != nil || len(ids(all)) != 1 || ids(all)[0] != "old2" {
		t.Errorf("%v, %v", ids(all), err)
	}
	register(t, s, registry.Agent{ID: "new"})
	c.Del(t.Context(), "agentic:lc-index")
	if err := s.Heartbeat(t.Context(), "new"); err != nil { // which puts one of two back
		t.Fatal(err)
	}
	all, err = s.List(t.Context(), readthrough.SkipL1())
	if got := ids(all); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if n := counted(t, server, func() { _, _ = s.List(t.Context(), readthrough.SkipL1()) }); n["scan"] > 0 {
		t.Errorf("a list with a whole index ran %v", n)
	}
}

func TestAFaultyRecordFailsAlone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, c redis.UniversalClient, _ bool) {
		s := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c})})
		for _, id := range []string{"good", "cut", "list", "other", "zero", "half", "deep"} {
			register(t, s, registry.Agent{ID: id})
		}
		c.Set(t.Context(), "agentic:agent:cut", `{"id":"cut"`, 0)
		c.Del(t.Context(), "agentic:agent:list")
		c.RPush(t.Context(), "agentic:agent:list", "x")
		c.Set(t.Context(), "agentic:agent:other", `{"id":"good"}`, 0)
		c.Set(t.Context(), "agentic:agent:zero", "{\"id\":\"zero\x00\"}", 0)
		c.Set(t.Context(), "agentic:agent:half", `{"id":"half","x":"\ud800"}`, 0) // which no script reads
		c.Set(t.Context(), "agentic:agent:deep", `{"id":"deep","x":`+nested(1000)+`}`, 0)
		all, err := s.List(t.Context(), readthrough.SkipL1())
		if got := ids(all); err != nil || len(got) != 1 || got[0] != "good" {
			t.Errorf("%q, %v", got, err)
		}
		for _, id := range []string{"cut", "other", "zero", "half", "deep"} {
			_, err := s.Get(t.Context(), id)
			wantCode(t, id, err, registry.Failed)
		}
		wantCode(t, "heartbeat of a cut document", s.Heartbeat(t.Context(), "cut"), registry.Failed)
		wantCode(t, "heartbeat of a list", s.Heartbeat(t.Context(), "list"), registry.Failed)
	})
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// A script reads less than Go does: what only one of them reads could be registered and never beat.
func TestWhatIsReadCanBeWrittenAndBeatsInEveryBackend(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		s := f.open(t)
		for i, value := range []string{nested(999), `"\ud83d\ude00 \\ud800"`, `"\u003c\uD7FF\ue000"`, `1e999`} {
			var a registry.Agent
			if err := json.Unmarshal(fmt.Appendf(nil, `{"id":"%d","x":%s}`, i, value), &a); err != nil {
				t.Fatalf("%.20s: %v", value, err)
			}
			register(t, s, a)
			if err := s.Heartbeat(t.Context(), a.ID); err != nil {
				t.Errorf("%.20s: %v", value, err)
			}
		}
		for _, doc := range []string{
			`{"x":` + nested(1000) + `}`, `{"x":"\ud800"}`, `{"x":"\uDFFF"}`, `{"x":"\ud83d\u0041"}`, `{"x":"\ud83d\ud83d\ude00"}`, `{"name":"\udc00"}`,
			`{"\ud800":1}`, `{"x":["\\\ud800"]}`,
		} {
			var a registry.Agent
			if err := a.UnmarshalJSON([]byte(doc)); err == nil {
				t.Errorf("%.40s was read", doc)
			}
		}
	})
}

func TestTwoTenantsSeeNothingOfEachOther(t *testing.T) {
	everywhere(t, func(t *testing.T, f *fleet) {
		a, b, none := f.openAs(t, "a"), f.openAs(t, "b"), f.open(t)
		hostile := []string{"x", "@a:agentic:agent:x", "a:x", "*", "agent:x", "lc-index", "../x", "%00"}
		for _, id := range hostile {
			register(t, a, registry.Agent{ID: id, Name: "a"})
		}
		register(t, b, registry.Agent{ID: "x", Name: "b"})
		register(t, none, registry.Agent{ID: "x", Name: "none"})
		wantList(t, b, "x")
		wantList(t, none, "x")
		for name, s := range map[string]*registry.Store{"a": a, "b": b, "none": none} {
			if got := get(t, s, "x").Name; got != name {
				t.Errorf("%s reads %s", name, got)
			}
		}
		_, err := b.Get(t.Context(), "*")
		wantCode(t, "another tenant's agent", err, registry.Unknown)
		wantCode(t, "another tenant's agent", b.Deregister(t.Context(), "@a:agentic:agent:x"), registry.Unknown)
		for _, id := range hostile {
			if _, err := a.DeregisterAsync(t.Context(), id); err != nil {
				t.Errorf("%q: %v", id, err)
			}
		}
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantList(t, a)
		wantList(t, b, "x")
		wantList(t, none, "x")
	})
	_, c := redistest.Mini(t)
	if _, err := registry.New(registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c, Tenant: "secret"}), Tenant: "other"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a backend of another tenant: %v", err)
	}
}

func TestGlobsInAPrefixAreRefused(t *testing.T) {
	_, c := redistest.Mini(t)
	for _, prefix := range []string{"*", "a*", "a?", "[a]", "a:b", "{a}", "@a", "a b", "\\"} {
		if _, err := registry.NewRedis(registry.RedisConfig{Client: c, Prefix: prefix}); err == nil || !strings.HasPrefix(err.Error(), "registry: RedisConfig.Prefix") {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

func TestAClusterNeedsTaggedKeysAndIsToldSo(t *testing.T) {
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	if _, err := registry.NewRedis(registry.RedisConfig{Client: c}); err == nil || !strings.Contains(err.Error(), "RedisConfig.Tagged must be true") {
		t.Error(err)
	}
	if _, err := registry.NewRedis(registry.RedisConfig{Client: c, Tagged: true}); err != nil {
		t.Error(err)
	}
}
