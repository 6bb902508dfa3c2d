package l2_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

// withMirrors is the bundle of a process that has mirrors.
func withMirrors(b bundle) bundle {
	b.Store = newStore(b.t, b.client, func(c *l2.Config) { c.Mirror = "original:" })
	return b
}

// eachMirrored tells a story to a process with mirrors and one without, on the same namespace.
func eachMirrored(t *testing.T, story func(b, plain bundle)) {
	t.Helper()
	each(t, func(b bundle) { story(withMirrors(b), b) })
}

// reflect fills a value with its mirror.
func (b bundle) reflect(raw, value string, asOf uint64) {
	b.t.Helper()
	r, nonce := b.expect(raw, l2.Leased)
	if got := b.fillMirrored(raw, r.Position.Epoch, nonce, "envelope of "+value, value, asOf); got != l2.Stored {
		b.t.Fatalf("fill %q: %v", raw, got)
	}
	b.wantMirror(raw, value)
}

func (b bundle) wantMirror(raw, want string) {
	b.t.Helper()
	if got := b.mirror(raw); got != want {
		b.t.Fatalf("the mirror of %q is %q, want %q", raw, got, want)
	}
}

func TestMirrorLivesAsLongAsItsValue(t *testing.T) {
	eachMirrored(t, func(b, _ bundle) {
		b.reflect("k*", "value", 1)
		if got := b.client.Get(b.t.Context(), "original:k%2A").Val(); got != "value" {
			b.t.Fatalf("%q under the encoded id", got)
		}
		value, mirror := b.pttl("d:k%2A"), b.client.PTTL(b.t.Context(), "original:k%2A").Val()
		if mirror <= 0 || mirror > time.Minute || mirror < value-time.Second || mirror > value+time.Second {
			b.t.Fatalf("the mirror lives %s, its value %s", mirror, value)
		}
	})
}

func TestInvalidationDeletesTheMirrorWhoeverMakesIt(t *testing.T) {
	eachMirrored(t, func(b, plain bundle) {
		for i, by := range []bundle{b, plain} {
			asOf := uint64(10 * (i + 1))
			b.reflect("k", "old", asOf)
			b.reflect("other", "stays", asOf)
			by.invalidate(asOf+1, "k")
			b.wantMirror("k", "")
			b.wantMirror("other", "stays")
			by.invalidate(asOf+1, "other", "k")
			b.wantMirror("other", "")
		}
	})
}

func TestInvalidationOfManyDeletesEachMirror(t *testing.T) {
	eachMirrored(t, func(b, plain bundle) {
		raws := make([]string, 1100)
		for i := range raws {
			raws[i] = fmt.Sprint("k", i)
		}
		for _, by := range []bundle{b, plain} {
			for _, raw := range []string{raws[0], raws[499], raws[500], raws[1099]} {
				b.reflect(raw, "old", 0)
			}
			by.invalidate(0, raws...)
			for _, raw := range []string{raws[0], raws[499], raws[500], raws[1099]} {
				b.wantMirror(raw, "")
			}
		}
	})
}

func TestRefusedFillWritesNoMirror(t *testing.T) {
	eachMirrored(t, func(b, plain bundle) {
		for name, refuse := range map[string]struct {
			between func(l2.Reply)
			want    l2.FillResult
		}{
			"lease": {func(l2.Reply) { plain.invalidate(0, "k") }, l2.RefusedLease},
			"fence": {func(l2.Reply) {
				b.client.HSet(b.t.Context(), key("l:k"), "f", "00000000000000000009")
			}, l2.RefusedFence},
			"epoch": {func(r l2.Reply) {
				if _, err := b.Reset(b.t.Context(), 0, r.Position.Epoch); err != nil {
					b.t.Fatal(err)
				}
			}, l2.RefusedEpoch},
		} {
			b.client.FlushAll(b.t.Context())
			r, nonce := b.expect("k", l2.Leased)
			refuse.between(r)
			if got := b.fillMirrored("k", r.Position.Epoch, nonce, "envelope", "old", 5); got != refuse.want {
				b.t.Fatalf("%s: %v, want %v", name, got, refuse.want)
			}
			b.wantMirror("k", "")
		}
	})
}

func TestFillWithoutAMirrorDeletesTheOneBefore(t *testing.T) {
	eachMirrored(t, func(b, plain bundle) {
		for _, by := range []bundle{b, plain} {
			b.reflect("k", "old", 1)
			nonce := l2.NewNonce()
			r, err := by.Get(b.t.Context(), l2.Lookup{ID: b.id("k"), Nonce: nonce, Refresh: true})
			if err != nil || r.Outcome != l2.Leased {
				b.t.Fatal(r.Outcome, err)
			}
			if got := by.fill("k", r.Position.Epoch, nonce, "absent now", 2); got != l2.Stored {
				b.t.Fatal(got)
			}
			b.wantMirror("k", "")
			b.invalidate(0, "k")
		}
	})
}

func TestDiscardDeletesTheMirrorWhoeverMakesIt(t *testing.T) {
	eachMirrored(t, func(b, plain bundle) {
		for i, by := range []bundle{b, plain} {
			raw := fmt.Sprint("k", i)
			b.reflect(raw, "value", 1)
			r, _ := b.expect(raw, l2.Hit)
			if err := by.Discard(b.t.Context(), l2.Unreadable{ID: b.id(raw), Epoch: r.Position.Epoch, Envelope: []byte("another")}); err != nil {
				b.t.Fatal(err)
			}
			b.wantMirror(raw, "value")
			if err := by.Discard(b.t.Context(), l2.Unreadable{ID: b.id(raw), Epoch: r.Position.Epoch, Envelope: r.Envelope}); err != nil {
				b.t.Fatal(err)
			}
			b.wantMirror(raw, "")
			b.expect(raw, l2.Leased)
		}
	})
}

func TestNewEpochDeletesEveryMirrorOfTheOldOne(t *testing.T) {
	for name, end := range map[string]func(b bundle){
		"InvalidateAll":    func(b bundle) { _, _ = b.Reset(b.t.Context(), 0, "") },
		"rollback":         func(b bundle) { _, _ = b.Reset(b.t.Context(), 0, b.renew("p", "", 0, 0).Position.Epoch) },
		"loss of e":        func(b bundle) { b.del("e") },
		"loss of s":        func(b bundle) { b.del("s") },
		"loss of b":        func(b bundle) { b.del("b") },
		"loss of a":        func(b bundle) { b.del("a") },
		"another primary":  func(b bundle) { b.client.HSet(b.t.Context(), key("b"), "rid", strings.Repeat("f", 40)) },
		"everything":       func(b bundle) { b.client.FlushAll(b.t.Context()) },
		"all but mirrors":  func(b bundle) { b.client.Del(b.t.Context(), key("e"), key("s"), key("b"), key("a"), key("d:k0")) },
		"by an invalidate": func(b bundle) { b.del("e"); b.invalidate(1, "other") },
	} {
		t.Run(name, func(t *testing.T) {
			eachMirrored(t, func(b, plain bundle) {
				if name == "another primary" && !b.real {
					b.t.Skip("miniredis has no replication id")
				}
				for i := range 50 {
					b.reflect(fmt.Sprint("k", i), "old", 1)
				}
				end(b)
				plain.lookup("new") // any process's script, whether it has mirrors or not
				for i := range 50 {
					b.wantMirror(fmt.Sprint("k", i), "")
				}
				b.reflect("k7", "new", 2)
			})
		})
	}
}

func TestNewEpochDeletesThousandsOfMirrors(t *testing.T) {
	eachMirrored(t, func(b, _ bundle) {
		const n = 3210 // in chunks, the last one cut
		pipe := b.client.Pipeline()
		b.reflect("k", "old", 1)
		for i := range n {
			k := fmt.Sprint("original:", i)
			pipe.Set(b.t.Context(), k, "old", time.Minute)
			pipe.SAdd(b.t.Context(), key([]string{"m", "n"}[i%2]), k)
		}
		if _, err := pipe.Exec(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		if _, err := b.Reset(b.t.Context(), 0, ""); err != nil {
			b.t.Fatal(err)
		}
		if left := b.client.Keys(b.t.Context(), "original:*").Val(); len(left) != 0 {
			b.t.Fatalf("%d mirrors are left", len(left))
		}
		if left := b.client.Exists(b.t.Context(), key("m"), key("n")).Val(); left != 0 {
			b.t.Fatal("the sets are left")
		}
	})
}

// The loss of the sets of mirrors is the one loss of a key that nothing notices.
func TestWithoutTheSetsAMirrorEndsWithItsTimeToLiveOrItsInvalidation(t *testing.T) {
	eachMirrored(t, func(b, plain bundle) {
		b.reflect("k", "old", 1)
		b.reflect("other", "old", 1)
		b.del("m")
		plain.invalidate(2, "k")
		b.wantMirror("k", "")
		b.del("e")
		b.lookup("new")
		if left := b.client.PTTL(b.t.Context(), "original:other").Val(); left > time.Minute {
			b.t.Fatalf("%s to live", left)
		}
	})
}

// What is remembered of a mirror lives at least as long as the mirror, and not for ever.
func TestMirrorsAreRememberedAsLongAsTheyLiveAndNotForEver(t *testing.T) {
	m, client := redistest.Mini(t)
	b := withMirrors(bundle{Store: newStore(t, client), t: t, client: client})
	fill := func(raw string, ttl time.Duration) {
		t.Helper()
		r, nonce := b.expect(raw, l2.Leased)
		got, err := b.Fill(t.Context(), l2.Fill{
			ID: b.id(raw), Epoch: r.Position.Epoch, Nonce: nonce, Envelope: []byte("e"), Mirror: []byte("m"), TTL: ttl,
		})
		if err != nil || got != l2.Stored {
			t.Fatal(got, err)
		}
	}
	remembered := func() map[string]bool {
		all := map[string]bool{}
		for _, set := range []string{key("m"), key("n")} {
			for _, k := range client.SMembers(t.Context(), set).Val() {
				all[k] = true
			}
		}
		return all
	}
	peak := 0
	for i := range 400 {
		fill(fmt.Sprint("k", i), time.Duration(10+i%7)*time.Second)
		if i%50 == 49 {
			fill(fmt.Sprint("long", i), time.Minute) // a loader may set its own
		}
		m.FastForward(time.Second)
		known := remembered()
		for _, k := range client.Keys(t.Context(), "original:*").Val() {
			if !known[k] {
				t.Fatalf("after %d fills nobody remembers %s", i, k)
			}
		}
		peak = max(peak, len(known))
	}
	if peak > 200 {
		t.Errorf("%d mirrors remembered, of which about 20 live", peak)
	}
	m.FastForward(10 * time.Minute)
	if n := len(remembered()); n != 0 {
		t.Errorf("%d remembered of mirrors that have all expired", n)
	}
}

func TestMirrorsOfAnotherPrefixAreRefused(t *testing.T) {
	eachMirrored(t, func(b, plain bundle) {
		b.reflect("k", "value", 1)
		drifted := b
		drifted.Store = newStore(b.t, b.client, func(c *l2.Config) { c.Mirror = "@acme:aa:policy:" })
		r, nonce := drifted.expect("other", l2.Leased)
		_, err := drifted.Fill(b.t.Context(), l2.Fill{
			ID: b.id("other"), Epoch: r.Position.Epoch, Nonce: nonce, Envelope: []byte("e"), Mirror: []byte("m"), TTL: time.Minute,
		})
		mismatch, ok := errors.AsType[*l2.ConfigMismatchError](err)
		if !ok || mismatch.Field != "mirror" || strings.Contains(err.Error(), "acme") {
			b.t.Fatalf("%v", err)
		}
		plain.expect("other", l2.Busy) // nothing was stored
		drifted.invalidate(2, "k")     // and the one that is there goes
		b.wantMirror("k", "")
	})
}

func TestFullRedisInvalidatesMirrors(t *testing.T) {
	server := redistest.Start(t)
	b := withMirrors(bundle{Store: newStore(t, server.Client()), t: t, client: server.Client(), real: true})
	b.reflect("k", "old", 1)
	r, nonce := b.expect("other", l2.Leased)
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if got := b.fillMirrored("other", r.Position.Epoch, nonce, "e", "m", 1); got != l2.RefusedFull {
		t.Fatal(got)
	}
	b.wantMirror("other", "")
	b.invalidate(2, "k")
	b.wantMirror("k", "")
}

func TestUserWithoutTheRightToMirrorsNeitherWritesThemNorKeepsItsEpoch(t *testing.T) {
	server := redistest.Start(t)
	own := withMirrors(bundle{Store: newStore(t, server.Client()), t: t, client: server.Client(), real: true})
	own.reflect("k", "old", 1)
	app := as(t, server)
	if _, err := app.Invalidate(t.Context(), 0, l2.Invalidation{IDs: []l2.ID{app.id("k")}}); err == nil {
		t.Error("an invalidation that left the mirror succeeded")
	}
	if _, err := app.Reset(t.Context(), 0, ""); err != nil {
		t.Errorf("no new epoch: %v", err)
	}
	app.put("new", "value", 1)
}

func TestMirrorFaultsAreRefusedByName(t *testing.T) {
	_, client := redistest.Mini(t)
	for _, odd := range []string{"lc:{ns.0}:", "lc:x", "a*", "a b", "{a}", "é:", "a%", strings.Repeat("a", 301)} {
		if _, err := l2.New(l2.Config{Client: client, Namespace: "ns", Mirror: odd}); err == nil ||
			!strings.HasPrefix(err.Error(), "l2: Config.Mirror ") || strings.Contains(err.Error(), "a*") {
			t.Errorf("%q: %v", odd, err)
		}
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	defer func() { _ = cluster.Close() }()
	_, err := l2.New(l2.Config{Client: cluster, Namespace: "ns", Mirror: "aa:"})
	if err == nil || !strings.Contains(err.Error(), "standalone") {
		t.Errorf("on a Cluster: %v", err)
	}
	plain := newStore(t, client)
	mirrored := newStore(t, client, func(c *l2.Config) { c.Mirror, c.MaxWire = "aa:", 100 })
	f := l2.Fill{ID: newID(t, "k"), Epoch: l2.Epoch(strings.Repeat("a", 32)), Nonce: "n", Mirror: make([]byte, 101), TTL: time.Second}
	if _, err := plain.Fill(t.Context(), f); err == nil || !strings.Contains(err.Error(), "Config.Mirror") {
		t.Errorf("without Config.Mirror: %v", err)
	}
	if _, err := mirrored.Fill(t.Context(), f); err == nil {
		t.Error("an oversized mirror was accepted")
	} else if e, ok := errors.AsType[*l2.OversizeError](err); !ok || e.What != "mirror" || e.Size != 101 {
		t.Errorf("oversized: %v", err)
	}
}
