package stores_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
)

// vault is a driver of a third party: sessions and policies that all processes with one address share.
var vault = stores.Driver{
	Keys: []string{"address", "password"},
	Sessions: func(_ context.Context, o *stores.Opening) (session.Backend, error) {
		address := o.Setting("address").Reveal()
		if address == "nowhere" {
			return nil, errors.New("there is no vault there")
		}
		o.OnClose(func(context.Context) error { return vaults.note("closed " + address) })
		_ = vaults.note("opened " + address + " for " + o.Tenant() + " with " + o.Setting("password").Reveal())
		return vaults.at(address), nil
	},
}

func init() { stores.RegisterDriver("vault", vault) }

// vaults are the servers of the driver.
var vaults = rooms{rooms: map[string]*session.Memory{}}

type rooms struct {
	mu    sync.Mutex // guards the fields below
	rooms map[string]*session.Memory
	log   []string
}

func (r *rooms) at(address string) session.Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rooms[address] == nil {
		r.rooms[address] = &session.Memory{}
	}
	return struct{ session.Backend }{r.rooms[address]} // nothing known to this library
}

func (r *rooms) note(line string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, line)
	return nil
}

func (r *rooms) said(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.log, line)
}

func TestADriverOfAThirdPartyIsConfiguredOpenedSharedAndClosed(t *testing.T) {
	cfg := load(t, `
tenant = "acme"
[storage]
session_store = "vault"
[storage.vault]
address = "cellar"
`)
	t.Setenv("LAYERCACHE_STORAGE_VAULT_PASSWORD", "tr1cky")
	again, err := stores.LoadConfig("")
	if err != nil || again.Drivers["vault"]["password"].Reveal() != "tr1cky" {
		t.Fatalf("%q, %v", leaves(again), err)
	}
	cfg.Drivers["vault"]["password"] = again.Drivers["vault"]["password"]
	if shown := fmt.Sprintf("%+v %#v %v", cfg, cfg.Drivers, again.Drivers["vault"]); strings.Contains(shown, "tr1cky") || strings.Contains(shown, "cellar") {
		t.Errorf("a setting is shown: %s", shown)
	}
	one, other := open(t, cfg), open(t, cfg)
	if !vaults.said("opened cellar for acme with tr1cky") {
		t.Errorf("%q", vaults.log)
	}
	// Without Redis nobody is told, so that nothing is answered from memory.
	s := session.Session{ID: session.ID{1}, StartedAt: time.Unix(1, 0).UTC()}
	for range 2 {
		if err := one.Sessions().Save(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got, err := other.Sessions().Load(t.Context(), s.ID); err != nil || got != s {
			t.Errorf("%+v, %v", got, err)
		}
		s.StartedAt = s.StartedAt.Add(time.Second)
	}
	if err := one.Close(t.Context()); err != nil || !vaults.said("closed cellar") {
		t.Errorf("%v, %q", err, vaults.log)
	}
}

func TestRecordsOfAThirdPartyAreToldOfOverRedis(t *testing.T) {
	server := redistest.Start(t)
	cfg := stores.Config{
		PolicyStore: "memory", SessionStore: "vault", Drivers: map[string]stores.Settings{"vault": {"address": stores.NewSecret("shared")}},
		Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}, Session: stores.SessionConfig{Bound: 200 * time.Millisecond},
	}
	one, other := open(t, cfg), open(t, cfg)
	s := session.Session{ID: session.ID{2}, StartedAt: time.Unix(1, 0).UTC()}
	for range 3 {
		if err := one.Sessions().Save(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got, err := other.Sessions().Load(t.Context(), s.ID); err != nil || got != s {
			t.Errorf("%+v, %v", got, err)
		}
		s.StartedAt = s.StartedAt.Add(time.Second)
	}
}

// What the driver tells of over Opening.Local reaches the policies, too: else a revoked one would be answered for its TTL.
func TestPoliciesHearWhatADriverInProcessTells(t *testing.T) {
	documents := &policy.Memory{}
	var member *invalidation.Member
	own := stores.Driver{
		InProcess: true,
		Policies: func(_ context.Context, o *stores.Opening) (_ policy.Authority, err error) {
			member, err = o.Local().Join(invalidation.Membership{Namespace: "policy@" + o.Tenant(), Target: deaf{}})
			return struct{ policy.Authority }{documents}, err // nothing known to this library
		},
	}
	policies := open(t, stores.Config{PolicyStore: "own", Tenant: "acme"}, stores.WithDriver("own", own)).Policies()
	t.Cleanup(func() { _ = member.Close(context.Background()) })
	allow(t, policies, agent(1))
	if _, _, err := documents.Delete(t.Context(), agent(1).String(), ""); err != nil {
		t.Fatal(err)
	}
	member.InvalidateAll(t.Context(), 0)
	if d, err := policies.Decide(t.Context(), agent(1), action); !errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("allowed %t, %v", d.Allowed(), err)
	}
}

// So do the other stores, under the names that Opening.Local says.
func TestStoresHearWhatADriverInProcessTells(t *testing.T) {
	for _, tenant := range []string{"", "acme"} {
		records := &session.Memory{}
		var member *invalidation.Member
		own := stores.Driver{
			InProcess: true,
			Sessions: func(_ context.Context, o *stores.Opening) (_ session.Backend, err error) {
				namespace := "sessions"
				if o.Tenant() != "" {
					namespace += "@" + o.Tenant()
				}
				member, err = o.Local().Join(invalidation.Membership{Namespace: namespace, Target: deaf{}})
				return struct{ session.Backend }{records}, err
			},
		}
		cfg := stores.Config{PolicyStore: "memory", SessionStore: "own", Tenant: tenant}
		sessions := open(t, cfg, stores.WithDriver("own", own)).Sessions()
		t.Cleanup(func() { _ = member.Close(context.Background()) })
		id := session.ID{1}
		if err := sessions.Save(t.Context(), session.Session{ID: id, StartedAt: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := sessions.Load(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := records.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		member.InvalidateAll(t.Context(), 0)
		if s, err := sessions.Load(t.Context(), id); !errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("tenant %q: %+v, %v", tenant, s, err)
		}
	}
}

// Else whoever asks for the store first would learn of it by a panic.
func TestADriverInPlaceOfRedisThatIsWrongIsToldByOpen(t *testing.T) {
	forgetful := stores.Driver{Sessions: func(_ context.Context, o *stores.Opening) (session.Backend, error) {
		client, err := o.Redis()
		if err != nil {
			return nil, err
		}
		return session.NewRedis(session.RedisConfig{Client: client, Prefix: "mine"}) // without the tenant
	}}
	m, _ := redistest.Mini(t)
	b, err := stores.Open(t.Context(), stores.Config{
		PolicyStore: "memory", RateLimitCounter: "memory", AgentRegistry: "memory", Checkpointer: "memory", EventStore: "memory",
		Redis: stores.RedisConfig{Addrs: []string{m.Addr()}}, Tenant: "acme",
	}, stores.WithDriver("redis", forgetful))
	if err == nil {
		_ = b.Close(t.Context())
		t.Fatal("Open says nothing")
	}
	if !strings.Contains(err.Error(), "Tenant") {
		t.Error(err)
	}
}

// deaf is a member of a bus that only tells.
type deaf struct{}

func (deaf) Evict([]uint64)              {}
func (deaf) Flush()                      {}
func (deaf) Invalidated([]l2.ID, uint64) {}
func (deaf) Raise(string, uint64)        {}
func (deaf) RaiseAll(uint64)             {}
func (deaf) Rewind()                     {}

func TestDriversAreRefusedWithTheReason(t *testing.T) {
	sole := stores.Driver{Sessions: vault.Sessions, InProcess: true}
	for name, c := range map[string]struct {
		cfg  stores.Config
		want []string
	}{
		"an unknown one": {stores.Config{SessionStore: "etcd"}, []string{"Config.SessionStore", `unknown driver "etcd"`, "memory, redis, sole, sql, vault"}},
		"one that does not offer the kind": {
			stores.Config{EventStore: "vault"}, []string{"Config.EventStore", `"vault" does not offer it`, "those that do: memory, redis"},
		},
		"sql for what it does not keep": {
			stores.Config{SessionStore: "sql", SQL: stores.SQLConfig{URL: stores.NewSecret("sqlite::memory:")}},
			[]string{"Config.SessionStore", `"sql" does not offer it`, "memory, redis"},
		},
		"one without its settings": {stores.Config{SessionStore: "vault"}, []string{"Config.SessionStore is vault", "[storage.vault]"}},
		"one with an empty table": {
			stores.Config{SessionStore: "vault", Drivers: map[string]stores.Settings{"vault": {}}},
			[]string{"Config.SessionStore is vault", "[storage.vault]"},
		},
		"settings of one that no store uses": {
			stores.Config{Drivers: map[string]stores.Settings{"vault": {"address": stores.NewSecret("x")}}},
			[]string{"no store uses the driver vault", "[storage.vault]"},
		},
		"an empty table of one that no store uses": {
			stores.Config{Drivers: map[string]stores.Settings{"vault": {}}}, []string{"no store uses the driver vault", "[storage.vault]"},
		},
		"settings of an unknown one": {
			stores.Config{Drivers: map[string]stores.Settings{"etcd": {}}}, []string{"Config.Drivers", `"etcd"`, "memory, redis"},
		},
		"an unknown setting": {
			stores.Config{Drivers: map[string]stores.Settings{"vault": {"addr": stores.NewSecret("x")}}}, []string{"Config.Drivers", `"addr"`},
		},
		"one that fails": {
			stores.Config{SessionStore: "vault", Drivers: map[string]stores.Settings{"vault": {"address": stores.NewSecret("nowhere")}}},
			[]string{"Config.SessionStore is vault", "there is no vault there"},
		},
		"a cache for what must be kept": {
			stores.Config{PolicyStore: "redis", Redis: stores.RedisConfig{URL: stores.NewSecret("redis://127.0.0.1:1")}},
			[]string{"Config.PolicyStore is redis", "may forget", "authority"},
		},
		"redis without its table": {stores.Config{Checkpointer: "redis"}, []string{"Config.Checkpointer is redis", "Config.Redis", "WithRedis"}},
		"sql without its table":   {stores.Config{AgentRegistry: "sql"}, []string{"Config.AgentRegistry is sql", "Config.SQL.URL", "WithSQL"}},
	} {
		b, err := stores.Open(t.Context(), c.cfg, stores.WithDriver("sole", sole))
		if err == nil {
			t.Errorf("%s: accepted", name)
			_ = b.Close(t.Context())
			continue
		}
		for _, want := range append(c.want, "stores: ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", name, want, err)
			}
		}
	}
}

// Else the first who asks for the store would meet a panic.
func TestADriverThatMakesNothingIsRefusedForEveryKind(t *testing.T) {
	whole := stores.Driver{
		InProcess:  true,
		Policies:   func(context.Context, *stores.Opening) (policy.Authority, error) { return &policy.Memory{}, nil },
		Sessions:   func(context.Context, *stores.Opening) (session.Backend, error) { return &session.Memory{}, nil },
		RateLimits: func(context.Context, *stores.Opening) (ratelimit.Backend, error) { return &ratelimit.Memory{}, nil },
		Agents:     func(context.Context, *stores.Opening) (registry.Backend, error) { return &registry.Memory{}, nil },
		Threads:    func(context.Context, *stores.Opening) (checkpoint.Backend, error) { return &checkpoint.Memory{}, nil },
		Runs:       func(context.Context, *stores.Opening) (runlog.Backend, error) { return &runlog.Memory{}, nil },
	}
	fill(t, open(t, stores.Config{}, stores.WithDriver("memory", whole)))
	for _, c := range []struct {
		field string
		named stores.Config
		spoil func(*stores.Driver)
	}{
		{"PolicyStore", stores.Config{PolicyStore: "hollow"}, func(d *stores.Driver) {
			d.Policies = func(context.Context, *stores.Opening) (policy.Authority, error) { return nil, nil }
		}},
		{"PolicyStore", stores.Config{PolicyStore: "hollow"}, func(d *stores.Driver) {
			d.Policies = func(context.Context, *stores.Opening) (policy.Authority, error) { return (*policy.Memory)(nil), nil }
		}},
		{"SessionStore", stores.Config{SessionStore: "hollow"}, func(d *stores.Driver) {
			d.Sessions = func(context.Context, *stores.Opening) (session.Backend, error) { return nil, nil }
		}},
		{"SessionStore", stores.Config{SessionStore: "hollow"}, func(d *stores.Driver) {
			d.Sessions = func(context.Context, *stores.Opening) (session.Backend, error) { return (*session.Memory)(nil), nil }
		}},
		{"RateLimitCounter", stores.Config{RateLimitCounter: "hollow"}, func(d *stores.Driver) {
			d.RateLimits = func(context.Context, *stores.Opening) (ratelimit.Backend, error) { return nil, nil }
		}},
		{"RateLimitCounter", stores.Config{RateLimitCounter: "hollow"}, func(d *stores.Driver) {
			d.RateLimits = func(context.Context, *stores.Opening) (ratelimit.Backend, error) {
				return (*ratelimit.Memory)(nil), nil
			}
		}},
		{"AgentRegistry", stores.Config{AgentRegistry: "hollow"}, func(d *stores.Driver) {
			d.Agents = func(context.Context, *stores.Opening) (registry.Backend, error) { return nil, nil }
		}},
		{"AgentRegistry", stores.Config{AgentRegistry: "hollow"}, func(d *stores.Driver) {
			d.Agents = func(context.Context, *stores.Opening) (registry.Backend, error) { return (*registry.Memory)(nil), nil }
		}},
		{"Checkpointer", stores.Config{Checkpointer: "hollow"}, func(d *stores.Driver) {
			d.Threads = func(context.Context, *stores.Opening) (checkpoint.Backend, error) { return nil, nil }
		}},
		{"Checkpointer", stores.Config{Checkpointer: "hollow"}, func(d *stores.Driver) {
			d.Threads = func(context.Context, *stores.Opening) (checkpoint.Backend, error) {
				return (*checkpoint.Memory)(nil), nil
			}
		}},
		{"EventStore", stores.Config{EventStore: "hollow"}, func(d *stores.Driver) {
			d.Runs = func(context.Context, *stores.Opening) (runlog.Backend, error) { return nil, nil }
		}},
		{"EventStore", stores.Config{EventStore: "hollow"}, func(d *stores.Driver) {
			d.Runs = func(context.Context, *stores.Opening) (runlog.Backend, error) { return (*runlog.Memory)(nil), nil }
		}},
	} {
		hollow := whole
		c.spoil(&hollow)
		_, byName := stores.Open(t.Context(), c.named, stores.WithDriver("hollow", hollow))
		_, byDefault := stores.Open(t.Context(), stores.Config{}, stores.WithDriver("memory", hollow))
		for _, got := range []struct {
			err  error
			want string
		}{{byName, "is hollow: "}, {byDefault, "is memory by default: "}} {
			if got.err == nil || !strings.Contains(got.err.Error(), "stores: Config."+c.field+" "+got.want+"the driver answered nil") {
				t.Errorf("%s %s%v", c.field, got.want, got.err)
			}
		}
	}
}

func TestADriverOfOneOpenIsKnownToItAlone(t *testing.T) {
	own := stores.Driver{
		InProcess:  true,
		RateLimits: func(context.Context, *stores.Opening) (ratelimit.Backend, error) { return &ratelimit.Memory{}, nil },
		Policies:   func(context.Context, *stores.Opening) (policy.Authority, error) { return &policy.Memory{}, nil },
	}
	cfg := stores.Config{PolicyStore: "own", RateLimitCounter: "own"}
	b := open(t, cfg, stores.WithDriver("own", own))
	allow(t, b.Policies(), agent(1))
	if n, err := b.RateLimits().Increment(t.Context(), "k", 2, time.Hour); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := stores.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "unknown driver") {
		t.Errorf("%v", err)
	}
	if _, err := stores.Open(t.Context(), cfg, stores.WithDriver("Own!", own)); err == nil || !strings.Contains(err.Error(), "WithDriver") {
		t.Errorf("%v", err)
	}
}

func TestRegisteringADriverTwiceOrUnderNoNamePanics(t *testing.T) {
	for name, register := range map[string]func(){
		"twice":                   func() { stores.RegisterDriver("vault", vault) },
		"one of our own":          func() { stores.RegisterDriver("redis", stores.Driver{}) },
		"no name":                 func() { stores.RegisterDriver("", stores.Driver{}) },
		"capitals":                func() { stores.RegisterDriver("Etcd", stores.Driver{}) },
		"a dot":                   func() { stores.RegisterDriver("a.b", stores.Driver{}) },
		"a variable of another's": func() { stores.RegisterDriver("redis_pool", stores.Driver{Keys: []string{"size"}}) },
		"a key of [storage]":      func() { stores.RegisterDriver("policy_store", stores.Driver{}) },
		"a key of no use":         func() { stores.RegisterDriver("etcd", stores.Driver{Keys: []string{"URL"}}) },
	} {
		func() {
			defer func() {
				if said := recover(); said == nil || !strings.Contains(fmt.Sprint(said), "stores: RegisterDriver") {
					t.Errorf("%s: %v", name, said)
				}
			}()
			register()
		}()
	}
}

func TestTheDriverByDefaultIsTheMostDurableThatIsConfigured(t *testing.T) {
	server := redistest.Start(t)
	url := sqliteURL(t)
	b := open(t, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(url)}, Redis: stores.RedisConfig{URL: stores.NewSecret(server.URL())}})
	fill(t, b)
	keys := strings.Join(server.Client().Keys(t.Context(), "*").Val(), " ")
	for part, want := range map[string]bool{"aa:session:": true, "agents:thread:": true, "aa:ratelimit:": true, "{runs:": true, "agentic:": false} {
		if strings.Contains(keys, part) != want {
			t.Errorf("a key with %s: %t in %s", part, !want, keys)
		}
	}
	// Another process on the same database finds the agent.
	if a, err := open(t, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(url)}}).Agents().Get(t.Context(), "agent"); err != nil || a.ID != "agent" {
		t.Errorf("%+v, %v", a, err)
	}
	// What no database keeps is in memory without Redis.
	alone := open(t, stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}, Sole: true})
	fill(t, alone)
	if _, err := alone.Sessions().Load(t.Context(), session.ID{9}); !errors.Is(err, readthrough.ErrNotFound) {
		t.Error(err)
	}
}
