package l2_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestNewRefusesWrongFieldsByName(t *testing.T) {
	_, client := redistest.Mini(t)
	for field, change := range map[string]func(*l2.Config){
		"Client":             func(c *l2.Config) { c.Client = nil },
		"Namespace must":     func(c *l2.Config) { c.Namespace = "" },
		"Namespace must ":    func(c *l2.Config) { c.Namespace = strings.Repeat("n", 129) },
		"Namespace may":      func(c *l2.Config) { c.Namespace = "a:b" },
		"Namespace may hold": func(c *l2.Config) { c.Namespace = "a*" },
		"Tenant":             func(c *l2.Config) { c.Tenant = "a}" },
		"Tenant may":         func(c *l2.Config) { c.Tenant = "a@b" },
		"Partitions":         func(c *l2.Config) { c.Partitions = 1025 },
		"Partitions must":    func(c *l2.Config) { c.Partitions = -1 },
		"Lease":              func(c *l2.Config) { c.Lease = time.Millisecond },
		"LoadTimeout":        func(c *l2.Config) { c.LoadTimeout = -1 },
		"MaxWire":            func(c *l2.Config) { c.MaxWire = 1 },
	} {
		cfg := l2.Config{Client: client, Namespace: "ns"}
		change(&cfg)
		if _, err := l2.New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestARefusedTenantIsNotShown(t *testing.T) {
	_, client := redistest.Mini(t)
	for _, tenant := range []string{"acme corp", strings.Repeat("acme", 50)} {
		if _, err := l2.New(l2.Config{Client: client, Namespace: "ns", Tenant: tenant}); err == nil || strings.Contains(err.Error(), "acme") {
			t.Errorf("%v", err)
		}
	}
}

func TestZeroConfigMeansTheDocumentedDefaults(t *testing.T) {
	_, client := redistest.Mini(t)
	s, err := l2.New(l2.Config{Client: client, Namespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Partitions() != 1 || s.Lease() != 10*time.Second || s.LoadTimeout() != 5*time.Second || s.MaxWire() != 1<<20 ||
		s.Namespace() != "ns" || s.Scope() != "ns" || s.Client() != client || s.Channel(0) != "lc:{ns.0}:ch" {
		t.Fatalf("%d %s %s %d %s %s %s", s.Partitions(), s.Lease(), s.LoadTimeout(), s.MaxWire(), s.Namespace(), s.Scope(), s.Channel(0))
	}
}

// every makes every call that answers an epoch.
func every(t *testing.T, s *l2.Store) map[string]error {
	t.Helper()
	ctx := t.Context()
	id := newID(t, "k")
	epoch := l2.Epoch("0123456789abcdef0123456789abcdef")
	errs := map[string]error{}
	_, errs["get"] = s.Get(ctx, l2.Lookup{ID: id, Nonce: l2.NewNonce()})
	_, errs["fill"] = s.Fill(ctx, l2.Fill{ID: id, Epoch: epoch, Nonce: "n", TTL: time.Second})
	_, errs["invalidate"] = s.Invalidate(ctx, 0, l2.Invalidation{IDs: []l2.ID{id}})
	errs["renew"] = l2.Renew(ctx, s.Client(), []l2.Renewal{{Store: s, Process: "p"}})[0].Err
	_, errs["acks"] = s.Acks(ctx, 0, l2.Position{Epoch: epoch}, "p", nil)
	_, errs["reset"] = s.Reset(ctx, 0, epoch)
	return errs
}

func TestOtherConfigurationIsRefusedByEveryCall(t *testing.T) {
	for field, meet := range map[string]func(b bundle) *l2.Store{
		"protocol": func(b bundle) *l2.Store {
			b.client.HSet(b.t.Context(), key("b"), "proto", "99")
			return b.Store
		},
		"encoding": func(b bundle) *l2.Store {
			b.client.HSet(b.t.Context(), key("b"), "enc", "99")
			return b.Store
		},
		"lease": func(b bundle) *l2.Store {
			return newStore(b.t, b.client, func(c *l2.Config) { c.Lease = 11 * time.Second })
		},
	} {
		t.Run(field, func(t *testing.T) {
			each(t, func(b bundle) {
				before := b.renew("p", "", 0, 0).Position
				refused(b.t, every(b.t, meet(b)), field)
				if e := b.client.Get(b.t.Context(), key("e")).Val(); e != string(before.Epoch) {
					b.t.Fatal("the refused calls changed the epoch")
				}
			})
		})
	}
}

func TestOtherNumberOfPartitionsIsRefused(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 0)
		// An id that both numbers put into partition 0.
		two := newStore(b.t, b.client, func(c *l2.Config) { c.Partitions = 2 })
		raw := "a"
		for two.Partition(l2.Hash(raw)) != 0 {
			raw += "a"
		}
		_, err := two.Get(b.t.Context(), l2.Lookup{ID: b.id(raw)})
		refused(b.t, map[string]error{"get": err}, "partitions")
		if got := err.Error(); !strings.Contains(got, `"2" here and "1" in Redis`) {
			b.t.Fatal(got)
		}
	})
}

func refused(t *testing.T, errs map[string]error, field string) {
	t.Helper()
	for name, err := range errs {
		var mismatch *l2.ConfigMismatchError
		if !errors.Is(err, l2.ErrConfigMismatch) || !errors.As(err, &mismatch) || mismatch.Field != field {
			t.Errorf("%s: %v, want a mismatch of %s", name, err, field)
		}
	}
}

func TestOtherConfigurationSurvivesTheLossOfTheEpoch(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 0)
		b.client.HSet(b.t.Context(), key("b"), "proto", "99")
		b.del("e")
		refused(b.t, every(b.t, b.Store), "protocol")
	})
}

func TestShorterLeaseIsToldTheLongest(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 0)
		short := b
		short.Store = newStore(b.t, b.client, func(c *l2.Config) { c.Lease = time.Second })
		if got := short.renew("q", "", 0, 0).LongestLease; got != 10*time.Second {
			b.t.Fatalf("longest lease %s, want 10s", got)
		}
	})
}

func TestLongestLeaseOutlivesTheStateThatHeldIt(t *testing.T) {
	for _, lost := range [][]string{{"e"}, {"b"}, {"a"}, {"e", "s", "b", "a"}} {
		t.Run(strings.Join(lost, ""), func(t *testing.T) {
			each(t, func(b bundle) {
				b.renew("p", "", 0, 0)
				short := b
				short.Store = newStore(b.t, b.client, func(c *l2.Config) { c.Lease = time.Second })
				if len(lost) > 1 {
					short.renew("q", "", 0, 0) // no copy is left in Redis: it must have been told before
				}
				for _, k := range lost {
					b.del(k)
				}
				short.lookup("k")
				if got := short.renew("q", "", 0, 1).LongestLease; got != 10*time.Second {
					b.t.Fatalf("longest lease %s, want 10s", got)
				}
				b.renew("p", "", 0, 1) // and so the longer one is not shut out
			})
		})
	}
}

func TestUnconditionalResetLetsALongerLeaseIn(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 0)
		long := b
		long.Store = newStore(b.t, b.client, func(c *l2.Config) { c.Lease = time.Minute })
		if _, err := long.Reset(b.t.Context(), 0, ""); err != nil {
			b.t.Fatal(err)
		}
		if got := b.renew("p", "", 0, 1).LongestLease; got != time.Minute {
			b.t.Fatalf("longest lease %s, want 1m", got)
		}
	})
}

func TestResetByAShorterLeaseKeepsTheLongest(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 0)
		short := newStore(b.t, b.client, func(c *l2.Config) { c.Lease = time.Second })
		if _, err := short.Reset(b.t.Context(), 0, ""); err != nil {
			b.t.Fatal(err)
		}
		if got := b.renew("p", "", 0, 1).LongestLease; got != 10*time.Second {
			b.t.Fatalf("longest lease %s, want 10s", got)
		}
	})
}

func TestScopesNeverShareAKey(t *testing.T) {
	_, client := redistest.Mini(t)
	seen := map[string]string{}
	for _, c := range []l2.Config{
		{Namespace: "a"}, {Namespace: "a", Tenant: "b"}, {Namespace: "a.0"}, {Namespace: "a", Tenant: "b.0"}, {Namespace: "a.b"},
	} {
		c.Client, c.Partitions = client, 12
		s, err := l2.New(c)
		if err != nil {
			t.Fatal(err)
		}
		for part := range 12 {
			if other, taken := seen[s.Channel(part)]; taken {
				t.Errorf("%s and %s share %s", s.Scope(), other, s.Channel(part))
			}
			seen[s.Channel(part)] = s.Scope()
		}
	}
}

func TestPartitionsShareIDsEvenly(t *testing.T) {
	_, client := redistest.Mini(t)
	s := newStore(t, client, func(c *l2.Config) { c.Partitions = 16 })
	counts := make([]int, 16)
	const n = 16000
	for i := range n {
		counts[s.Partition(l2.Hash(strings.Repeat("x", i%7)+time.Duration(i).String()))]++
	}
	for part, count := range counts {
		if count < 800 || count > 1200 {
			t.Errorf("partition %d has %d of %d", part, count, n)
		}
	}
}

func TestClientsThatCannotKeepThePromisesAreRefused(t *testing.T) {
	cluster := func(change func(*redis.ClusterOptions)) redis.UniversalClient {
		o := &redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true}
		change(o)
		return redis.NewClusterClient(o)
	}
	for name, c := range map[string]struct {
		client redis.UniversalClient
		want   string
	}{
		"nil":            {nil, "Client is required"},
		"nil node":       {(*redis.Client)(nil), "Client is required"},
		"nil cluster":    {(*redis.ClusterClient)(nil), "Client is required"},
		"ReadOnly":       {cluster(func(o *redis.ClusterOptions) { o.ReadOnly = true }), "ReadOnly"},
		"RouteByLatency": {cluster(func(o *redis.ClusterOptions) { o.RouteByLatency = true }), "replicas"},
		"RouteRandomly":  {cluster(func(o *redis.ClusterOptions) { o.RouteRandomly = true }), "replicas"},
		"replica-only failover cluster": {redis.NewFailoverClusterClient(&redis.FailoverOptions{
			MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}, ReplicaOnly: true, ContextTimeoutEnabled: true,
		}), "ReadOnly"},
		"deaf cluster": {cluster(func(o *redis.ClusterOptions) { o.ContextTimeoutEnabled = false }), "ContextTimeoutEnabled"},
		"deaf node":    {redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), "ContextTimeoutEnabled"},
		"ring":         {redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}}), "*redis.Ring"},
	} {
		err := l2.CheckClient(c.client)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
		if !strings.HasPrefix(name, "nil") {
			_ = c.client.Close()
		}
	}
	good := cluster(func(*redis.ClusterOptions) {})
	defer func() { _ = good.Close() }()
	if err := l2.CheckClient(good); err != nil {
		t.Error(err)
	}
}
