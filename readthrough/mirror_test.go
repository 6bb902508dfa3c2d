package readthrough_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

func digits(v int) ([]byte, error) { return strconv.AppendInt(nil, int64(v), 10), nil }

// mirrored adds a mirror of digits.
func mirrored(cfg config) config {
	cfg.Mirror = readthrough.Mirror[int]{Prefix: "original:", Encode: digits}
	return cfg
}

// reflected is what a reader of another system finds; "" without a mirror.
func reflected(t testing.TB, b backend, key string) string {
	t.Helper()
	v, err := b.client.Get(t.Context(), "original:"+key).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return v
}

func wantMirror(t testing.TB, b backend, key, want string) {
	t.Helper()
	redistest.Eventually(t, 10*time.Second, "mirror "+want, func() bool { return reflected(t, b, key) == want })
}

func TestAMirrorComesAndGoesWithItsRecord(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := batcher{newSource(map[string]int{"k": 1, "m": 2, "n": 3})}
		cfg := b.with(config{Loader: src, Bound: 300 * time.Millisecond})
		c, plain := open(t, mirrored(cfg)), open(t, cfg)
		ready(t, c, plain)
		wantGet(t, c, "k", 1)
		wantMirror(t, b, "k", "1")
		value, mirror := b.client.PTTL(t.Context(), prefix+"d:k").Val(), b.client.PTTL(t.Context(), "original:k").Val()
		if mirror <= 0 || mirror > value+time.Second || mirror < value-time.Second {
			t.Errorf("the mirror lives %s, the value %s", mirror, value)
		}
		if many, err := c.GetMany(t.Context(), []string{"k", "m", "n", "none"}); err != nil || len(many) != 3 {
			t.Fatal(many, err)
		}
		wantMirror(t, b, "m", "2")
		wantMirror(t, b, "n", "3")

		for i, by := range []*cache{c, plain} { // also by a process without mirrors
			src.put("k", 10+i)
			invalidate(t, by, "k")
			if got := reflected(t, b, "k"); got != "" {
				t.Fatalf("%s is read after the change is in force", got)
			}
			wantGet(t, c, "k", 10+i)
			wantMirror(t, b, "k", strconv.Itoa(10+i))
		}
		if err := c.InvalidateAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"k", "m", "n"} {
			if got := reflected(t, b, key); got != "" {
				t.Errorf("%s of %s is read after InvalidateAll", got, key)
			}
		}
	})
}

// "A fill that lands after an invalidation": of the mirror as well.
func TestWhatWasReadBeforeAnInvalidationIsNotMirroredAfterIt(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, tel := newSource(map[string]int{"k": 1}), newRecorder()
		c := open(t, mirrored(b.with(config{Loader: src, Telemetry: tel})))
		other := open(t, b.with(config{Loader: src}))
		ready(t, c, other)
		g := newGate(t)
		src.on = g.pass
		done := make(chan error, 1)
		go func() { // ends with its load
			_, err := c.Get(t.Context(), "k")
			done <- err
		}()
		g.await(t)
		src.put("k", 2)
		invalidateAsync(t, other, 0, "k")
		g.release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, 10*time.Second, "refused fill", func() bool { return tel.count(telemetry.FillRefusedLease) == 1 })
		if got := reflected(t, b, "k"); got != "" {
			t.Fatalf("%s came back", got)
		}
		redistest.Eventually(t, 10*time.Second, "the new record", func() bool { // the old load's answer is not kept
			v, err := c.Get(t.Context(), "k", readthrough.SkipL1())
			return err == nil && v == 2
		})
		wantMirror(t, b, "k", "2")
	})
}

// Redis refuses a mirror of another prefix, and with it the fill.
func TestAFillThatIsRefusedWithAnErrorGivesItsLeaseBack(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, tel := newSource(map[string]int{"k": 1, "m": 2}), newRecorder()
		cfg := b.with(config{Loader: src, LoadTimeout: 10 * time.Minute})
		c := open(t, mirrored(cfg))
		cfg.Telemetry, cfg.Mirror = tel, readthrough.Mirror[int]{Prefix: "another:", Encode: digits}
		odd := open(t, cfg)
		ready(t, c, odd)
		wantGet(t, c, "k", 1)
		wantMirror(t, b, "k", "1")
		wantGet(t, odd, "m", 2)
		redistest.Eventually(t, 10*time.Second, "report of the fill", func() bool { return tel.reported("fill") == 1 })
		redistest.Eventually(t, 10*time.Second, "end of the lease", func() bool {
			return b.client.Exists(t.Context(), prefix+"l:m").Val() == 0
		})
	})
}

func TestAnAbsenceHasNoMirror(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c := open(t, mirrored(b.with(config{Loader: src})))
		ready(t, c)
		wantErr(t, c, "none", readthrough.ErrNotFound)
		stored(t, b, "none")
		if got := reflected(t, b, "none"); got != "" {
			t.Errorf("%q", got)
		}
		wantGet(t, c, "k", 1)
		wantMirror(t, b, "k", "1")
		src.mu.Lock()
		delete(src.records, "k") // and nobody was told
		src.mu.Unlock()
		if err := c.Refresh(t.Context(), "k"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Fatal(err)
		}
		wantMirror(t, b, "k", "")
	})
}

func TestARecordWhoseMirrorCannotBeMadeIsKeptWithoutOne(t *testing.T) {
	for name, encode := range map[string]func(int) ([]byte, error){
		"error":    func(int) ([]byte, error) { return []byte("half"), errBroken },
		"panic":    func(int) ([]byte, error) { panic("broken") },
		"too long": func(int) ([]byte, error) { return make([]byte, 1001), nil },
		"empty":    func(int) ([]byte, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			onRedis(t, func(t *testing.T, b backend) {
				src, tel := newSource(map[string]int{"k": 1}), newRecorder()
				good := open(t, mirrored(b.with(config{Loader: src})))
				cfg := mirrored(b.with(config{Loader: src, Telemetry: tel, MaxWire: 1000}))
				cfg.Mirror.Encode = encode
				c := open(t, cfg)
				ready(t, good, c)
				wantGet(t, good, "k", 1)
				wantMirror(t, b, "k", "1")
				if err := c.Refresh(t.Context(), "k"); err != nil {
					t.Fatal(err)
				}
				wantMirror(t, b, "k", "") // an older one would be another record's
				redistest.Eventually(t, 10*time.Second, "fill", func() bool { return tel.count(telemetry.FillStored) == 1 })
				wantTier(t, c, "k", 1, readthrough.L2, readthrough.SkipL1())
				if n := tel.reported("mirror"); n != 1 && name != "empty" {
					t.Errorf("reported %d times", n)
				}
			})
		})
	}
}

func TestAMirrorCostsNoRoundTrip(t *testing.T) {
	server := redistest.Start(t)
	src := newSource(map[string]int{"k": 1, "scripts": 1})
	c := open(t, mirrored(config{Name: "test", Redis: server.Client(), Loader: src, Bound: time.Hour}))
	ready(t, c)
	wantGet(t, c, "scripts", 1)
	invalidateAsync(t, c, 0, "scripts")
	quiet(t, server)
	n := counter{t, server}
	n.want("miss", 2, func() { wantGet(t, c, "k", 1) })
	n.want("invalidate, and the renewal that acknowledges it", 1+1, func() { invalidateAsync(t, c, 0, "k") })
}

func TestAMirrorIsForAStandaloneRedis(t *testing.T) {
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = cluster.Close() })
	c, err := readthrough.New(mirrored(config{Name: "test", Redis: cluster, Loader: newSource(nil)}))
	if err == nil {
		_ = c.Close(context.Background())
		t.Fatal("accepted")
	}
	if !strings.Contains(err.Error(), "standalone") {
		t.Error(err)
	}
}
