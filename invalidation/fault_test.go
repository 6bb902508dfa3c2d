package invalidation_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

// register is a cache of one record of an authority, under the rules of a guard.
type register struct {
	mu     sync.Mutex
	voided int
	held   int64 // 0: nothing
}

func (r *register) void() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.voided++
	r.held = 0
}

func (r *register) Evict([]uint64)              { r.void() }
func (r *register) Flush()                      { r.void() }
func (r *register) Invalidated([]l2.ID, uint64) { r.void() }
func (r *register) Raise(string, uint64)        { r.void() }
func (r *register) RaiseAll(uint64)             { r.void() }
func (r *register) Rewind()                     { r.void() }

// read answers what may be answered from memory, and loads otherwise. 0: it had to load.
func (r *register) read(lease *invalidation.Lease, authority *atomic.Int64) int64 {
	valid := lease.Valid(invalidation.Now())
	r.mu.Lock()
	held, guard := r.held, r.voided
	r.mu.Unlock()
	if valid && held > 0 {
		return held
	}
	if held == 0 {
		loaded := authority.Load()
		r.mu.Lock()
		if r.voided == guard {
			r.held = loaded
		}
		r.mu.Unlock()
	}
	return 0
}

// TestNoProcessAnswersFromBeforeAWait is I4, on a real server that is treated badly.
func TestNoProcessAnswersFromBeforeAWait(t *testing.T) {
	server := redistest.Start(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var authority, inForce atomic.Int64
	authority.Store(1)
	registers := make([]*register, 4)
	buses := make([]*process, 4)
	for i := range registers {
		registers[i] = &register{}
		buses[i] = join(t, server.Client(), setting{
			store:  func(c *l2.Config) { c.Lease = bound / 2 }, // shorter waits are more waits
			member: func(m *invalidation.Membership) { m.Target = registers[i] },
		})
	}
	leased(t, buses...)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	var everybody sync.WaitGroup
	var hits, waits atomic.Int64
	enough := func() bool { return hits.Load() >= 1000 && waits.Load() >= 20 }
	for i, r := range registers { // readers
		everybody.Go(func() {
			for ctx.Err() == nil {
				floor := inForce.Load()
				if got := r.read(buses[i].Lease(0), &authority); got > 0 {
					hits.Add(1)
					if got < floor {
						t.Errorf("seed %d: process %d answers %d when %d is in force", seed, i, got, floor)
						return
					}
				}
				<-time.After(50 * time.Microsecond)
			}
		})
	}
	for i, b := range buses[:2] { // writers
		everybody.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				version := authority.Add(1)
				r := b.Invalidate(ctx, []l2.ID{id(t, "x")}, 0)
				if rnd.IntN(20) == 0 {
					r = b.InvalidateAll(ctx, 0)
				}
				if r.Wait(ctx) != nil {
					continue // the test is over
				}
				waits.Add(1)
				for old := inForce.Load(); old < version && !inForce.CompareAndSwap(old, version); old = inForce.Load() {
				}
			}
		})
	}
	everybody.Go(func() { // the faults
		rnd := rand.New(rand.NewPCG(seed, 99))
		client := server.Client()
		defer cancel()
		for ctx.Err() == nil && (time.Since(began) < 4*time.Second || !enough()) {
			switch rnd.IntN(8) {
			case 0:
				client.FlushAll(ctx)
			case 1:
				client.Del(ctx, key([]string{"e", "s", "b", "a"}[rnd.IntN(4)]))
			case 2:
				client.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			case 3:
				server.Stop()
				<-time.After(time.Duration(rnd.IntN(30)) * time.Millisecond)
				server.Cont()
			case 4:
				client.ScriptFlush(ctx)
			default:
				client.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub")
			}
			<-time.After(time.Duration(rnd.IntN(200)) * time.Millisecond)
		}
	})
	everybody.Wait()
	if !enough() {
		t.Fatalf("%d hits, %d waits: too little happened to prove anything", hits.Load(), waits.Load())
	}
	t.Logf("%d hits, %d waits", hits.Load(), waits.Load())
}
