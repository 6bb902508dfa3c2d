package policy_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/policy"
)

func mirrored(cfg *policy.Config) { cfg.Mirror = "aa" }

// mirrorOf is what a process of the original system reads; "" without a mirror.
func mirrorOf(t testing.TB, client redis.UniversalClient, key string) string {
	t.Helper()
	v, err := client.Get(t.Context(), key).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return v
}

func TestTheMirrorIsTheOriginalSystemsJSON(t *testing.T) {
	golden, err := os.ReadFile("testdata/mirror.json")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSuffix(string(golden), "\n")
	for tenant, key := range map[string]string{
		"":     "aa:policy:00112233445566778899aabbccddeeff",
		"acme": "@acme:aa:policy:00112233445566778899aabbccddeeff",
	} {
		for _, bus := range []string{"miniredis", "redis"} {
			t.Run(bus+"/"+tenant, func(t *testing.T) {
				f := newFleet(t, "sqlite", bus).as(tenant)
				s := f.open(t, mirrored)
				id, err := policy.ParseAgentID("00112233445566778899aabbccddeeff")
				if err != nil {
					t.Fatal(err)
				}
				doc, err := policy.NewDocument(policy.Draft{
					Version: 1, Name: "n", Rules: []policy.Rule{{ActionPattern: "*", Decision: policy.Deny}}, Mode: policy.Enforce,
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Put(t.Context(), id, doc); err != nil {
					t.Fatal(err)
				}
				decide(t, s, id)
				client := f.client(t)
				eventually(t, "mirror", func() bool { return mirrorOf(t, client, key) != "" })
				if got := mirrorOf(t, client, key); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				if ttl := client.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > 300*time.Second {
					t.Errorf("%s to live, want at most 300 s", ttl)
				}
				if _, err := policy.ParseDocument([]byte(mirrorOf(t, client, key))); err != nil {
					t.Error(err)
				}
				for _, k := range client.Keys(t.Context(), "*policy:*").Val() {
					if k != key {
						t.Errorf("%s is there too", k)
					}
				}
				if _, err := s.Delete(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				if got := mirrorOf(t, client, key); got != "" {
					t.Errorf("%s is read after it was deleted", got)
				}
				if _, err := s.Decide(t.Context(), id, "x"); !errors.Is(err, readthrough.ErrNotFound) {
					t.Error(err)
				}
				if err := s.Close(t.Context()); err != nil { // and its fill is done
					t.Fatal(err)
				}
				if n := client.Exists(t.Context(), key).Val(); n != 0 {
					t.Error("an absence has a mirror")
				}
			})
		}
	}
}

// Unknown fields of a foreign writer reach the readers of the mirror byte for byte.
func TestTheMirrorKeepsWhatTheLibraryDoesNotKnow(t *testing.T) {
	const document = `{"version":3,"x":{"y":[1,2.50]},"name":"n","rules":[],"enforcement_mode":"observe"}`
	f := newFleet(t, "sqlite", "redis")
	s := f.open(t, mirrored)
	f.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('"+agent(1).String()+"', '"+document+"')")
	client := f.client(t)
	eventually(t, "mirror", func() bool {
		_, _ = s.Get(t.Context(), agent(1), readthrough.SkipL1()) // fills again what the relay's delivery may have taken
		return mirrorOf(t, client, "aa:policy:"+agent(1).String()) == document
	})
}

// A reader of the original system beside writers and readers of the library, some of which mirror and some of which do not:
// what it reads is never older than a Put that had returned when it asked.
func TestNoReaderOfTheMirrorSeesAPolicyOlderThanAPutThatHasReturned(t *testing.T) {
	f := newFleet(t, "sqlite", "redis")
	const agents, puts = 3, 25
	writers := []*policy.Store{f.open(t, mirrored), f.open(t)}
	readers := []*policy.Store{f.open(t, mirrored), f.open(t, mirrored), f.open(t)}
	for _, s := range append(writers, readers...) {
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var (
		mu       sync.Mutex
		returned [agents]int // the last Put that has returned
		stop     = make(chan struct{})
		busy     sync.WaitGroup
	)
	floor := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return returned[n]
	}
	for i, s := range readers {
		busy.Go(func() { // ends with stop
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
					_, _ = s.Get(t.Context(), agent(byte(n%agents)), readthrough.SkipL1())
				}
			}
		})
	}
	client, hits := f.client(t), 0
	busy.Go(func() { // ends with stop
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			least := floor(n % agents)
			raw := mirrorOf(t, client, "aa:policy:"+agent(byte(n%agents)).String())
			if raw == "" {
				continue
			}
			hits++
			doc, err := policy.ParseDocument([]byte(raw))
			if err != nil {
				t.Error(err)
				return
			}
			if got, _ := strconv.Atoi(doc.Name()); got < least {
				t.Errorf("put %d is read after put %d has returned", got, least)
				return
			}
		}
	})
	for i := range puts * agents {
		n := i % agents
		doc := document(t, policy.Draft{Name: strconv.Itoa(i + 1), Rules: []policy.Rule{{ActionPattern: "*", Decision: policy.Allow}}})
		if _, err := writers[i%2].Put(t.Context(), agent(byte(n)), doc); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		returned[n] = i + 1
		mu.Unlock()
	}
	close(stop)
	busy.Wait()
	if hits == 0 {
		t.Error("the mirror was never there")
	}
	if err := writers[1].Invalidate(t.Context(), agent(0)); err != nil { // what a process without mirrors stored has none
		t.Fatal(err)
	}
	key, last := "aa:policy:"+agent(0).String(), fmt.Sprintf("%q", strconv.Itoa(floor(0)))
	eventually(t, "mirror of the last put", func() bool {
		_, _ = readers[0].Get(t.Context(), agent(0), readthrough.SkipL1()) // fills again what the relay's delivery may have taken
		return strings.Contains(mirrorOf(t, client, key), last)
	})
}

func TestMirrorFaultsAreRefusedByName(t *testing.T) {
	_, client := redistest.Mini(t)
	for name, cfg := range map[string]policy.Config{
		"alone": {Mirror: "aa"}, "glob": {Mirror: "a*", Redis: client}, "separator": {Mirror: "a:b", Redis: client},
		"of what ends with the process": {Mirror: "aa", Redis: client},
	} {
		cfg.Authority = &policy.Memory{}
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), "policy: Config.Mirror ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
