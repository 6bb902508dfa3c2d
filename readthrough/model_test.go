package readthrough_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// versions is an authority whose every record is the number of its last change. It is slow at random, so that reads are on
// their way while changes happen.
type versions struct {
	committed [modelKeys]atomic.Int64
	versioned bool
	as        sync.Mutex // orders commits
	asOf      atomic.Uint64
}

const modelKeys = 8

func (v *versions) commit(key int) (value int64, asOf uint64) {
	v.as.Lock()
	defer v.as.Unlock()
	asOf = v.asOf.Add(1)
	value = v.committed[key].Add(1)
	if !v.versioned {
		asOf = 0
	}
	return value, asOf
}

func (v *versions) Load(_ context.Context, key string) (loaded, error) {
	i, err := strconv.Atoi(key)
	if err != nil {
		return loaded{}, err
	}
	var l loaded
	if v.versioned {
		l.AsOf = v.asOf.Load() // before the record
	}
	l.Value = int(v.committed[i].Load())
	if rand.IntN(4) == 0 {
		<-time.After(rand.N(2 * time.Millisecond)) // on its way
	}
	return l, nil
}

func (v *versions) LoadMany(ctx context.Context, keys []string) (batch, error) {
	b := batch{Found: map[string]loaded{}}
	for _, key := range keys {
		l, err := v.Load(ctx, key)
		if err != nil {
			return batch{}, err
		}
		b.Found[key] = l
	}
	return b, nil
}

// TestNoReadAfterAnInvalidationIsOlder is the promise: whatever several processes do at once, and whatever Redis loses, no
// read that begins after Invalidate returned is answered from before it. Values are versions; inForce holds for each key the
// highest one whose Invalidate has returned.
func TestNoReadAfterAnInvalidationIsOlder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LAYERCACHE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("LAYERCACHE_SEED=%d", seed)
	length := 2500 * time.Millisecond
	if testing.Short() {
		length = time.Second
	}
	for _, versioned := range []bool{false, true} {
		t.Run(fmt.Sprintf("versioned=%v", versioned), func(t *testing.T) {
			onEach(t, func(t *testing.T, b backend) { model(t, b, seed, versioned, length) })
		})
	}
}

func model(t *testing.T, b backend, seed uint64, versioned bool, length time.Duration) {
	authority := &versions{versioned: versioned}
	var inForce [modelKeys]atomic.Int64
	var caches []*cache
	for range 4 {
		caches = append(caches, open(t, b.with(config{
			Loader: authority, Bound: 100 * time.Millisecond, TTL: 50 * time.Millisecond, LoadTimeout: 10 * time.Second,
		})))
	}
	ready(t, caches...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var reads, changes, flushes, unavailable atomic.Int64
	began := time.Now()
	wg.Go(func() { // a busy machine gets more time for what proves something
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil && (time.Since(began) < length || reads.Load() < 100 || changes.Load() == 0) {
			<-tick.C
		}
		cancel()
	})
	check := func(key int, floor int64, got int, err error) {
		switch {
		case err != nil:
			unavailable.Add(1)
		case int64(got) < floor:
			t.Errorf("key %d: a read that began after version %d was in force got %d", key, floor, got)
			cancel()
		}
		reads.Add(1)
	}
	for n := range 8 { // readers
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		c := caches[n%len(caches)]
		wg.Go(func() {
			for ctx.Err() == nil {
				key := r.IntN(modelKeys)
				floor := inForce[key].Load()
				switch r.IntN(10) {
				case 0:
					v, err := c.Get(context.Background(), fmt.Sprint(key), readthrough.SkipL1())
					check(key, floor, v, err)
				case 1:
					v, err := c.Get(context.Background(), fmt.Sprint(key), readthrough.Linearizable())
					check(key, floor, v, err)
				case 2:
					other := (key + 1) % modelKeys
					second := inForce[other].Load()
					m, err := c.GetMany(context.Background(), []string{fmt.Sprint(key), fmt.Sprint(other)})
					check(key, floor, m[fmt.Sprint(key)], err)
					check(other, second, m[fmt.Sprint(other)], err)
				case 3:
					_ = c.Refresh(context.Background(), fmt.Sprint(key))
				default:
					v, err := c.Get(context.Background(), fmt.Sprint(key))
					check(key, floor, v, err)
				}
			}
		})
	}
	for n := range 3 { // writers
		r := rand.New(rand.NewPCG(seed, uint64(100+n)))
		c := caches[n%len(caches)]
		wg.Go(func() {
			for ctx.Err() == nil {
				key := r.IntN(modelKeys)
				value, asOf := authority.commit(key)
				receipt, err := c.InvalidateAsOf(context.Background(), asOf, fmt.Sprint(key))
				if err != nil {
					t.Error(err)
					return
				}
				// Read your own write at once, and with the token anywhere.
				v, err := c.Get(context.Background(), fmt.Sprint(key))
				check(key, value, v, err)
				v, err = caches[r.IntN(len(caches))].Get(context.Background(), fmt.Sprint(key), readthrough.AtLeast(receipt.Token()))
				check(key, value, v, err)
				if err := receipt.Wait(ctx); err != nil {
					return
				}
				for old := inForce[key].Load(); value > old && !inForce[key].CompareAndSwap(old, value); old = inForce[key].Load() {
				}
				changes.Add(1)
			}
		})
	}
	if b.client != nil { // and Redis loses its state, or a part of it, now and then
		r := rand.New(rand.NewPCG(seed, 1000))
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(200*time.Millisecond + time.Duration(r.Int64N(int64(400*time.Millisecond)))):
				}
				switch what := []string{"", "e", "s", "b", "a", "d:3", "l:3"}[r.IntN(7)]; what {
				case "":
					b.client.FlushAll(ctx)
				default:
					b.client.Del(ctx, prefix+what)
				}
				flushes.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d reads, %d changes in force, %d losses, %d reads without an answer", reads.Load(), changes.Load(), flushes.Load(), unavailable.Load())
	if reads.Load() < 100 || changes.Load() == 0 {
		t.Error("too little happened to prove anything")
	}
	if unavailable.Load() > 0 {
		t.Errorf("%d reads without an answer", unavailable.Load())
	}
	for key := range modelKeys { // at rest every process agrees
		want := int(authority.committed[key].Load())
		invalidate(t, caches[0], fmt.Sprint(key))
		for _, c := range caches {
			wantGet(t, c, fmt.Sprint(key), want)
		}
	}
	redistest.Eventually(t, 10*time.Second, "nothing pending", func() bool { return caches[0].Health().Pending == 0 })
}
