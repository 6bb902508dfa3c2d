package readthrough_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

func TestEachWrongFieldIsRefusedByName(t *testing.T) {
	_, client := redistest.Mini(t)
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	heedless := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { _ = heedless.Close() })
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = cluster.Close() })
	for name, wrong := range map[string]func(*config){
		"Name":               func(c *config) { c.Name = "" },
		"Name ":              func(c *config) { c.Name = "a:b" },
		"Name  ":             func(c *config) { c.Name = strings.Repeat("x", 129) },
		"Tenant":             func(c *config) { c.Tenant = "*" },
		"Loader":             func(c *config) { c.Loader = nil },
		"Loader is required": func(c *config) { c.Loader = readthrough.LoaderFunc[string, int](nil) },
		"Redis":              func(c *config) { c.Redis = heedless }, // of deadlines
		"Redis: l2: Config.Mirror is for a standalone": func(c *config) {
			c.Redis, c.Mirror = cluster, readthrough.Mirror[int]{Prefix: "o:", Encode: digits}
		},
		"Log": func(c *config) {
			c.Log = &memoryLog{}
			c.Loader = readthrough.LoaderFunc[string, int](func(context.Context, string) (int, error) { return 0, nil })
		},
		"Redis and Config.Link": func(c *config) { c.Redis, c.Link = client, link },
		"Local":                 func(c *config) { c.Redis, c.Local = client, &invalidation.Local{} },
		"NoL2":                  func(c *config) { c.NoL2 = true },
		"Sole":                  func(c *config) { c.Redis, c.Sole = client, true },
		"Mirror.Prefix":         func(c *config) { c.Redis, c.Mirror.Encode = client, digits },
		"Mirror.Encode":         func(c *config) { c.Redis, c.Mirror.Prefix = client, "o:" },
		"Mirror is":             func(c *config) { c.Mirror = readthrough.Mirror[int]{Prefix: "o:", Encode: digits} },
		"Mirror is for": func(c *config) {
			c.Redis, c.NoL2, c.Mirror = client, true, readthrough.Mirror[int]{Prefix: "o:", Encode: digits}
		},
		"Poll":        func(c *config) { c.Poll = -1 },
		"Bound":       func(c *config) { c.Bound = time.Millisecond },
		"Bound ":      func(c *config) { c.Bound = 2 * time.Hour },
		"Partitions":  func(c *config) { c.Partitions = 1025 },
		"Partitions ": func(c *config) { c.Partitions = -1 },
		"TTL":         func(c *config) { c.TTL = time.Microsecond },
		"TTL ":        func(c *config) { c.TTL, c.MaxTTL = time.Hour, time.Minute },
		"MaxTTL":      func(c *config) { c.MaxTTL = -1 },
		"NegativeTTL": func(c *config) { c.NegativeTTL, c.MaxTTL = time.Hour, time.Minute },
		"Jitter":      func(c *config) { c.Jitter = 1.1 },
		"Jitter ":     func(c *config) { c.Jitter = math.NaN() },
		"MaxEntries":  func(c *config) { c.MaxEntries = -1 },
		"MaxCost":     func(c *config) { c.MaxCost = -1 },
		"MaxWire":     func(c *config) { c.MaxWire = 47 },
		"MaxDecoded":  func(c *config) { c.MaxDecoded = -1 },
		"MaxLoads":    func(c *config) { c.MaxLoads = -1 },
		"LoadTimeout": func(c *config) { c.LoadTimeout = time.Hour },
		"AwaitOther":  func(c *config) { c.AwaitOther = 3 * time.Second },
		"Mode":        func(c *config) { c.Mode = readthrough.ServeStale(-1) },
		"ParseID":     func(c *config) { c.ParseID = func(s string) (string, error) { return s, nil } },
	} {
		cfg := config{Name: "test", Loader: newSource(nil)}
		wrong(&cfg)
		c, err := readthrough.New(cfg)
		if err == nil {
			t.Errorf("%s is accepted", name)
			_ = c.Close(t.Context())
			continue
		}
		if want := "readthrough: Config." + strings.TrimSpace(name); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s…", err, want)
		}
		if said := cfg.Validate(); said == nil || said.Error() != err.Error() {
			t.Errorf("New says %v and Validate says %v", err, said)
		}
	}
	if _, err := readthrough.New(readthrough.Config[[2]int, int]{Name: "test", Loader: nothing[[2]int]{}}); err == nil ||
		!strings.Contains(err.Error(), "Config.ID is required for keys of type [2]int") {
		t.Errorf("a key without a text form: %v", err)
	}
	anything := readthrough.Config[any, int]{Name: "test", Loader: nothing[any]{}}
	if _, err := readthrough.New(anything); err == nil || anything.Validate() == nil {
		t.Error("a key of any type is accepted")
	}
}

// A Validate that began something would be another member of the namespace, or leave a goroutine.
func TestValidateMakesNothing(t *testing.T) {
	_, client := redistest.Mini(t)
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close(t.Context()) })
	cfg := config{Name: "test", Link: link, Loader: newSource(nil)}
	for range 2 {
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	open(t, cfg)
}

type nothing[K comparable] struct{}

func (nothing[K]) Load(context.Context, K) (loaded, error) { return loaded{}, readthrough.ErrNotFound }

// A default never makes a setting wrong that is right by itself.
func TestDefaultsFollowTheFieldsTheyRestOn(t *testing.T) {
	for name, cfg := range map[string]config{
		"short loads":   {LoadTimeout: time.Millisecond},
		"short lives":   {MaxTTL: time.Millisecond},
		"everything":    {},
		"short bound":   {Bound: 10 * time.Millisecond},
		"no jitter":     {Jitter: -1},
		"whole jitter":  {Jitter: 1},
		"small":         {MaxEntries: 1},
		"large entries": {MaxEntries: 10, MaxCost: 1 << 40},
	} {
		cfg.Name, cfg.Loader = "test", newSource(map[string]int{"k": 7})
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: Validate: %v", name, err)
		}
		if cfg.LoadTimeout == 0 {
			c := open(t, cfg)
			wantGet(t, c, "k", 7)
			continue
		}
		if c, err := readthrough.New(cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestTwoCachesOfOneNameOnOneLinkAreRefused(t *testing.T) {
	_, client := redistest.Mini(t)
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close(t.Context()) })
	src := newSource(map[string]int{"k": 7})
	first := open(t, config{Name: "test", Link: link, Loader: src})
	if _, err := readthrough.New(config{Name: "test", Link: link, Loader: src}); err == nil {
		t.Error("the second is accepted")
	}
	tenant := open(t, config{Name: "test", Tenant: "t1", Link: link, Loader: src})
	other := open(t, config{Name: "other", Link: link, Loader: src})
	ready(t, first, tenant, other)
	for _, c := range []*cache{first, tenant, other} {
		wantTier(t, c, "k", 7, readthrough.L3) // nothing is shared
	}
	if err := first.Close(t.Context()); err != nil {
		t.Error(err)
	}
	again := open(t, config{Name: "test", Link: link, Loader: src})
	ready(t, again)
	wantGet(t, again, "k", 7)
	wantGet(t, other, "k", 7)
}

// With another configuration than the namespace was made with, Redis cannot be relied on: the authority answers everything.
func TestAMismatchedCacheReadsTheAuthority(t *testing.T) {
	for name, differ := range map[string]func(*config){
		"a longer bound":     func(c *config) { c.Bound = 10 * time.Second },
		"another partitions": func(c *config) { c.Partitions = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			onRedis(t, func(t *testing.T, b backend) {
				src := newSource(map[string]int{"k": 1})
				cfg := b.with(config{Loader: src, Bound: time.Second})
				c := open(t, cfg)
				ready(t, c)
				wantGet(t, c, "k", 1)
				stored(t, b, "k")
				differ(&cfg)
				misfit := open(t, cfg)
				if err := misfit.Ready(t.Context()); !errors.Is(err, readthrough.ErrConfigMismatch) || !errors.Is(err, readthrough.ErrUnavailable) {
					t.Errorf("Ready = %v", err)
				}
				if got := misfit.Health().State; got != invalidation.Mismatch {
					t.Errorf("health %s", got)
				}
				for i := 2; i < 5; i++ {
					src.put("k", i) // nobody is told
					wantTier(t, misfit, "k", i, readthrough.L3)
					wantMany(t, misfit, []string{"k"}, map[string]int{"k": i})
				}
				wantGet(t, c, "k", 1)
			})
		})
	}
}
