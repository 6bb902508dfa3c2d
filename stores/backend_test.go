package stores_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
)

// fill puts one record into every store but the policies: under the same names, whoever does it.
func fill(t testing.TB, b *stores.Backend) {
	t.Helper()
	// What waits until it is in force would wait for B, the epoch being young.
	_, sessionErr := b.Sessions().SaveAsync(t.Context(), session.Session{ID: session.ID{1}, StartedAt: time.Unix(1, 0)})
	_, agentErr := b.Agents().RegisterAsync(t.Context(), registry.Agent{ID: "agent", MaxLoad: 3})
	_, threadErr := b.Threads().Save(t.Context(), "thread", []byte(`{"n":1}`))
	_, countErr := b.RateLimits().Increment(t.Context(), "key", 7, time.Hour)
	_, runErr := b.Runs().Append(t.Context(), "run", runlog.Event{Body: json.RawMessage(`{"TextDelta":{}}`)})
	for what, err := range map[string]error{
		"session": sessionErr, "agent": agentErr, "thread": threadErr, "count": countErr, "run": runErr,
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// filled says what of it is there. Any answer that is neither that nor its absence fails the test.
func filled(t testing.TB, b *stores.Backend) (found []string) {
	t.Helper()
	note := func(what string, there bool, err error) {
		switch {
		case err != nil && !errors.Is(err, readthrough.ErrNotFound):
			t.Errorf("%s: %v", what, err)
		case err == nil && there:
			found = append(found, what)
		}
	}
	_, err := b.Sessions().Load(t.Context(), session.ID{1})
	note("session", true, err)
	all, err := b.Agents().List(t.Context())
	note("agent", all.Len() == 1, err)
	_, err = b.Threads().Load(t.Context(), "thread")
	note("thread", true, err)
	n, err := b.RateLimits().Current(t.Context(), "key")
	note("count", n == 7, err)
	page, err := b.Runs().ListAfter(t.Context(), "run", runlog.Cursor{}, 10)
	note("run", len(page.Events) == 1, err)
	return found
}

const everything = "session agent thread count run"

func TestEveryStoreIsThereWhateverTheDrivers(t *testing.T) {
	server := redistest.Start(t)
	url := stores.NewSecret(server.URL())
	for name, cfg := range map[string]stores.Config{
		"nothing":  {},
		"memory":   {PolicyStore: "memory", SessionStore: "memory", RateLimitCounter: "memory", AgentRegistry: "memory", Checkpointer: "memory", EventStore: "memory"},
		"redis":    {PolicyStore: "memory", SessionStore: "redis", RateLimitCounter: "redis", AgentRegistry: "redis", Checkpointer: "redis", EventStore: "redis", Redis: stores.RedisConfig{URL: url}},
		"a sqlite": {SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Sole: true},
		"both":     {SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Redis: stores.RedisConfig{URL: url}, Tenant: "both"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, cfg)
			allow(t, b.Policies(), agent(1))
			fill(t, b)
			if got := strings.Join(filled(t, b), " "); got != everything {
				t.Errorf("found %q of %q", got, everything)
			}
			if err := b.Ready(t.Context()); err != nil || !b.Health().Healthy() {
				t.Errorf("Ready: %v, %+v", err, b.Health())
			}
		})
	}
}

func TestOneClientAndOneBusServeAllStores(t *testing.T) {
	const pool = 3
	server := redistest.Start(t)
	b := open(t, stores.Config{
		SQL:   stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))},
		Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL()), PoolSize: pool},
	})
	allow(t, b.Policies(), agent(1))
	fill(t, b)
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup // enough at once that each pool there is would fill
	for range 32 {
		busy.Go(func() {
			for range 20 {
				_, _ = b.RateLimits().Increment(t.Context(), "busy", 1, time.Hour)
				_, _ = b.Threads().List(t.Context(), "", 10)
				_, _ = b.Policies().Decide(t.Context(), agent(1), action, readthrough.SkipL1())
			}
		})
	}
	busy.Wait()
	subscribed, plain := 0, 0
	for line := range strings.Lines(server.Client().ClientList(t.Context()).Val()) {
		switch {
		case strings.Contains(line, " cmd=client"): // who asks
		case strings.Contains(line, " sub=0 ") && strings.Contains(line, " ssub=0 "):
			plain++
		default:
			subscribed++
		}
	}
	if subscribed != 1 || plain > pool || plain == 0 {
		t.Errorf("%d connections subscribe, want 1; %d others, want at most %d", subscribed, plain, pool)
	}
}

func TestAStoreThatNobodyAsksForCostsNothing(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, stores.Config{
		SQL:   stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))},
		Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}, SessionStore: "redis",
	})
	channels := func() []string { return server.Client().PubSubChannels(t.Context(), "*").Val() }
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, "the channels of the two stores that are named or always there", func() bool { return len(channels()) == 2 })
	_ = b.Threads()
	redistest.Eventually(t, patience, "the channel of the store that was asked for", func() bool { return len(channels()) == 3 })
}

func TestReadyAndHealthAreOfEveryStore(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, stores.Config{
		PolicyStore: "memory", SessionStore: "redis", RateLimitCounter: "redis", AgentRegistry: "redis", Checkpointer: "redis", EventStore: "redis",
		Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())},
	})
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	redistest.Eventually(t, patience, "word of the outage from every store", func() bool {
		if err := b.Ready(t.Context()); !errors.Is(err, readthrough.ErrUnavailable) {
			t.Fatalf("Ready: %v", err)
		}
		h := b.Health()
		for _, store := range []invalidation.Health{h.Sessions, h.RateLimits, h.Agents, h.Threads, h.Runs} {
			if store.State != invalidation.Down {
				return false
			}
		}
		return !h.Healthy() && h.Policies.State == invalidation.Up
	})
	server.Restart()
	redistest.Eventually(t, patience, "recovery", func() bool { return b.Ready(t.Context()) == nil && b.Health().Healthy() })
}

func TestAStoreThatIsFirstAskedForAfterCloseIsClosed(t *testing.T) {
	for name, cfg := range map[string]stores.Config{
		"memory": {},
		"redis":  {PolicyStore: "memory", Redis: stores.RedisConfig{URL: stores.NewSecret("redis://127.0.0.1:1")}},
	} {
		b := open(t, cfg)
		if err := b.Close(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, agentErr := b.Agents().Get(t.Context(), "a")
		_, threadErr := b.Threads().Load(t.Context(), "t")
		_, countErr := b.RateLimits().Current(t.Context(), "k")
		_, runErr := b.Runs().ListAfter(t.Context(), "r", runlog.Cursor{}, 1)
		_, limitErr := b.RateLimits().Allow(t.Context(), "k", 1, ratelimit.Limit{Max: 1, Window: time.Second})
		for what, err := range map[string]error{
			"a session": b.Sessions().Delete(t.Context(), session.ID{1}), "an agent": agentErr, "a thread": threadErr,
			"a count": countErr, "a limit": limitErr, "a run": runErr,
		} {
			if !errors.Is(err, readthrough.ErrClosed) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
}

// Else a program that closes at its end, beside a Close on a signal, would end before what is pending was delivered.
func TestALaterCloseWaitsForTheFirstUntilItsContextEnds(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	slow := stores.Driver{InProcess: true, Sessions: func(_ context.Context, o *stores.Opening) (session.Backend, error) {
		o.OnClose(func(context.Context) error {
			close(entered)
			<-release
			return nil
		})
		return &session.Memory{}, nil
	}}
	b := open(t, stores.Config{SessionStore: "slow"}, stores.WithDriver("slow", slow))
	both := make(chan error, 2)
	go func() { both <- b.Close(context.Background()) }()
	<-entered
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v while the first Close is under way", err)
	}
	go func() { both <- b.Close(context.Background()) }()
	close(release)
	for range 2 {
		if err := <-both; err != nil {
			t.Error(err)
		}
	}
	if err := b.Close(ended); err != nil {
		t.Errorf("%v after the end", err)
	}
}

func TestStoresAreMadeOnceWhoeverAsksFirst(t *testing.T) {
	b := open(t, stores.Config{})
	var asked sync.WaitGroup
	got := make([]*session.Store, 16)
	for i := range got {
		asked.Go(func() { got[i] = b.Sessions() })
	}
	asked.Wait()
	for _, s := range got {
		if s != got[0] {
			t.Fatal("two stores")
		}
	}
}

func TestTenantsShareRedisAndADatabaseAndSeeNothingOfEachOther(t *testing.T) {
	server := redistest.Start(t)
	database := sqliteURL(t)
	backends := map[string]*stores.Backend{}
	for _, tenant := range []string{"", "a", "b", "a.b", "session"} {
		backends[tenant] = open(t, stores.Config{
			SQL:   stores.SQLConfig{URL: stores.NewSecret(database)},
			Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}, Tenant: tenant,
		})
	}
	for _, tenant := range []string{"a", ""} {
		allow(t, backends[tenant].Policies(), agent(1))
		fill(t, backends[tenant])
		if got := strings.Join(filled(t, backends[tenant]), " "); got != everything {
			t.Errorf("tenant %q finds %q of its own", tenant, got)
		}
		for other, b := range backends {
			if other == tenant || tenant == "" && other == "a" {
				continue
			}
			if d, err := b.Policies().Decide(t.Context(), agent(1), action); !errors.Is(err, readthrough.ErrNotFound) {
				t.Errorf("tenant %q has the policy of %q: %+v, %v", other, tenant, d, err)
			}
			if got := filled(t, b); len(got) > 0 {
				t.Errorf("tenant %q finds of %q: %q", other, tenant, got)
			}
		}
	}
	if err := backends["b"].Agents().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{"a", ""} {
		if got := strings.Join(filled(t, backends[tenant]), " "); got != everything {
			t.Errorf("after another's flush tenant %q finds %q of its own", tenant, got)
		}
	}
}

func TestOnAClusterIndexesNeedHashTagsAndSaySoAtTheStart(t *testing.T) {
	cluster := redistest.StartCluster(t)
	cfg := stores.Config{PolicyStore: "memory", Redis: stores.RedisConfig{Cluster: true}}
	for _, node := range cluster.Nodes {
		cfg.Redis.Addrs = append(cfg.Redis.Addrs, node.Addr())
	}
	for field, name := range map[string]func(*stores.Config){
		"AgentRegistry": func(c *stores.Config) { c.AgentRegistry = "redis" },
		"Checkpointer":  func(c *stores.Config) { c.Checkpointer = "redis" },
	} {
		named := cfg
		name(&named)
		if _, err := stores.Open(t.Context(), named); err == nil || !strings.Contains(err.Error(), "Config."+field) || !strings.Contains(err.Error(), "Tagged") {
			t.Errorf("%s on an untagged Cluster: %v", field, err)
		}
		named.Redis.Tagged = true
		if b := open(t, named); b.Agents() == nil {
			t.Error("no registry")
		}
	}
	b := open(t, cfg)
	fill(t, b)
	if got := strings.Join(filled(t, b), " "); got != everything {
		t.Errorf("by default: found %q of %q", got, everything)
	}
	if n, err := cluster.Client().Exists(context.Background(), "{agents}:thread:thread").Result(); err != nil || n != 1 {
		t.Errorf("by default: the tagged key is not there: %v", err)
	}
}
