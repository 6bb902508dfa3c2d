package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/readthrough/history"
)

const (
	pace     = 12 * time.Millisecond // between two reads of a reader, on average
	patience = time.Minute           // how long what must happen after the last fault is waited for
)

type cache = readthrough.Cache[int, uint64]

// story is how a seed went.
type story struct {
	plan   plan
	report history.Report
	trace  trace
	faults map[string]int
	took   time.Duration // of simulated time
	// broken is what went wrong beside what history finds.
	broken []string
}

// sabotage is what a test breaks of the world, to see it found.
type sabotage struct {
	read func(s *source, key int) (loaded, error)              // instead of source.read
	hook func(c *server.Peer, cmd string, args ...string) bool // before each command of the server
}

// play lives through a plan.
func play(t *testing.T, p plan, sabotage sabotage) (s story) {
	t.Helper()
	defer seedRandom(p.seed)()
	runtime.GC()
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, &p, sabotage)
		s = w.run()
	})
	s.report = w.history.Check(p.bound)
	return s
}

// world is some processes, what they share, and what happens to them.
type world struct {
	t       testing.TB
	plan    *plan
	history *history.History
	source  *source
	net     *network
	redis   *host
	caches  []*cache
	clients []*redis.Client
	pending sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	latest []promise  // of each record
	broken []string
}

// promise is a version whose token is known.
type promise struct {
	version uint64
	token   readthrough.Token
}

func newWorld(t *testing.T, p *plan, sabotage sabotage) *world {
	t.Helper()
	h := history.New()
	w := &world{
		t: t, plan: p, history: h, net: newNetwork(p), latest: make([]promise, p.records),
		source: &source{versioned: p.versioned, history: h, records: make([]uint64, p.records)},
	}
	w.redis = newHost(t, w.net, sabotage.hook)
	for i := range p.processes {
		client := redis.NewClient(&redis.Options{
			Addr:        "simulation",
			Dialer:      func(context.Context, string, string) (net.Conn, error) { return w.net.dial(i) },
			DialTimeout: p.timeout, ReadTimeout: p.timeout, WriteTimeout: p.timeout, PoolTimeout: p.timeout,
			ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1, PipelinePoolSize: -1, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		l := loader{source: w.source, net: w.net, process: i, read: w.source.read}
		if sabotage.read != nil {
			l.read = func(key int) (loaded, error) { return sabotage.read(w.source, key) }
		}
		cfg := readthrough.Config[int, uint64]{
			Name: "simulation", Loader: l, Redis: client, Bound: p.bound, Partitions: p.partitions,
			MaxEntries: 256, LoadTimeout: 2 * time.Second, TTL: 5 * p.bound, NegativeTTL: p.bound,
		}
		if p.logged {
			cfg.Log, cfg.Poll = w.source, 2*p.bound
		}
		w.net.pass(t.Context(), between(dice(p.seed, fmt.Sprint("begin ", i)), 0, 5*time.Millisecond))
		c, err := readthrough.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.caches, w.clients = append(w.caches, c), append(w.clients, client)
	}
	return w
}

// run lets everybody read and write while things fail, and then everything come to rest.
func (w *world) run() story {
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	for i, c := range w.caches {
		for r := range 2 {
			running.Go(func() { w.read(ctx, i, r, c) })
		}
		running.Go(func() { w.write(ctx, i, c) })
	}
	running.Go(func() { w.strike(ctx) })
	w.net.pass(ctx, w.plan.span)
	cancel()
	running.Wait()
	w.net.heal()
	w.pending.Wait()
	for i, c := range w.caches {
		for key := range w.plan.records {
			w.net.pass(context.Background(), pace)
			w.get(c, key, history.Read{Process: fmt.Sprint("process ", i, " in the end")})
		}
	}
	w.net.pass(context.Background(), pace)
	s := story{plan: *w.plan, took: w.net.now()}
	s.trace, s.faults = w.net.record()
	w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	s.broken = w.broken
	return s
}

func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, c := range w.caches {
		if err := c.Close(ctx); err != nil {
			w.fail("close process %d: %v", i, err)
		}
		if err := w.clients[i].Close(); err != nil {
			w.fail("close client %d: %v", i, err)
		}
	}
	w.redis.close()
	<-time.After(2 * time.Second) // go-redis looks once a second whether a server is back, its pool closed or not
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = append(w.broken, fmt.Sprintf("%s ", w.net.now())+fmt.Sprintf(format, args...))
}

// read is a reader of one process.
func (w *world) read(ctx context.Context, process, number int, c *cache) {
	asked := history.Read{Process: fmt.Sprintf("process %d.%d", process, number)}
	d := dice(w.plan.seed, asked.Process)
	for {
		w.net.pass(ctx, between(d, 0, 2*pace))
		if ctx.Err() != nil {
			return
		}
		key := d.IntN(w.plan.records)
		switch d.IntN(16) {
		case 0:
			w.linearizable(c, key, asked)
		case 1, 2:
			w.getMany(c, asked)
		case 3, 4:
			w.mu.Lock()
			p := w.latest[key]
			w.mu.Unlock()
			if p.version > 0 {
				asked := asked
				asked.Floor = p.version
				w.get(c, key, asked, readthrough.AtLeast(p.token))
			}
		case 5:
			w.get(c, key, asked, readthrough.SkipL1())
		case 6:
			if err := c.Refresh(context.Background(), key); err != nil && !errors.Is(err, readthrough.ErrNotFound) {
				w.fail("refresh: %v", err)
			}
		default:
			w.get(c, key, asked)
		}
	}
}

func (w *world) linearizable(c *cache, key int, asked history.Read) {
	asked.Linearizable = true
	w.get(c, key, asked, readthrough.Linearizable())
}

func (w *world) get(c *cache, key int, asked history.Read, opts ...readthrough.Option) {
	r := w.history.Read(name(key), asked)
	version, err := c.Get(context.Background(), key, opts...)
	if err != nil && !errors.Is(err, readthrough.ErrNotFound) {
		w.fail("%s: %v", asked.Process, err)
		return
	}
	r.Answered(version)
}

func (w *world) getMany(c *cache, asked history.Read) {
	keys := make([]int, w.plan.records)
	readings := make([]*history.Reading, w.plan.records)
	for key := range keys {
		keys[key], readings[key] = key, w.history.Read(name(key), asked)
	}
	found, err := c.GetMany(context.Background(), keys)
	if err != nil {
		w.fail("%s: %v", asked.Process, err)
		return
	}
	for key, r := range readings {
		r.Answered(found[key])
	}
}

// write is a writer of one process.
func (w *world) write(ctx context.Context, process int, c *cache) {
	asked := history.Read{Process: fmt.Sprintf("writer %d", process)}
	d := dice(w.plan.seed, asked.Process)
	for {
		w.net.pass(ctx, between(d, 0, 16*pace))
		if ctx.Err() != nil {
			return
		}
		keys := []int{d.IntN(w.plan.records)}
		all := happens(d, 0.03)
		if all {
			keys = d.Perm(w.plan.records)
		}
		asked.Floor = w.put(d, c, all, keys) // who writes reads it, without a token
		for range d.IntN(3) {
			w.get(c, keys[0], asked)
			w.net.pass(ctx, between(d, 0, pace))
		}
	}
}

// put writes records through a cache, and waits until that is in force: here, or behind its caller.
func (w *world) put(d *rand.Rand, c *cache, all bool, keys []int) (version uint64) {
	writings, version := w.source.put(all, keys...)
	wait := happens(d, 0.3)
	w.net.pass(context.Background(), between(d, 0, 3*time.Millisecond))
	asOf := uint64(0)
	if w.plan.versioned {
		asOf = version
	}
	var receipt *readthrough.Receipt
	var err error
	if all {
		receipt, err = c.InvalidateAllAsync(context.Background(), asOf)
	} else {
		receipt, err = c.InvalidateAsOf(context.Background(), asOf, keys...)
	}
	if err != nil {
		w.fail("invalidate: %v", err)
		return version
	}
	if receipt.Executed() {
		for _, writing := range writings {
			writing.Executed()
		}
	}
	token := receipt.Token()
	w.mu.Lock()
	for _, key := range keys {
		if w.latest[key].version < version {
			w.latest[key] = promise{version, token}
		}
	}
	w.mu.Unlock()
	inForce := func(ctx context.Context) error {
		err := receipt.Wait(ctx)
		if err == nil {
			for _, writing := range writings {
				writing.InForce()
			}
		}
		return err
	}
	if wait {
		ctx, cancel := context.WithTimeout(context.Background(), between(d, w.plan.bound/2, 2*w.plan.bound))
		defer cancel()
		if inForce(ctx) == nil {
			return version
		}
	}
	w.pending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := inForce(ctx); err != nil {
			w.fail("wait for version %d: %v", version, err)
		}
	})
	return version
}

// strike harms the server as planned.
func (w *world) strike(ctx context.Context) {
	for _, b := range w.plan.blows {
		w.net.pass(ctx, b.at-w.net.now())
		if ctx.Err() != nil {
			return
		}
		w.net.strike(b)
		w.redis.suffer(ctx, b)
	}
}
