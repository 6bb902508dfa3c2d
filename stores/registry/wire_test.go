package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
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
	for _, ttl := range []time.Duration{-1, time.Millisecond - 1, 2 * time.Second} {
		if _, err := registry.New(registry.Config{Backend: &registry.Memory{}, Foreign: true, ForeignTTL: ttl}); err == nil {
			t.Errorf("a ForeignTTL of %s is not refused", ttl)
		}
	}
}

// slow is a backend whose lists can be held back after they were read.
type slow struct {
	registry.Backend
	lists atomic.Int64
	hold  atomic.Pointer[chan struct{}]
}

func (s *slow) List(ctx context.Context, terms registry.Terms) (registry.Listing, error) {
	l, err := s.Backend.List(ctx, terms)
	s.lists.Add(1)
	if hold := s.hold.Load(); hold != nil {
		<-*hold
	}
	return l, err
}

// A slow read of the backend is not shared with callers that come long after it began.
func TestALoadIsNotJoinedForLongerThanForeignTTL(t *testing.T) {
	f := newFleet(t, "redis")
	c := f.redis.Client()
	b := &slow{Backend: onRedis(t, registry.RedisConfig{Client: c})}
	s := open(t, registry.Config{Backend: b, Link: link(t, c), Foreign: true, ForeignTTL: 20 * time.Millisecond, Bound: 10 * time.Second})
	eventually(t, "a lease", func() bool { return s.Ready(t.Context()) == nil })
	write(t, c, original{ID: "a", Status: "available", LastHeartbeat: time.Now()})
	hold := make(chan struct{})
	b.hold.Store(&hold)
	before, old := b.lists.Load(), make(chan error, 1)
	go func() { _, err := s.List(t.Context(), readthrough.SkipL1()); old <- err }() // ends with its read
	eventually(t, "a read", func() bool { return b.lists.Load() > before })
	write(t, c, original{ID: "b", Status: "available", LastHeartbeat: time.Now()})
	b.hold.Store(nil)
	pass(t, 20*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	all, err := s.List(ctx, readthrough.SkipL1())
	if got := ids(all); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q, %v", got, err)
	}
	close(hold)
	if err := <-old; err != nil {
		t.Error(err)
	}
}

// B is the namespace's, and ForeignTTL each process's own.
func TestProcessesNeedNotAgreeOnForeignTTL(t *testing.T) {
	f := newFleet(t, "miniredis")
	for _, ttl := range []time.Duration{20 * time.Millisecond, time.Second, 0} {
		s := f.open(t, func(cfg *registry.Config) { cfg.Foreign, cfg.ForeignTTL = ttl > 0, ttl })
		eventually(t, "a lease", func() bool { return s.Ready(t.Context()) == nil })
		register(t, s, registry.Agent{ID: "a"})
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

// Whoever may write a key of the original's could else blind every process.
func TestAKeyThatIsNoAgentsBreaksNothing(t *testing.T) {
	odd := []string{"a\nb", "a\n", "a b", "!", "?x", "*", "é", "a/b", ""}
	over := map[string]func(testing.TB) (redis.UniversalClient, string){
		"redis":     func(t testing.TB) (redis.UniversalClient, string) { return redistest.Start(t).Client(), "agentic:" },
		"miniredis": func(t testing.TB) (redis.UniversalClient, string) { _, c := redistest.Mini(t); return c, "agentic:" },
		"cluster": func(t testing.TB) (redis.UniversalClient, string) {
			return redistest.StartCluster(t).Client(), "{agentic}:"
		},
	}
	for name, start := range over {
		for _, foreign := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, foreign %t", name, foreign), func(t *testing.T) {
				c, prefix := start(t)
				s := open(t, registry.Config{Backend: onRedis(t, registry.RedisConfig{Client: c, Tagged: prefix[0] == '{'}), Foreign: foreign})
				for _, id := range odd {
					c.Set(t.Context(), prefix+"agent:"+id, `{"id":"x","status":"available"}`, time.Minute)
				}
				usable := func() {
					t.Helper()
					register(t, s, registry.Agent{ID: "good"})
					for range 3 {
						if all, err := s.List(t.Context(), readthrough.SkipL1()); err != nil || !slices.Equal(ids(all), []string{"good"}) {
							t.Fatalf("%v, %v", ids(all), err)
						}
					}
					if found, err := s.Find(t.Context(), registry.Query{}); err != nil || found.Len() != 1 {
						t.Errorf("%v, %v", ids(found), err)
					}
					if marked, err := s.Reap(t.Context(), time.Hour); err != nil || len(marked) > 0 {
						t.Errorf("%v, %v", marked, err)
					}
				}
				usable()
				for _, id := range odd[:3] { // an index that was made whole with them
					c.ZAdd(t.Context(), prefix+"lc-index", redis.Z{Score: float64(time.Now().Add(time.Minute).UnixMilli()), Member: id})
				}
				c.ZAdd(t.Context(), prefix+"lc-index", redis.Z{Score: 1, Member: "ended"}) // which the script takes out
				usable()
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantList(t, s)
				for _, id := range odd {
					if c.Exists(t.Context(), prefix+"agent:"+id).Val() != 1 {
						t.Errorf("Flush has removed %q, which is nobody's", id)
					}
				}
			})
		}
	}
}

// Else one record of another program would hold up every list, and reading it does not end with the load's time.
func TestWhatReadingARecordTakesGrowsWithItsLengthAlone(t *testing.T) {
	const members = 10_000
	var doc strings.Builder
	doc.WriteString(`{"id":"a"`)
	for i := range members {
		fmt.Fprintf(&doc, `,"m%d":0`, i)
	}
	doc.WriteString("}")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var a registry.Agent
	if err := a.UnmarshalJSON([]byte(doc.String())); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 50*uint64(doc.Len()) {
		t.Errorf("a document of %d bytes took %d", doc.Len(), taken)
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
		wantCode(t, "heartbeat of a list", s.Heartbeat(t.Context(), "list"), registry.Unknown) // who is told so registers anew
		wantCode(t, "deregistration of a list", s.Deregister(t.Context(), "list"), registry.Unknown)
		if c.Exists(t.Context(), "agentic:agent:list").Val() != 1 {
			t.Error("another program's list was removed")
		}
		if err := s.Deregister(t.Context(), "cut"); err != nil || c.Exists(t.Context(), "agentic:agent:cut").Val() != 0 {
			t.Errorf("a record that cannot be read cannot be removed: %v", err)
		}
	})
}

// What one of them takes and another refuses would be an agent that nobody can find, or that cannot stay.
func TestListGetHeartbeatAndClaimAgreeOnWhatARecordIs(t *testing.T) {
	docs := map[string]string{
		"hex": `{"id":"hex","current_load":0x10}`, "nan": `{"id":"nan","current_load":NaN}`, "infinite": `{"id":"infinite","x":Infinity}`,
		"float": `{"id":"float","current_load":1.0}`, "power": `{"id":"power","max_load":1e2}`, "plus": `{"id":"plus","x":+1}`,
		"zeros": `{"id":"zeros","x":01}`, "zeros2": `{"id":"zeros2","current_load":01}`, "point": `{"id":"point","x":1.}`, "fine": `{"id":"fine","x":-0.5E+7,"y":10,"z":2e3}`,
		"big": `{"id":"big","current_load":9223372036854775807}`, "huge": `{"id":"huge","current_load":9223372036854775808}`,
		"least": `{"id":"least","current_load":-9223372036854775808}`, "neg0": `{"id":"neg0","current_load":-0,"max_load":null}`,
		"escaped": `{"id":"esc\u0061ped","sta\u0074us":"offline"}`, "empty": ``, "space": "{\"id\":\"space\"}\n", "null": `null`, "array": `[]`,
		"zone": `{"id":"zone","last_heartbeat":"2020-01-02T03:04:05.5+01:00"}`, "comma": `{"id":"comma","last_heartbeat":"2020-01-02T03:04:05,5Z"}`,
		"day": `{"id":"day","last_heartbeat":"2020-01-02"}`, "month": `{"id":"month","last_heartbeat":"2020-21-02T03:04:05Z"}`,
		"number": `{"id":"number","last_heartbeat":5}`, "nobeat": `{"id":"nobeat","last_heartbeat":null}`,
		"caps": `{"id":"caps","capabilities":["a",null,"b"]}`, "none": `{"id":"none","capabilities":[]}`, "caps1": `{"id":"caps1","capabilities":["a",1]}`,
		"caps2": `{"id":"caps2","capabilities":{}}`, "caps3": `{"id":"caps3","capabilities":null}`, "twice": `{"id":"twice","status":"offline","status":"busy"}`,
		"bytes": "{\"id\":\"bytes\",\"name\":\"\xff\"}", "ID": `{"ID":"ID"}`, "status5": `{"id":"status5","status":5}`, "name0": `{"id":"name0","name":[]}`,
		"other": `{"id":"another"}`, "id5": `{"id":5}`, "control": "{\"id\":\"control\",\"name\":\"a\tb\"}", "trailing": `{"id":"trailing",}`,
		"word": `{"id":"word","x":nul}`, "team:1": `{"id":"team:1"}`,
	}
	redistest.Each(t, func(t *testing.T, c redis.UniversalClient, _ bool) {
		b := onRedis(t, registry.RedisConfig{Client: c})
		s, direct := open(t, registry.Config{Backend: b}), open(t, registry.Config{Backend: b, Foreign: true})
		for id, doc := range docs {
			key := "agentic:agent:" + url.PathEscape(id)
			refresh := func() {
				if err := c.Set(t.Context(), key, doc, time.Minute).Err(); err != nil {
					t.Fatal(err)
				}
			}
			refresh()
			c.Del(t.Context(), "agentic:lc-index")
			all, err := s.List(t.Context(), readthrough.SkipL1())
			if err != nil {
				t.Fatal(err)
			}
			listed := slices.Contains(ids(all), id)
			_, warm := s.Get(t.Context(), id)
			_, cold := direct.Get(t.Context(), id)
			beat := s.Heartbeat(t.Context(), id)
			refresh()
			_, claim := s.Claim(t.Context(), id)
			if errors.Is(claim, readthrough.ErrUnavailable) && (id == "big" || id == "least") {
				claim = nil // its load is none to add to
			}
			refresh()
			_, status := s.SetStatusAsync(t.Context(), id, registry.Busy)
			for what, err := range map[string]error{"get": warm, "get from Redis": cold, "heartbeat": beat, "claim": claim, "set status": status} {
				switch {
				case listed && err != nil:
					t.Errorf("%s is listed, and its %s is %v", doc, what, err)
				case !listed && doc == "":
					wantCode(t, what+" of an empty record", err, registry.Unknown)
				case !listed:
					wantCode(t, what+" of "+doc, err, registry.Failed)
				}
			}
			c.Del(t.Context(), key)
		}
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
