package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/readthrough/history"
)

const (
	bound     = 500 * time.Millisecond // B
	records   = 8
	processes = 4
	patience  = 60 * time.Second // how long what must happen is waited for
)

// source is the authority: the version of each record, and of the whole.
type source struct {
	versioned bool // it says so

	mu      sync.Mutex // guards the fields below
	version uint64
	records [records]uint64
}

func (s *source) Load(_ context.Context, key int) (l readthrough.Loaded[uint64], err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versioned {
		l.AsOf = s.version
	}
	if l.Value = s.records[key]; l.Value == 0 {
		err = readthrough.ErrNotFound
	}
	return l, err
}

// put writes the next version of a record.
func (s *source) put(h *history.History, key int) (*history.Writing, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := h.Write(name(key), s.version+1)
	s.version++
	s.records[key] = s.version
	w.Committed()
	return w, s.version
}

func name(key int) string { return fmt.Sprint("record ", key) }

// cache is one process's.
type cache = readthrough.Cache[int, uint64]

// world is some processes that share records.
type world struct {
	t       testing.TB
	history *history.History
	source  *source
	caches  []*cache
	writers []*cache // those of caches that write
	latest  [records]atomic.Pointer[promise]
	pending sync.WaitGroup
}

// promise is a version whose token is known.
type promise struct {
	version uint64
	token   readthrough.Token
}

func newWorld(t testing.TB, versioned bool, s stage) *world {
	t.Helper()
	w := &world{t: t, history: history.New(), source: &source{versioned: versioned}}
	for i := range processes {
		cfg := readthrough.Config[int, uint64]{Name: "faults", Loader: w.source, Redis: s.client(i), Bound: bound, NegativeTTL: 100 * time.Millisecond}
		if slices.Contains(s.never, i) {
			w.serving() // else the first contact might be this one's, and it is the others that never get a lease
		}
		if s.change != nil {
			s.change(i, &cfg)
		}
		c, err := readthrough.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.caches = append(w.caches, c)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = c.Close(ctx) // what is left when Redis is gone is not what is tested
		})
	}
	return w
}

// load reads and writes until ctx ends, and then until every write is in force.
func (w *world) load(ctx context.Context) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for i, c := range w.caches {
		for r := range 2 {
			running.Go(func() { w.read(ctx, fmt.Sprintf("process %d.%d", i, r), c) })
		}
	}
	running.Go(func() { w.write(ctx) })
	return func() {
		cancel()
		running.Wait()
		w.pending.Wait()
	}
}

// pace is how often a reader reads.
const pace = 2 * time.Millisecond

func (w *world) read(ctx context.Context, process string, c *cache) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		key := rand.IntN(records)
		asked := history.Read{Process: process}
		var opts []readthrough.Option
		switch rand.IntN(32) {
		case 0:
			asked.Linearizable = true
			opts = append(opts, readthrough.Linearizable())
		case 1, 2:
			if p := w.latest[key].Load(); p != nil {
				asked.Floor = p.version
				opts = append(opts, readthrough.AtLeast(p.token))
			}
		case 3:
			opts = append(opts, readthrough.SkipL1())
		}
		r := w.history.Read(name(key), asked)
		version, err := c.Get(context.WithoutCancel(ctx), key, opts...)
		if err == nil || errors.Is(err, readthrough.ErrNotFound) {
			r.Answered(version)
		} else {
			w.t.Logf("%s: %v", process, err)
		}
	}
}

func (w *world) write(ctx context.Context) {
	tick := time.NewTicker(10 * pace)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.put(w.writers[n%len(w.writers)], rand.IntN(records))
		}
	}
}

// put writes a record through a cache, and waits behind its caller until that is in force.
func (w *world) put(c *cache, key int) {
	writing, version := w.source.put(w.history, key)
	asOf := uint64(0)
	if w.source.versioned {
		asOf = version
	}
	receipt, err := c.InvalidateAsOf(context.Background(), asOf, key)
	if err != nil {
		w.t.Errorf("invalidate: %v", err)
		return
	}
	if receipt.Executed() {
		writing.Executed()
		w.latest[key].Store(&promise{version, receipt.Token()})
	}
	w.pending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := receipt.Wait(ctx); err != nil {
			w.t.Errorf("wait for version %d: %v", version, err)
			return
		}
		writing.InForce()
	})
}

// serving waits until every process has its lease, but those that never get one.
func (w *world) serving(but ...int) {
	w.t.Helper()
	for i, c := range w.caches {
		if len(but) > 0 && but[0] == i {
			continue
		}
		redistest.Eventually(w.t, patience, "serving lease", func() bool { return c.Ready(context.Background()) == nil })
	}
}

// pass lets time go by under load.
func pass(d time.Duration) { <-time.After(d) }

// duration is how long a scenario's load lasts.
func duration(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv("LAYERCACHE_FAULTS")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("LAYERCACHE_FAULTS: %v", err)
	}
	return d
}
