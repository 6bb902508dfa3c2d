package readthrough_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// The faults that other caches are known for, as scenarios. Each names the public issue that shows it elsewhere; none of them
// is about code of this module.

// pair is two processes' caches over one authority, in force within milliseconds.
func pair(t *testing.T, b backend, src *source) (c, other *cache) {
	t.Helper()
	cfg := b.with(config{Loader: src, Bound: 300 * time.Millisecond, MaxTTL: time.Hour})
	c, other = open(t, cfg), open(t, cfg)
	ready(t, c, other)
	invalidate(t, c, "first") // the epoch is known to both
	return c, other
}

// Guava's LoadingCache keeps what a load brings although its key was invalidated meanwhile: open-metadata/OpenMetadata#28912.
func TestASlowLoadThatEndsAfterARemovalLeavesNothingBehind(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		held := newGate(t)
		src.on = held.pass
		c, other := pair(t, b, src)
		slow := make(chan struct{})
		go func() { // ends with its load
			defer close(slow)
			_, _ = c.Get(context.Background(), "k")
		}()
		held.await(t) // it has read the old record
		src.put("k", 2)
		invalidate(t, other, "k")
		held.release()
		<-slow
		for range 3 {
			wantGet(t, c, "k", 2)
			wantGet(t, other, "k", 2)
		}
	})
}

// A refresh that dates what it brings when it ends brings back what was removed while it ran: ZiggyCreatures/FusionCache#628,
// ben-manes/caffeine#193.
func TestARefreshUnderWayBringsNothingRemovedBack(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c, other := pair(t, b, src)
		wantGet(t, c, "k", 1)
		wantGet(t, other, "k", 1)
		held := newGate(t)
		src.on = held.pass
		refreshed := make(chan struct{})
		go func() { // ends with its load
			defer close(refreshed)
			_ = c.Refresh(context.Background(), "k")
		}()
		held.await(t) // it has read the old record
		src.put("k", 2)
		invalidate(t, other, "k")
		held.release()
		<-refreshed
		for range 3 {
			wantGet(t, c, "k", 2)
			wantGet(t, other, "k", 2)
			wantGet(t, other, "k", 2, readthrough.SkipL1())
		}
	})
}

// A marker that says "somebody loads this" is the same for two loads, so the first one's answer is taken for the second's:
// redis/lettuce#3481 and the proposals on it.
func TestTwoLoadsAroundADeleteAreToldApart(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, tel := newSource(map[string]int{"k": 1}), newRecorder()
		loads := make(chan *gate, 2)
		first, second := newGate(t), newGate(t)
		loads <- first
		loads <- second
		src.on = func(ctx context.Context, key string) error { return (<-loads).pass(ctx, key) }
		cfg := b.with(config{Loader: src, Bound: 300 * time.Millisecond, MaxTTL: time.Hour})
		other := open(t, cfg)
		cfg.Telemetry = tel
		c := open(t, cfg)
		ready(t, c, other)
		answers := make(chan int, 2)
		get := func() {
			v, _ := c.Get(context.Background(), "k")
			answers <- v
		}
		go get() // both end with their loads
		first.await(t)
		src.put("k", 2)
		invalidateAsync(t, c, 0, "k")
		go get() // not the first one's flight, and another lease of the same key
		second.await(t)
		first.release() // while the second one's lease stands
		redistest.Eventually(t, 10*time.Second, "the first one's fill is decided", func() bool { return tel.fills() == 1 })
		second.release()
		if got := max(<-answers, <-answers); got != 2 {
			t.Fatalf("%d: the load that began after the delete answered from before it", got)
		}
		redistest.Eventually(t, 10*time.Second, "the second one's fill is decided", func() bool { return tel.fills() == 2 })
		wantTier(t, other, "k", 2, readthrough.L2)
		wantGet(t, c, "k", 2)
	})
}

// Messages that were published while a subscription was lost are gone, and the memory of that process stays old until its time
// is over: ZiggyCreatures/FusionCache#81, MichaCo/CacheManager#338.
func TestAMessageLostAtAReconnectIsNoticed(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	src := newSource(map[string]int{"k": 1})
	cfg := config{Name: "test", Loader: src, Bound: 300 * time.Millisecond, TTL: time.Hour}
	cfg.Redis = server.Client()
	writer := open(t, cfg)
	cfg.Redis = proxy.Client()
	reader := open(t, cfg)
	ready(t, writer, reader)
	wantGet(t, reader, "k", 1)
	proxy.Refuse()
	proxy.CutAll()
	src.put("k", 2)
	invalidate(t, writer, "k")
	wantGet(t, reader, "k", 2) // without a connection its lease is over
	src.put("k", 3)
	invalidate(t, writer, "k")
	proxy.Restore()
	wantGet(t, reader, "k", 3)
	redistest.Eventually(t, 10*time.Second, "serving lease", func() bool { return reader.Ready(t.Context()) == nil })
	wantGet(t, reader, "k", 3)
}

// A clear that compares times leaves what is stored at the same moment, or what a load stores after it:
// ZiggyCreatures/FusionCache#648, MystenLabs/sui#17191.
func TestAClearDuringALoadClearsWhatItBrings(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		held := newGate(t)
		src.on = held.pass
		c := open(t, b.with(config{Loader: src, Bound: 100 * time.Millisecond}))
		ready(t, c)
		slow := make(chan struct{})
		go func() { // ends with its load
			defer close(slow)
			_, _ = c.Get(context.Background(), "k")
		}()
		held.await(t)
		src.put("k", 2)
		if err := c.InvalidateAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		held.release()
		<-slow
		wantGet(t, c, "k", 2)
	})
}

// A cache that marks removals with the time of day loses them where a clock is wrong, in the reported case by 15 minutes:
// ZiggyCreatures/FusionCache#319. Here a process whose records are dated a quarter of an hour ahead or behind changes nothing,
// since nobody compares times of two machines: what is dated are only the ages that GetEntry shows.
func TestAClockThatIsAQuarterOfAnHourOffMakesNothingOld(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c, other := pair(t, b, src)
		for n, off := range []time.Duration{-15 * time.Minute, 15 * time.Minute} {
			wantGet(t, c, "k", n+1)
			stored(t, b, "k")
			redate(t, b, "k", off)
			wantTier(t, other, "k", n+1, readthrough.L2)
			src.put("k", n+2)
			invalidate(t, c, "k")
			wantGet(t, other, "k", n+2)
			invalidate(t, c, "k")
		}
	})
}

// redate makes a value in L2 one that was stored by a process whose clock is off.
func redate(t *testing.T, b backend, key string, off time.Duration) {
	t.Helper()
	raw, err := b.client.Get(t.Context(), prefix+"d:"+key).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	id, err := l2.NewID(key)
	if err != nil {
		t.Fatal(err)
	}
	const epoch = 32
	e, err := l2.ParseEnvelope(raw[epoch:], "test", id, l2.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	e.Created = e.Created.Add(off)
	b.client.Set(t.Context(), prefix+"d:"+key, l2.AppendEnvelope(raw[:epoch:epoch], "test", id, e), redis.KeepTTL)
}

// One load that hangs holds its key, or more than that, for everybody: ben-manes/caffeine#425 and #672.
func TestAHungLoaderHoldsNeitherItsKeyNorOthers(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"hung": 1, "k": 1})
		hung := newGate(t)
		src.on = func(ctx context.Context, key string) error {
			if key == "hung" && src.loads.Load() <= 1 {
				hung.arrived <- struct{}{}
				<-hung.open // whatever its context says
			}
			return nil
		}
		c := open(t, b.with(config{Loader: src, LoadTimeout: 200 * time.Millisecond, MaxLoads: 1, Bound: time.Second}))
		ready(t, c)
		failed := make(chan error, 1)
		go func() { // ends with the load's time
			_, err := c.Get(context.Background(), "hung")
			failed <- err
		}()
		hung.await(t)
		if err := <-failed; !errors.Is(err, readthrough.ErrUnavailable) {
			t.Fatalf("%v", err)
		}
		wantGet(t, c, "k", 1)
		wantGet(t, c, "hung", 1)
	})
}

// A publish returns when the message is sent and not when it was applied, so another process may still answer with the old
// record: MichaCo/CacheManager#284.
func TestInvalidateReturnsWhenItIsApplied(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 0})
		c, other := pair(t, b, src)
		for n := 1; n <= 50; n++ {
			wantGet(t, other, "k", n-1)
			src.put("k", n)
			invalidate(t, c, "k")
			wantGet(t, other, "k", n)
		}
	})
}
