package ratelimit_test

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

func onStore(t testing.TB, client redisClient) *ratelimit.Store {
	t.Helper()
	return open(t, ratelimit.Config{Backend: onRedis(t, ratelimit.RedisConfig{Client: client}), Remember: -1})
}

// golden reads a record of testdata: its key and its value, a line each.
func golden(t testing.TB, name string) (key, value string) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	return lines[0], lines[1]
}

func TestTheBytesInRedisAreThoseOfTestdata(t *testing.T) {
	for name, test := range map[string]struct {
		write func(s *ratelimit.Store) error
		read  func(s *ratelimit.Store) bool
	}{
		"fixed": {
			func(s *ratelimit.Store) error {
				_, err := s.Increment(t.Context(), "agent:a/1", math.MaxInt64-1, time.Minute)
				return err
			},
			func(s *ratelimit.Store) bool {
				n, err := s.Current(t.Context(), "agent:a/1")
				return n == math.MaxInt64-1 && err == nil
			},
		},
		"gcra": {
			func(s *ratelimit.Store) error {
				_, err := s.Allow(t.Context(), "agent:a/1", 5, ratelimit.Limit{Max: 7, Window: time.Minute, Algorithm: ratelimit.GCRA})
				return err
			},
			func(s *ratelimit.Store) bool {
				r, err := s.Allow(t.Context(), "agent:a/1", 3, ratelimit.Limit{Max: 7, Window: time.Minute, Algorithm: ratelimit.GCRA})
				return r.Remaining == 2 && !r.Allowed && r.RetryAfter == 8571429*time.Microsecond && err == nil
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			key, value := golden(t, name)
			client, _ := still(t)
			if err := test.write(onStore(t, client)); err != nil {
				t.Fatal(err)
			}
			if got := client.Get(t.Context(), key).Val(); got != value {
				t.Errorf("written: %q, want %q; keys %q", got, value, client.Keys(t.Context(), "*").Val())
			}
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute {
				t.Errorf("it lives for %s", ttl)
			}
			client, _ = still(t)
			client.Set(t.Context(), key, value, time.Minute)
			if !test.read(onStore(t, client)) {
				t.Error("not read")
			}
		})
	}
}

// The original increments, and gives the key its window when it was the first.
func TestRawCommandsOfTheOriginalAndOursCountTogether(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		s := onStore(t, client)
		const key = "aa:ratelimit:agent:7"
		original := func(amount, want int64) {
			t.Helper()
			n, err := client.IncrBy(t.Context(), key, amount).Result()
			if err != nil || n != want {
				t.Fatalf("%d, %v; want %d", n, err, want)
			}
			if n == amount {
				client.Expire(t.Context(), key, time.Minute)
			}
		}
		ours := func(amount, want int64) {
			t.Helper()
			if n, err := s.Increment(t.Context(), "agent:7", amount, time.Minute); n != want || err != nil {
				t.Fatalf("%d, %v; want %d", n, err, want)
			}
		}
		original(3, 3)
		ours(4, 7)
		original(1, 8)
		if n, err := s.Current(t.Context(), "agent:7"); n != 8 || err != nil {
			t.Fatal(n, err)
		}
		if r := allow(t, s, "agent:7", 2, hour(10)); !r.Allowed || r.Remaining != 0 || r.RetryAfter > 0 {
			t.Fatalf("%+v", r)
		}
		if got := client.Get(t.Context(), key).Val(); got != "10" {
			t.Fatal(got)
		}
		if err := s.Reset(t.Context(), "agent:7"); err != nil || client.Exists(t.Context(), key).Val() != 0 {
			t.Fatal(err)
		}
		ours(2, 2)
		original(5, 7)
		client.Del(t.Context(), key)
		if n, err := s.Current(t.Context(), "agent:7"); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	})
}

func TestACounterAndItsEndAreMadeInOneStep(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := onStore(t, client)
	calls := map[string]func() error{
		"Increment": func() error { _, err := s.Increment(t.Context(), "k", 1, time.Hour); return err },
		"Allow":     func() error { _, err := s.Allow(t.Context(), "k", 1, hour(100)); return err },
		"GCRA": func() error {
			_, err := s.Allow(t.Context(), "k", 1, ratelimit.Limit{Max: 100, Window: time.Hour, Algorithm: ratelimit.GCRA})
			return err
		},
		"AllowAll": func() error {
			_, err := s.AllowAll(t.Context(), ratelimit.Demand{Key: "agent", N: 1, Limit: hour(9)},
				ratelimit.Demand{Key: "team", N: 1, Limit: hour(9)}, ratelimit.Demand{Key: "tenant", N: 1, Limit: hour(9)})
			return err
		},
	}
	for _, call := range calls { // the server knows the scripts then
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	client.FlushDB(t.Context())
	for name, call := range calls {
		before := redistest.CountCommands(t, client)
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if n := redistest.CountCommands(t, client).Since(before).Scripts(); n != 1 {
			t.Errorf("%s: %d round trips", name, n)
		}
	}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("%s lives for %s", key, ttl)
		}
	}
}

func TestIncrementByZeroNeitherCreatesNorRearmsAKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		s := onStore(t, client)
		const key = "aa:ratelimit:k"
		if n, err := s.Increment(t.Context(), "k", 0, time.Hour); n != 0 || err != nil || client.Exists(t.Context(), key).Val() != 0 {
			t.Fatal(n, err)
		}
		client.Set(t.Context(), key, 5, time.Minute)
		left := func() time.Duration { return client.PTTL(t.Context(), key).Val() }
		if n, err := s.Increment(t.Context(), "k", 0, time.Hour); n != 5 || err != nil || left() > time.Minute {
			t.Fatal(n, err)
		}
		client.Persist(t.Context(), key)
		if n, err := s.Increment(t.Context(), "k", 0, time.Hour); n != 5 || err != nil || left() > 0 {
			t.Fatal(n, err)
		}
	})
}

func TestLaterHitsDoNotRearmAKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		s := onStore(t, client)
		client.Set(t.Context(), "aa:ratelimit:k", 1, time.Minute)
		if _, err := s.Increment(t.Context(), "k", 1, time.Hour); err != nil {
			t.Fatal(err)
		}
		allow(t, s, "k", 1, hour(100))
		allow(t, s, "k", 99, hour(100)) // denied
		spend(t, leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(100)}), 1)
		if ttl := client.PTTL(t.Context(), "aa:ratelimit:k").Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("it lives for %s", ttl)
		}
	})
}

func TestACounterWithoutATTLDoesNotLiveForEver(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		s := onStore(t, client)
		for verb, hit := range map[string]func(total int64) error{
			"Increment": func(total int64) error {
				n, err := s.Increment(t.Context(), "k", 1, time.Minute)
				if n != total+1 {
					t.Errorf("total %d", n)
				}
				return err
			},
			"Overflow": func(int64) error {
				client.Set(t.Context(), "aa:ratelimit:k", math.MaxInt64, 0)
				if _, err := s.Increment(t.Context(), "k", 1, time.Minute); !errors.Is(err, ratelimit.ErrOverflow) {
					t.Error(err)
				}
				return nil
			},
			"Allow": func(total int64) error {
				_, err := s.Allow(t.Context(), "k", 1, ratelimit.Limit{Max: 100, Window: time.Minute})
				return err
			},
			"Allow, denied": func(total int64) error {
				_, err := s.Allow(t.Context(), "k", 1, ratelimit.Limit{Max: 3, Window: time.Minute})
				return err
			},
			"Lease": func(total int64) error {
				spend(t, leaseOf(t, s, ratelimit.LeaseConfig{Limit: ratelimit.Limit{Max: 100, Window: time.Minute}}), 1)
				return nil
			},
			"Lease, denied": func(total int64) error {
				spend(t, leaseOf(t, s, ratelimit.LeaseConfig{Limit: ratelimit.Limit{Max: 3, Window: time.Minute}}), 1)
				return nil
			},
		} {
			client.Set(t.Context(), "aa:ratelimit:k", 5, 0)
			if err := hit(5); err != nil {
				t.Fatal(err)
			}
			if ttl := client.PTTL(t.Context(), "aa:ratelimit:k").Val(); ttl <= 0 || ttl > time.Minute {
				t.Errorf("%s: it lives for %s", verb, ttl)
			}
		}
	})
}

func TestAForeignValueIsAnErrorThatShowsNoKeyAndStays(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		s := onStore(t, client)
		for _, value := range []string{
			"", "abc", "007", "+1", " 1", "1 ", "1.0", "-", "-0", "9223372036854775808", "-9223372036854775809", "99999999999999999999999",
			"1e3", "0x1", "hash",
		} {
			for kind, key := range map[string]string{"ratelimit": "secret1", "ratelimit-gcra": "secret2"} {
				full := "aa:" + kind + ":" + key
				client.Del(t.Context(), full)
				if value == "hash" {
					client.HSet(t.Context(), full, "a", 1)
				} else {
					client.Set(t.Context(), full, value, 0)
				}
			}
			dump := client.Dump(t.Context(), "aa:ratelimit:secret1").Val()
			_, errIncrement := s.Increment(t.Context(), "secret1", 1, time.Hour)
			_, errZero := s.Increment(t.Context(), "secret1", 0, time.Hour)
			_, errCurrent := s.Current(t.Context(), "secret1")
			r, errAllow := s.Allow(t.Context(), "secret1", 1, hour(10))
			g, errGCRA := s.Allow(t.Context(), "secret2", 1, gcra)
			v, errAll := s.AllowAll(t.Context(),
				ratelimit.Demand{Key: "free", N: 1, Limit: hour(1)}, ratelimit.Demand{Key: "secret2", N: 1, Limit: gcra})
			l, errLease := leaseOf(t, s, ratelimit.LeaseConfig{Key: "secret1", Limit: hour(10)}).Allow(t.Context(), 1)
			for verb, err := range map[string]error{
				"Increment": errIncrement, "Increment by 0": errZero, "Current": errCurrent, "Allow": errAllow, "GCRA": errGCRA,
				"AllowAll": errAll, "Lease": errLease,
			} {
				if !errors.Is(err, ratelimit.ErrNotCounter) || errors.Is(err, readthrough.ErrUnavailable) ||
					strings.Contains(err.Error(), "secret") {
					t.Errorf("%s of %q: %v", verb, value, err)
				}
			}
			if errAll == nil || !strings.Contains(errAll.Error(), "demand 1") {
				t.Errorf("%v does not say whose key it is", errAll)
			}
			if r.Allowed || g.Allowed || v.Allowed || l.Allowed || client.Exists(t.Context(), "aa:ratelimit:free").Val() != 0 {
				t.Errorf("%q: %+v, %+v, %+v, %+v", value, r, g, v, l)
			}
			if client.Dump(t.Context(), "aa:ratelimit:secret1").Val() != dump {
				t.Errorf("%q was changed", value)
			}
		}
	})
}

// The Reset of the original is a DEL. A warm memory denies for Remember and no longer.
func TestAForeignResetEndsADenialWithinRemember(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		const remember = 50 * time.Millisecond
		s := open(t, ratelimit.Config{Backend: onRedis(t, ratelimit.RedisConfig{Client: client}), Remember: remember})
		for range 5 {
			allow(t, s, "k", 1, hour(1))
			allow(t, s, "k", 1, hour(1))
			client.Del(t.Context(), "aa:ratelimit:k")
			reset, late := time.Now(), time.Duration(0)
			eventually(t, "permit", func() bool {
				since := time.Since(reset)
				if allow(t, s, "k", 1, hour(1)).Allowed {
					return true
				}
				late = since
				return false
			})
			if late > remember {
				t.Errorf("denied %s after it", late)
			}
			client.Del(t.Context(), "aa:ratelimit:k")
		}
	})
}

// More than 292 years are no time.Duration.
func TestAForeignTimeToLiveBeyondAllTimesIsALongOne(t *testing.T) {
	client := redistest.Start(t).Client()
	s := onStore(t, client)
	for _, ms := range []int64{1 << 44, 1 << 53, 1 << 62} {
		client.Set(t.Context(), "aa:ratelimit:k", 1, 0)
		if err := client.Do(t.Context(), "PEXPIRE", "aa:ratelimit:k", ms).Err(); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{1, 9} {
			r := allow(t, s, "k", n, hour(9))
			if r.Allowed != (n == 1) || time.Until(r.ResetAt) < time.Hour || !r.Allowed && r.RetryAfter < time.Hour {
				t.Errorf("%d ms: %+v", ms, r)
			}
		}
		if !spend(t, leaseOf(t, s, ratelimit.LeaseConfig{Limit: hour(9)}), 1) {
			t.Errorf("%d ms: denied", ms)
		}
	}
}

func TestTenantsCountApartWhateverTheirKeysAre(t *testing.T) {
	client, _ := still(t)
	hostile := []string{"k", "@acme:aa:ratelimit:k", "{@acme:aa}:ratelimit:k", "ratelimit:k", "../k", "*", "k\r\nDEL x", "acme"}
	var stores []*ratelimit.Store
	for _, cfg := range []ratelimit.RedisConfig{
		{}, {Tenant: "acme"}, {Tenant: "aa"}, {Tagged: true}, {Tenant: "acme", Tagged: true}, {Prefix: "acme"},
	} {
		cfg.Client = client
		stores = append(stores, open(t, ratelimit.Config{Backend: onRedis(t, cfg)}))
	}
	for i, s := range stores {
		for j, key := range hostile {
			if n, err := s.Increment(t.Context(), key, int64(100*i+j+1), time.Hour); n != int64(100*i+j+1) || err != nil {
				t.Fatalf("store %d, %q: %d, %v", i, key, n, err)
			}
			allow(t, s, key, 1, gcra)
		}
	}
	if n := client.DBSize(t.Context()).Val(); n != int64(2*len(stores)*len(hostile)) {
		t.Errorf("%d keys", n)
	}
	for _, key := range hostile {
		if err := stores[1].Reset(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range stores {
		for j, key := range hostile {
			want := int64(100*i + j + 1)
			if i == 1 {
				want = 0
			}
			if n, err := s.Current(t.Context(), key); n != want || err != nil {
				t.Errorf("store %d, %q: %d, %v; want %d", i, key, n, err, want)
			}
		}
	}
}

func TestAScriptIsNotSentTwice(t *testing.T) {
	server := redistest.Start(t)
	if _, err := onStore(t, server.Client()).Increment(t.Context(), "k", 0, time.Hour); err != nil {
		t.Fatal(err) // the server knows it now
	}
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{
		Addr: proxy.Addr(), MaxRetries: 3, ReadTimeout: 50 * time.Millisecond, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s := onStore(t, client)
	redistest.Idle(t, client, 4) // which would carry a second attempt
	proxy.BlackholeToClient()
	if _, err := s.Increment(t.Context(), "k", 1, time.Hour); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatal(err)
	}
	there := onStore(t, server.Client())
	eventually(t, "count", func() bool { n, err := there.Current(t.Context(), "k"); return n > 0 && err == nil })
	if n, err := there.Current(t.Context(), "k"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestAResetIsNotSentTwice(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{
		Addr: proxy.Addr(), MaxRetries: 3, ReadTimeout: 50 * time.Millisecond, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s := onStore(t, client)
	redistest.Idle(t, client, 4) // which would carry a second attempt
	before := redistest.CountCommands(t, server.Client())
	proxy.BlackholeToClient()
	if err := s.Reset(t.Context(), "k"); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatal(err)
	}
	var sent int64
	eventually(t, "DEL", func() bool { sent = redistest.CountCommands(t, server.Client()).Since(before)["del"]; return sent > 0 })
	if sent != 1 {
		t.Errorf("%d DEL for both of a key's counters", sent)
	}
}

func TestWhatTheDeadlineEndsIsDeadlineExceeded(t *testing.T) {
	server := redistest.Start(t)
	b := onRedis(t, ratelimit.RedisConfig{Client: server.Client()})
	if _, err := b.Increment(t.Context(), "k", 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	defer server.Cont()
	for verb, call := range map[string]func(ctx context.Context) error{
		"Increment": func(ctx context.Context) error { _, err := b.Increment(ctx, "k", 1, time.Hour); return err },
		"Current":   func(ctx context.Context) error { _, err := b.Current(ctx, "k"); return err },
		"Reset":     func(ctx context.Context) error { return b.Reset(ctx, "k") },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := call(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// No lease has taken from such a counter: some other program has made it.
func TestAReturnLeavesANegativeCounterAsItIs(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		b := onRedis(t, ratelimit.RedisConfig{Client: client})
		g, err := b.Lease(t.Context(), "k", ratelimit.Request{Limit: hour(100), Need: 1, Want: 2, Parts: 2})
		if err != nil || g.N != 2 {
			t.Fatal(g, err)
		}
		client.DecrBy(t.Context(), "aa:ratelimit:k", 7)
		if err := b.Return(t.Context(), "k", g.Window, 1); err != nil {
			t.Fatal(err)
		}
		if n := client.Get(t.Context(), "aa:ratelimit:k").Val(); n != "-5" {
			t.Errorf("%s, was -5", n)
		}
	})
}

func TestFLUSHALLEndsTheWindowAndNothingElse(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		s := onStore(t, client)
		for _, limit := range []ratelimit.Limit{hour(5), {Max: 5, Window: time.Hour, Algorithm: ratelimit.GCRA}} {
			for range 2 {
				for n := range 6 {
					if r := allow(t, s, "k", 1, limit); r.Allowed != (n < 5) {
						t.Fatalf("%d: %+v", n, r)
					}
				}
				if err := client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestSeveralKeysOnAClusterNeedTheTaggedLayoutAndTheErrorSaysSo(t *testing.T) {
	cluster := redistest.StartCluster(t)
	demands := []ratelimit.Demand{{Key: "agent", N: 1, Limit: hour(5)}, {Key: "team", N: 1, Limit: hour(5)}}
	apart := onRedis(t, ratelimit.RedisConfig{Client: cluster.Client()})
	spread := open(t, ratelimit.Config{Backend: apart, OnFailure: ratelimit.AllowAny})
	v, err := spread.AllowAll(t.Context(), demands...)
	if !errors.Is(err, ratelimit.ErrSlots) || !strings.Contains(err.Error(), "RedisConfig.Tagged") || v.Allowed {
		t.Errorf("%+v, %v", v, err)
	}
	if r := allow(t, spread, "agent", 5, hour(5)); !r.Allowed {
		t.Errorf("%+v: one key needs no tag", r)
	}
	tagged := open(t, ratelimit.Config{Backend: onRedis(t, ratelimit.RedisConfig{Client: cluster.Client(), Tagged: true})})
	if v, err := tagged.AllowAll(t.Context(), demands...); err != nil || !v.Allowed {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestBadRedisConfigsAreRefusedByName(t *testing.T) {
	client, _ := still(t)
	for field, cfg := range map[string]ratelimit.RedisConfig{
		"RedisConfig.Client": {},
		"RedisConfig.Prefix": {Client: client, Prefix: "a:b"},
		"RedisConfig.Tenant": {Client: client, Tenant: "secret*"},
	} {
		_, err := ratelimit.NewRedis(cfg)
		if err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// FuzzAnyBytesUnderAKeyAreRefusedOrCounted stores what some other program might.
func FuzzAnyBytesUnderAKeyAreRefusedOrCounted(f *testing.F) {
	client, _ := still(f)
	b := onRedis(f, ratelimit.RedisConfig{Client: client})
	for _, seed := range []string{
		"5", "-5", "007", "9223372036854775807", "1800000000000000:0/7", "1800000000500000:6/7", "1:2/3", "9999999999999999:6/7",
		"9999999999999999:9999999999999999/7", "1800000000000001:9999999999999999/7", ":/",
		"9999999999999999:999999999999999999999/7", "1800000000000001:6/999999999999999999999",
	} {
		f.Add([]byte(seed))
	}
	fixed := ratelimit.Limit{Max: 7, Window: time.Minute}
	gcra := ratelimit.Limit{Max: 7, Window: time.Minute, Algorithm: ratelimit.GCRA}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, limit := range []ratelimit.Limit{fixed, gcra} {
			client.Set(t.Context(), "aa:ratelimit:k", value, 0)
			client.Set(t.Context(), "aa:ratelimit-gcra:k", value, 0)
			answers, err := b.Take(t.Context(), []ratelimit.Demand{{Key: "k", N: 3, Limit: limit}})
			switch {
			case errors.Is(err, ratelimit.ErrNotCounter):
				if n, err := b.Current(t.Context(), "k"); limit == fixed && err == nil {
					t.Errorf("%q: refused, and counted as %d", value, n)
				}
			case err != nil:
				t.Errorf("%q: %v", value, err)
			case answers[0].Remaining < 0 || answers[0].Remaining > 7 || answers[0].Retry < 0 || answers[0].Reset < answers[0].Retry:
				t.Errorf("%q: %+v", value, answers[0])
			}
		}
	})
}
