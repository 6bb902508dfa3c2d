package readthrough_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// The reader has not heard of the changes: its messages are lost and its lease still runs.
func TestAReadWithATokenIsNotOlderThanTheToken(t *testing.T) {
	for name, versioned := range map[string]bool{"of a version": true, "of a position": false} {
		t.Run(name, func(t *testing.T) {
			onRedis(t, func(t *testing.T, b backend) {
				src := newSource(map[string]int{"k": 1})
				src.versioned = versioned
				cfg := b.with(config{Loader: src, Bound: 10 * time.Second})
				writer := open(t, cfg)
				deaf := b
				deaf.client = withoutMessages(t, b.client)
				reader := open(t, deaf.with(config{Loader: src, Bound: 10 * time.Second}))
				ready(t, writer, reader)
				for i := 2; i < 20; i++ {
					if _, err := reader.Get(t.Context(), "k"); err != nil {
						t.Fatal(err)
					}
					asOf := src.put("k", i)
					if !versioned {
						asOf = 0
					}
					r := invalidateAsync(t, writer, asOf, "k")
					wantGet(t, reader, "k", i, readthrough.AtLeast(r.Token()))
					wantGet(t, writer, "k", i, readthrough.AtLeast(r.Token()))
				}
			})
		})
	}
}

// deaf is a client that subscribes elsewhere.
type deaf struct {
	*redis.Client
	elsewhere redis.UniversalClient
}

func (d deaf) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	return d.elsewhere.Subscribe(ctx, channels...)
}

func withoutMessages(t testing.TB, client redis.UniversalClient) redis.UniversalClient {
	t.Helper()
	node, ok := client.(*redis.Client)
	if !ok {
		t.Fatalf("a client of type %T", client)
	}
	return deaf{node, mini(t).client}
}

func TestATokenOfAnAuthorityThatWentBackIsUnavailable(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		src.versioned = true
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		token := invalidateAsync(t, c, 9, "elsewhere").Token() // the authority is at 1: a restored backup
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.AtLeast(token))
		wantGet(t, c, "k", 1)
		wantErr(t, c, "k", readthrough.ErrUnavailable, readthrough.AtLeast(token)) // from L1 neither
		src.mu.Lock()
		src.version = 9
		src.mu.Unlock()
		wantGet(t, c, "k", 1, readthrough.AtLeast(token))
		wantTier(t, c, "k", 1, readthrough.L1, readthrough.AtLeast(token))
	})
}

func TestOfSeveralTokensNoneIsForgotten(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		src.versioned = true
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		low, high := invalidateAsync(t, c, 5, "x").Token(), invalidateAsync(t, c, 9, "y").Token()
		position := invalidateAsync(t, c, 0, "z").Token()
		for _, tokens := range [][]readthrough.Token{{low, high}, {high, low}, {high, position}, {position, high}, {high, high}} {
			var opts []readthrough.Option
			for _, token := range tokens {
				opts = append(opts, readthrough.AtLeast(token))
			}
			wantErr(t, c, "k", readthrough.ErrUnavailable, opts...)
		}
		wantGet(t, c, "k", 1, readthrough.AtLeast(position))
		later := invalidateAsync(t, c, 0, "k").Token()
		before := src.loads.Load()
		wantGet(t, c, "k", 1, readthrough.AtLeast(later), readthrough.AtLeast(position))
		wantGet(t, c, "k", 1, readthrough.AtLeast(position), readthrough.AtLeast(later))
		if got := src.loads.Load() - before; got != 2 {
			t.Errorf("%d loads for two reads with two positions each", got)
		}
	})
}

func TestABadTokenIsRefusedBeforeAnyIO(t *testing.T) {
	server := redistest.Start(t)
	src := newSource(map[string]int{"k": 1})
	c := open(t, config{Name: "test", Redis: server.Client(), Loader: src, Bound: time.Hour})
	other := open(t, config{Name: "elsewhere", Loader: src})
	r, err := other.InvalidateAsOf(t.Context(), 3, "k")
	if err != nil {
		t.Fatal(err)
	}
	ready(t, c)
	good := string(invalidateAsync(t, c, 3, "k").Token())
	quiet(t, server)
	before := redistest.CountCommands(t, server.Client())
	for name, token := range map[string]string{
		"empty": "", "garbage": "garbage", "of another namespace": string(r.Token()), "cut": good[:len(good)-1],
		"impossible": good + "zzzzzzzzzzzzzzzz", "with a space": good + " ", "negative": good[:len(good)-1] + "-3",
	} {
		if _, err := c.Get(t.Context(), "k", readthrough.AtLeast(readthrough.Token(token))); !errors.Is(err, readthrough.ErrBadToken) {
			t.Errorf("%s: Get = %v", name, err)
		}
		if _, err := c.GetMany(t.Context(), []string{"k"}, readthrough.AtLeast(readthrough.Token(token))); !errors.Is(err, readthrough.ErrBadToken) {
			t.Errorf("%s: GetMany = %v", name, err)
		}
		if _, err := c.GetEntry(t.Context(), "k", readthrough.AtLeast(readthrough.Token(token))); !errors.Is(err, readthrough.ErrBadToken) {
			t.Errorf("%s: GetEntry = %v", name, err)
		}
	}
	wantLoads(t, src, 0)
	if spent := redistest.CountCommands(t, server.Client()).Since(before); spent.Scripts() != 0 {
		t.Errorf("commands: %v", spent)
	}
}

// quiet waits until the caches' own business with the server is done: it has not been asked anything for a while.
func quiet(t testing.TB, server *redistest.Server) {
	t.Helper()
	client := server.Client()
	last, same := int64(-1), 0
	redistest.Eventually(t, 10*time.Second, "silence", func() bool {
		n := redistest.CountCommands(t, client).Scripts()
		if n != last {
			last, same = n, 0
		}
		same++
		return same > 20
	})
}

func TestLinearizableReadsTheAuthorityAndJoinsNothingThatHasBegun(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		src, g := newSource(map[string]int{"k": 1}), newGate(t)
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		wantGet(t, c, "k", 1)
		src.put("k", 2) // nobody was told
		wantGet(t, c, "k", 1)
		wantTier(t, c, "k", 2, readthrough.L3, readthrough.Linearizable())

		src.on = g.pass
		var wg sync.WaitGroup
		wg.Go(func() { wantGet(t, c, "k", 2, readthrough.Linearizable()) })
		g.await(t) // has read 2
		src.put("k", 3)
		wg.Go(func() { wantGet(t, c, "k", 3, readthrough.Linearizable()) })
		g.await(t) // did not join
		g.release()
		wg.Wait()
		wantLoads(t, src, 4)
	})
}

func TestSkipL1AsksL2(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		wantTier(t, c, "k", 1, readthrough.L3)
		wantTier(t, c, "k", 1, readthrough.L1)
		stored(t, b, "k")
		wantTier(t, c, "k", 1, readthrough.L2, readthrough.SkipL1())
		many, err := c.GetMany(t.Context(), []string{"k"}, readthrough.SkipL1())
		if err != nil || many["k"] != 1 {
			t.Errorf("GetMany = %v, %v", many, err)
		}
		wantLoads(t, src, 1)
	})
}

// Positions of another life of Redis' state say nothing about this one: only the authority is known to be past them.
func TestAPositionOfAnotherEpochAsksTheAuthority(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 1})
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		token := invalidateAsync(t, c, 0, "k").Token()
		before := c.LivesIn()
		if _, err := c.InvalidateAllAsync(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, 10*time.Second, "life in the new epoch", func() bool { return c.LivesIn() != before })
		wantGet(t, c, "k", 1)
		stored(t, b, "k")
		wantTier(t, c, "k", 1, readthrough.L2, readthrough.SkipL1())
		wantTier(t, c, "k", 1, readthrough.L3, readthrough.AtLeast(token))
	})
}
