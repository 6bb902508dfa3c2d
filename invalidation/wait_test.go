package invalidation_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestWaitEndsByAcks(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		ps := []*process{join(t, client), join(t, client), join(t, client), join(t, client)}
		ripe(t, ps...)
		var took []time.Duration
		for i := range 50 {
			w := ps[i%4]
			before := make([]int, 4)
			for j, p := range ps {
				before[j] = p.target.voids(id(t, "x"))
			}
			took = append(took, timed(t, w.invalidate("x")))
			for j, p := range ps {
				if p.Lease(0).Valid(invalidation.Now()) && p.target.voids(id(t, "x")) == before[j] {
					t.Fatalf("in force, but not applied in process %d, which holds a lease", j)
				}
			}
		}
		slices.Sort(took)
		t.Logf("wait with 4 members: median %s, p90 %s, longest %s", took[25], took[45], took[49])
		if took[10] > bound/8 { // the machine may be busy
			t.Fatalf("a fifth took %s or less: no better than renewals alone", took[10])
		}
	})
}

// Its list of registrations was cleared when the epoch began: whoever held a lease then is not in it.
func TestWaitSitsOutAYoungEpoch(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client)
		leased(t, p)
		ripe(t, p)
		for _, lose := range []func(){func() {}, func() { client.FlushAll(t.Context()) }} {
			lose()
			q := join(t, client) // it has not known the epoch for long either
			began := invalidation.Now()
			r := q.invalidate("x")
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			known := invalidation.Now().Sub(began)
			if known < bound || known > bound+margin+slack {
				t.Fatalf("waited %s in an epoch known for no longer, want a bit over %s", known, bound)
			}
			quick(t, q, bound/4)
		}
	})
}

func TestDeadProcessCostsOneWait(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p, q := join(t, client), join(t, client)
		ripe(t, p, q)
		haunt(t, p)
		began := invalidation.Now()
		d := timed(t, p.invalidate("x"))
		if d < bound || d > bound+margin+slack {
			t.Fatalf("waited %s for a dead process, want a bit over %s", d, bound)
		}
		redistest.Eventually(t, patience, "end of its registration", func() bool { return registered(client, ghost) == "" })
		if gone := invalidation.Now().Sub(began); gone < bound+margin {
			t.Fatalf("deleted after %s, when it might have held a lease", gone)
		}
		for _, w := range []*process{p, q} {
			quick(t, w, bound/2)
		}
	})
}

func TestLaggardThatRenewsIsNotDeleted(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		const long = 2 * bound
		p := join(t, client, setting{store: func(c *l2.Config) { c.Lease = long }})
		ripe(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		var alive sync.WaitGroup
		alive.Go(func() { // it renews, and applies nothing
			for count := uint64(0); ctx.Err() == nil; count++ {
				l2.Renew(ctx, client, []l2.Renewal{{Store: p.store, Process: "slow", Count: count}})
				select {
				case <-time.After(long / 20):
				case <-ctx.Done():
				}
			}
		})
		defer alive.Wait()
		defer cancel()
		redistest.Eventually(t, patience, "registration", func() bool { return registered(client, "slow") != "" })
		for range 2 {
			if d := timed(t, p.invalidate("x")); d < long {
				t.Fatalf("waited %s for a process that lives", d)
			}
		}
		if registered(client, "slow") == "" {
			t.Fatal("a process that lives was deleted")
		}
	})
}

// The waiter's own bound is short; a lease given to another lasts longer.
func TestWaitSitsOutLeasesLongerThanItsOwn(t *testing.T) {
	for name, everything := range map[string]bool{"one id": false, "everything": true} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
				const long = 2 * bound
				p := join(t, client, setting{store: func(c *l2.Config) { c.Lease = long }})
				leased(t, p)
				haunt(t, p)
				q := join(t, client, setting{unread: true})
				var r *invalidation.Receipt
				if everything {
					r = q.InvalidateAll(t.Context(), 0)
				} else {
					r = q.invalidate("x")
				}
				if d := timed(t, r); d < long {
					t.Fatalf("waited %s, and others hold leases of %s", d, long)
				}
			})
		})
	}
}

// The loss comes before the first question: an answer from before it that comes after the new epoch makes the old one look
// young, and then the clock ends the wait, which is as good.
func TestWaitExecutesAgainInAnEpochThatCameMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client)
		ripe(t, p)
		haunt(t, p)
		began := invalidation.Now()
		r := p.invalidate("x")
		old := r.Epoch()
		client.FlushAll(t.Context())
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := invalidation.Now().Sub(began); d < bound || d > bound+margin+slack {
			t.Fatalf("in force after %s, want a bit over %s: the new epoch is young", d, bound)
		}
		now, err := p.Epoch(t.Context())
		if err != nil || r.Epoch() == old || r.Epoch() != now {
			t.Fatalf("executed in %q, then in %q, now %q, %v", old, r.Epoch(), now, err)
		}
		if seq := client.Get(t.Context(), key("s")).Val(); seq != "1" {
			t.Fatalf("executed %s times in the new epoch", seq)
		}
	})
}

func TestWaitThatEndsFirstSaysWhatIsKnown(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		const long = 4 * bound // so that the caller's patience ends first
		p := join(t, client, setting{store: func(c *l2.Config) { c.Lease = long }})
		ripe(t, p)
		haunt(t, p)
		r := p.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 9)
		answered := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), bound/4)
		defer cancel()
		err := r.Wait(ctx)
		var e *invalidation.NotInForceError
		if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if !e.Committed || e.Pending || !slices.Equal(e.Laggards, []string{ghost}) {
			t.Fatalf("%+v", e)
		}
		if until := e.Until.Sub(answered); until < long || until > long+slack {
			t.Fatalf("until %s after the answer", until)
		}
		if floor, err := p.Tokens().Parse(e.Token); err != nil || floor.AsOf != 9 {
			t.Fatalf("token %q: %v", e.Token, err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal("a second wait:", err)
		}
	})
}

func TestWaitersShareTheirPolls(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	p := join(t, client)
	ripe(t, p)
	haunt(t, p)
	const waiters = 200
	before := redistest.CountCommands(t, client)
	receipts := make([]*invalidation.Receipt, waiters)
	for i := range receipts {
		receipts[i] = p.invalidate("x")
	}
	var wg sync.WaitGroup
	began := time.Now()
	for _, r := range receipts {
		wg.Go(func() {
			if err := r.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	counted := redistest.CountCommands(t, client).Since(before)
	polls := counted["hgetall"] // acks is the only script that reads all registrations
	if most := int64(took/(8*time.Millisecond)) + 20; polls > most || polls == 0 {
		t.Fatalf("%d polls for %d waiters in %s, want at most %d", polls, waiters, took, most)
	}
	t.Logf("%d polls for %d waiters in %s", polls, waiters, took)
}

func TestWaitForEverythingCostsOneLeaseTerm(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p, q := join(t, client), join(t, client)
		ripe(t, p, q)
		old, flushes := p.Position(0).Epoch, q.target.count("flush")
		if d := timed(t, p.InvalidateAll(t.Context(), 0)); d < bound || d > bound+margin+slack {
			t.Fatalf("waited %s, want a bit over %s", d, bound)
		}
		if q.target.count("flush") == flushes || q.Position(0).Epoch == old {
			t.Fatal(q.target.all())
		}
	})
}

func TestWaitEndsWithTheBus(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client)
		ripe(t, p)
		haunt(t, p)
		done := make(chan error, 1)
		r := p.invalidate("x")
		go func() { done <- r.Wait(t.Context()) }()
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var e *invalidation.NotInForceError
		if err := <-done; !errors.Is(err, invalidation.ErrClosed) || !errors.As(err, &e) || e.Until.IsZero() {
			t.Fatal(err)
		}
	})
}

// Redis goes away after it has executed the invalidation: the clock alone ends the wait.
func TestWaitEndsByTheClockWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	p, q := join(t, server.Client()), join(t, server.Client())
	ripe(t, p, q)
	server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	r := p.invalidate("x")
	server.Kill()
	d := timed(t, r)
	if d > bound+margin+slack {
		t.Fatalf("waited %s", d)
	}
	if q.Lease(0).Valid(invalidation.Now()) {
		t.Fatal("in force, and a process that has not heard of it holds a lease")
	}
}

// An invalidation that was sat out by nobody still leaves every process without a lease from before it: the acks are what a
// process has applied, never what it has only heard of.
func TestAckIsNotGivenBeforeTheEvictionIsDone(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		const long = 600 * time.Millisecond
		longer := setting{store: func(c *l2.Config) { c.Lease = long }}
		p, q := join(t, client, longer), join(t, client, longer)
		ripe(t, p, q)
		received(t, p, q)
		quick(t, p, long/8)
		gate := make(chan struct{})
		var once sync.Once
		q.target.mu.Lock()
		q.target.before = func(string) { <-gate }
		q.target.mu.Unlock()
		open := func() { once.Do(func() { close(gate) }) }
		defer open()
		r := p.invalidate("x")
		ctx, cancel := context.WithTimeout(t.Context(), long/4)
		defer cancel()
		if err := r.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("in force while an eviction is under way: %v", err)
		}
		open()
		timed(t, r)
	})
}
