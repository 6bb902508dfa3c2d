package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

// golden is one session and the bytes it is in Redis.
type golden struct {
	Comment     string
	ID          session.ID
	Agent       session.AgentID
	Started     string // RFC 3339
	Key         string
	AgentID     []byte `json:"agent_id"`
	StartedAtNS string `json:"started_at_ns"`
}

func goldens(t *testing.T) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/hash.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil || len(all) == 0 {
		t.Fatal(err, len(all))
	}
	return all
}

func TestSessionsAreTheOriginalSystemsBytes(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		s, raw := f.open(t), f.client(t)
		for _, g := range goldens(t) {
			started, err := time.Parse(time.RFC3339Nano, g.Started)
			if err != nil {
				t.Fatal(err)
			}
			v := session.Session{ID: g.ID, AgentID: g.Agent, StartedAt: started}

			// Written by us, read as the original does.
			save(t, s, v)
			if kind := raw.Type(t.Context(), g.Key).Val(); kind != "hash" {
				t.Errorf("%s: the key is %q", g.Comment, kind)
			}
			fields := raw.HGetAll(t.Context(), g.Key).Val()
			if len(fields) != 2 || fields["agent_id"] != string(g.AgentID) || fields["started_at_ns"] != g.StartedAtNS {
				t.Errorf("%s: wrote %q", g.Comment, fields)
			}
			if ttl := raw.TTL(t.Context(), g.Key).Val(); ttl > 3600*time.Second || ttl < 3590*time.Second {
				t.Errorf("%s: %s to live, want 3600 s", g.Comment, ttl)
			}

			// Written as the original does, read by us.
			raw.Del(t.Context(), g.Key)
			raw.HSet(t.Context(), g.Key, "agent_id", g.AgentID, "started_at_ns", g.StartedAtNS)
			raw.Expire(t.Context(), g.Key, time.Hour)
			want(t, s, v, readthrough.SkipL1())

			// Deleted by us.
			if err := s.Delete(t.Context(), g.ID); err != nil {
				t.Fatal(err)
			}
			if n := raw.Exists(t.Context(), g.Key).Val(); n != 0 {
				t.Errorf("%s: still there", g.Comment)
			}
		}
		for _, k := range raw.Keys(t.Context(), "*").Val() {
			if !strings.HasPrefix(k, "lc:{sessions.0}:") {
				t.Errorf("%s is left", k)
			}
		}
	})
}

func TestFieldsOfOtherProgramsSurviveASave(t *testing.T) {
	f := onRedis(t)
	s, raw := f.open(t), f.client(t)
	raw.HSet(t.Context(), key(sid(1)), "agent_id", "x", "note", "kept")
	save(t, s, of(sid(1), 1))
	if got := raw.HGet(t.Context(), key(sid(1)), "note").Val(); got != "kept" {
		t.Fatalf("note is %q", got)
	}
	want(t, s, of(sid(1), 1))
}

func TestAHashThatLacksAFieldIsAbsent(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		s, raw := f.open(t), f.client(t)
		for n, fields := range [][]any{{"agent_id", strings.Repeat("a", 16)}, {"started_at_ns", "1"}, {"other", "x"}} {
			raw.HSet(t.Context(), key(sid(byte(n))), fields...)
			wantAbsent(t, s, sid(byte(n)))
			if err := s.Touch(t.Context(), sid(byte(n))); !errors.Is(err, readthrough.ErrNotFound) {
				t.Errorf("touch: %v", err)
			}
		}
	})
}

func TestWhatIsNoSessionIsADecodeErrorAndNotCached(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		s, raw := f.open(t), f.client(t)
		ready(t, s)
		next, agent := byte(0), strings.Repeat("a", 16)
		for name, c := range map[string]struct {
			field string
			write func(k string) redis.Cmder
		}{
			"short agent": {"agent_id", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", agent[1:], "started_at_ns", "1")
			}},
			"hex agent": {"agent_id", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", agent+agent, "started_at_ns", "1")
			}},
			"empty agent": {"agent_id", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", "", "started_at_ns", "1")
			}},
			"huge agent": {"agent_id", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", strings.Repeat("a", 1<<20), "started_at_ns", "1")
			}},
			"no number": {"started_at_ns", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", agent, "started_at_ns", "1.5e9")
			}},
			"no digits": {"started_at_ns", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", agent, "started_at_ns", "")
			}},
			"too large a number": {"started_at_ns", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", agent, "started_at_ns", "9223372036854775808")
			}},
			"endless digits": {"started_at_ns", func(k string) redis.Cmder {
				return raw.HSet(t.Context(), k, "agent_id", agent, "started_at_ns", strings.Repeat("0", 100)+"1")
			}},
			"no hash": {"hash", func(k string) redis.Cmder { return raw.Set(t.Context(), k, "secret", 0) }},
		} {
			t.Run(name, func(t *testing.T) {
				next++ // an absence is remembered
				id := sid(next)
				k := key(id)
				if err := c.write(k).Err(); err != nil {
					t.Fatal(err)
				}
				for _, opts := range [][]readthrough.Option{nil, nil, {readthrough.SkipL1()}, {readthrough.Linearizable()}} {
					got, err := s.Load(t.Context(), id, opts...)
					fault, ok := errors.AsType[*session.DecodeError](err)
					if !ok || fault.Field != c.field || got != (session.Session{}) {
						t.Fatalf("%+v, %v", got, err)
					}
					if errors.Is(err, readthrough.ErrNotFound) || errors.Is(err, readthrough.ErrUnavailable) ||
						strings.Contains(err.Error(), "secret") {
						t.Fatalf("an error of another kind: %v", err)
					}
				}
				// Mended by a foreign program: nothing was remembered.
				raw.Del(t.Context(), k)
				raw.HSet(t.Context(), k, "agent_id", string(append(make([]byte, 15), 7)), "started_at_ns", "1700000000123456789")
				want(t, s, of(id, 7))
				// Broken again, and replaced by a save.
				raw.Del(t.Context(), k)
				c.write(k)
				save(t, s, of(id, 1))
				want(t, s, of(id, 1))
				if err := s.Delete(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				wantAbsent(t, s, id)
			})
		}
	})
}

// "HSET and EXPIRE as two steps (a crash leaves a session for ever)".
func TestASaveIsOneStepSoThatNoCrashLeavesASessionForEver(t *testing.T) {
	server := redistest.Start(t)
	raw := server.Client()
	r := newRedis(t, session.RedisConfig{Client: raw})
	rec := session.Record{AgentID: strings.Repeat("a", 16), StartedAtNS: "1"}
	if err := r.Save(t.Context(), sid(1), rec, time.Hour); err != nil {
		t.Fatal(err)
	}
	before := redistest.CountCommands(t, raw)
	if err := r.Save(t.Context(), sid(2), rec, time.Hour); err != nil {
		t.Fatal(err)
	}
	got := redistest.CountCommands(t, raw).Since(before)
	if len(got) != 3 || got["evalsha"] != 1 || got["hset"] != 1 || got["pexpire"] != 1 {
		t.Fatalf("a save is %v, want one script with both", got)
	}

	// And nobody sees one without an end, at any time.
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() { // ends with ctx
		for ctx.Err() == nil {
			_ = r.Save(ctx, sid(3), rec, time.Hour)
			_ = r.Delete(ctx, sid(3))
		}
	})
	other := server.Client()
	for range 500 {
		if left := other.PTTL(t.Context(), key(sid(3))).Val(); left == -1 {
			t.Error("a session without a time to live")
			break
		}
	}
	stop()
	writer.Wait()
}

func TestASessionThatLostItsTimeToLiveGetsOneOnSaveTouchAndRearmingLoad(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		s := f.open(t)
		rearming := f.open(t, func(c *session.Config) { c.RearmOnLoad, c.Name = true, "other" })
		raw := f.client(t)
		for name, heal := range map[string]func() error{
			"save":  func() error { return s.Save(t.Context(), of(sid(1), 1)) },
			"touch": func() error { return s.Touch(t.Context(), sid(1)) },
			"load": func() error {
				_, err := rearming.Load(t.Context(), sid(1), readthrough.SkipL1())
				return err
			},
		} {
			save(t, s, of(sid(1), 1))
			if !raw.Persist(t.Context(), key(sid(1))).Val() {
				t.Fatal("had no time to live")
			}
			want(t, s, of(sid(1), 1), readthrough.SkipL1()) // it is a session all the same
			if left := raw.PTTL(t.Context(), key(sid(1))).Val(); left != -1 {
				t.Fatalf("a plain load has given it %s", left)
			}
			if err := heal(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if left := raw.PTTL(t.Context(), key(sid(1))).Val(); left <= 0 || left > time.Hour {
				t.Errorf("%s: %s to live", name, left)
			}
		}
	})
}

// "no tenant in the key": and of the tenants' own namespaces on the bus.
func TestTenantsDoNotMeet(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		tenants := []string{"", "acme", "ACME", "acme.aa", "aa", "-"}
		stores, raw := map[string]*session.Store{}, f.client(t)
		for i, tenant := range tenants {
			g := *f
			g.cfg.Tenant = tenant
			stores[tenant] = g.open(t)
			save(t, stores[tenant], of(sid(1), byte(i)))
		}
		for i, tenant := range tenants {
			want(t, stores[tenant], of(sid(1), byte(i)))
			want(t, stores[tenant], of(sid(1), byte(i)), readthrough.SkipL1())
		}
		if n := raw.Exists(t.Context(), key(sid(1)), "@acme:"+key(sid(1))).Val(); n != 2 {
			t.Errorf("%d of the expected keys", n)
		}
		if err := stores["acme"].Delete(t.Context(), sid(1)); err != nil {
			t.Fatal(err)
		}
		for i, tenant := range tenants {
			if tenant == "acme" {
				wantAbsent(t, stores[tenant], sid(1))
				continue
			}
			want(t, stores[tenant], of(sid(1), byte(i)))
			want(t, stores[tenant], of(sid(1), byte(i)), readthrough.SkipL1())
		}
	})
}

func TestHostileTenantsAndPrefixesAreRefusedAndNotShown(t *testing.T) {
	_, client := redistest.Mini(t)
	for _, odd := range []string{"a:b", "a*", "[a]", "{a}", "@acme", "a b", "é", "a\x00", "a\r\nDEL x"} {
		for name, cfg := range map[string]session.RedisConfig{
			"RedisConfig.Tenant": {Client: client, Tenant: odd}, "RedisConfig.Prefix": {Client: client, Prefix: odd},
		} {
			if _, err := session.NewRedis(cfg); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), odd) {
				t.Errorf("%s %q: %v", name, odd, err)
			}
		}
	}
	if _, err := session.NewRedis(session.RedisConfig{}); err == nil || !strings.Contains(err.Error(), "RedisConfig.Client") {
		t.Errorf("no client: %v", err)
	}
}
