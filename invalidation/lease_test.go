package invalidation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/telemetry"
)

// A clock fed by a ticker stands still while the process is stopped, and between two ticks.
func TestNowIsARealReadOfTheClock(t *testing.T) {
	for range 2000 {
		first := invalidation.Now()
		began := time.Now()
		for time.Since(began) < 20*time.Microsecond { // no chance for a goroutine to feed a clock
		}
		if passed := invalidation.Now().Sub(first); passed < 20*time.Microsecond {
			t.Fatalf("the clock went on by %s in 20µs", passed)
		}
	}
}

// The answer takes two delays of the proxy; a lease counted from it would end that much later.
func TestLeaseNeverLastsBeyondTheBoundAfterItsRenewalWasSent(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	proxy.Delay(15 * time.Millisecond)
	p := join(t, proxy.Client())
	leased(t, p)
	for range 4 { // renewals
		before := p.Lease(0).Until()
		redistest.Eventually(t, patience, "next lease", func() bool {
			until := p.Lease(0).Until()
			if left := until.Sub(invalidation.Now()); left > bound-30*time.Millisecond {
				t.Fatalf("%s are left of a lease of %s whose renewal took 30ms at least", left, bound)
			}
			return until != before
		})
	}
}

func TestLeaseLapsesWithinTheBoundWhenRenewalsAreBlackholed(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := join(t, proxy.Client())
	leased(t, p)
	proxy.BlackholeToClient() // the server goes on executing renewals
	end := invalidation.Now().Add(bound)
	redistest.Eventually(t, patience, "end of the bound", func() bool { return invalidation.Now() > end })
	for until := end.Add(bound); invalidation.Now() < until; {
		if now := invalidation.Now(); p.Lease(0).Valid(now) {
			t.Fatalf("valid %s after the last answer could have been sent for", now.Sub(end)+bound)
		}
	}
	if h := p.Health(); h.Lease != 0 {
		t.Fatalf("%+v", h)
	}
	proxy.Restore()
	leased(t, p)
}

func TestFlushComesBeforeTheLeaseThatFollowsIt(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client)
		leased(t, p)
		var mu sync.Mutex
		var early []time.Duration
		lost := protocol.Never // when the epoch was gone
		p.target.mu.Lock()
		p.target.before = func(string) {
			mu.Lock()
			defer mu.Unlock()
			if lost != protocol.Never && p.Lease(0).Until() > lost.Add(bound) {
				early = append(early, p.Lease(0).Until().Sub(lost))
			}
		}
		p.target.mu.Unlock()
		for range 5 {
			flushes := p.target.count("flush")
			client.FlushAll(t.Context())
			mu.Lock()
			lost = invalidation.Now()
			mu.Unlock()
			redistest.Eventually(t, patience, "flush", func() bool { return p.target.count("flush") > flushes })
			leased(t, p)
			mu.Lock()
			lost = protocol.Never
			mu.Unlock()
		}
		if len(early) > 0 {
			t.Fatalf("flushed under a lease that was given after the loss: %v", early)
		}
	})
}

func TestWallClockAheadOfTheMonotonicDropsTheLease(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client)
		leased(t, p)
		p.SuspendHost(bound/4 - 20*time.Millisecond) // within what is tolerated
		dropped := p.Lease(0).Held()
		before := p.Lease(0).Until()
		redistest.Eventually(t, patience, "renewal", func() bool { return p.Lease(0).Until() != before })
		if p.Lease(0).Held() < dropped {
			t.Fatal("dropped for less than a quarter of the bound")
		}
		// Held falls back to the moment when a lease is given up early, and only then.
		redistest.Eventually(t, patience, "drop of the lease", func() bool {
			p.SuspendHost(time.Hour)
			held := p.Lease(0).Held()
			return held < invalidation.Now().Add(bound/8)
		})
		leased(t, p) // and a new one is asked for
		if p.target.count("flush") != 1 {
			t.Fatalf("entries survive a lapse: %v", p.target.all())
		}
	})
}

func TestUnreadPartitionFallsSilentAndLeavesItsRegistration(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		quiet := join(t, client, setting{unread: true})
		writer := join(t, client)
		redistest.Eventually(t, patience, "registration", func() bool { return registered(client, quiet.Process()) != "" })
		redistest.Eventually(t, patience, "leave", func() bool { return registered(client, quiet.Process()) == "" })
		if quiet.Lease(0).Until() != protocol.Never {
			t.Fatal("left with a lease")
		}
		ripe(t, writer)
		x, held := id(t, "x"), quiet.Lease(0).Held()
		for range 10 {
			timed(t, writer.invalidate("x"))
		}
		quick(t, writer, bound/2)
		redistest.Eventually(t, patience, "messages", func() bool { return quiet.target.voids(x) >= 10 })
		if got := registered(client, quiet.Process()); got != "" || quiet.Lease(0).Held() != held {
			t.Fatalf("an ack request woke a silent process: %q", got)
		}
		if err := quiet.Renew(t.Context(), 0); err != nil || !quiet.Lease(0).Valid(invalidation.Now()) {
			t.Fatal(err)
		}
		if registered(client, quiet.Process()) == "" {
			t.Fatal("a lease without a registration")
		}
	})
}

// A client has few connections, and whoever finds none in time gives up.
func TestManyRegistrationsAreGivenBackTogether(t *testing.T) {
	const parts = 100
	for name, leave := range map[string]func(t *testing.T, p *process){
		"by partitions that fall silent": func(*testing.T, *process) {},
		"by Close": func(t *testing.T, p *process) {
			if err := p.Close(t.Context()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			direct := server.Client()
			first := join(t, direct, setting{unread: true}) // the server knows the scripts then
			leased(t, first)
			if err := first.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			direct.FlushAll(t.Context())
			proxy := redistest.NewProxy(t, server.Addr())
			proxy.Delay(25 * time.Millisecond)
			client, err := l2.NewClient(l2.ClientConfig{
				Addrs: []string{proxy.Addr()}, PoolSize: 2, PoolTimeout: 500 * time.Millisecond, ReadTimeout: time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			p := join(t, client, setting{unread: true, store: func(c *l2.Config) { c.Partitions = parts }})
			redistest.Eventually(t, patience, "leases", func() bool { return p.Lease(parts-1).Held() != protocol.Never })
			leave(t, p)
			redistest.Eventually(t, 3*time.Second, "departure", func() bool {
				pipe := direct.Pipeline()
				for part := range parts {
					pipe.HGet(t.Context(), fmt.Sprintf("lc:{ns.%d}:a", part), p.Process())
				}
				answers, _ := pipe.Exec(t.Context()) // each holds its own error
				return !slices.ContainsFunc(answers, func(a redis.Cmder) bool { return !errors.Is(a.Err(), redis.Nil) })
			})
		})
	}
}

func TestEntriesSurviveALapse(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client, setting{unread: true})
		leased(t, p)
		for range 2 {
			redistest.Eventually(t, patience, "lapse", func() bool { return p.Lease(0).Until() == protocol.Never })
			if err := p.Renew(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.target.count(""); n != 1 {
			t.Fatalf("voided %d times, want once at the start: %v", n, p.target.all())
		}
	})
}

func TestRenewalOnDemandIsSharedByItsCallers(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	p := join(t, client, setting{unread: true})
	leased(t, p)
	redistest.Eventually(t, patience, "lapse", func() bool { return p.Lease(0).Until() == protocol.Never })
	redistest.Eventually(t, patience, "leave", func() bool { return registered(client, p.Process()) == "" })
	before := redistest.CountCommands(t, client)
	var wg sync.WaitGroup
	errs := make(chan error, 200)
	for range 200 {
		wg.Go(func() { errs <- p.Renew(t.Context(), 0) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := redistest.CountCommands(t, client).Since(before).Scripts(); n > 10 {
		t.Fatalf("%d round trips for 200 callers", n)
	}
}

func TestRenewAnswersAtOnceWhileRedisIsOut(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, server.Client())
	leased(t, p)
	server.Kill()
	redistest.Eventually(t, patience, "outage", func() bool { return p.Health().State == invalidation.Down })
	redistest.Eventually(t, patience, "long pause", func() bool { return p.tel.of(telemetry.RenewFailed) > 4 })
	prompt := 0
	for range 20 {
		began := time.Now()
		if err := p.Renew(t.Context(), 0); err == nil {
			t.Fatal("renewed without Redis")
		}
		if time.Since(began) < 20*time.Millisecond {
			prompt++
		}
	}
	if prompt < 10 {
		t.Fatalf("%d of 20 callers were answered at once", prompt)
	}
	if h := p.Health(); h.Err == nil {
		t.Fatalf("%+v", h)
	}
	if p.Usable(t.Context(), id(t, "x")) {
		t.Fatal("usable without Redis")
	}
}

// Reads past L1 do not look at the lease; they must still find out that Redis is back.
func TestRedisIsTriedAgainByReadsPastL1(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, server.Client(), setting{unread: true})
	leased(t, p)
	if !p.Usable(t.Context(), id(t, "x")) {
		t.Fatal("not usable")
	}
	if err := p.Renew(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	redistest.Eventually(t, patience, "outage", func() bool { return p.Health().State == invalidation.Down })
	end := invalidation.Now().Add(2 * bound)
	redistest.Eventually(t, patience, "idleness", func() bool { return invalidation.Now() > end })
	server.Restart()
	redistest.Eventually(t, patience, "use of Redis", func() bool { return p.Usable(t.Context(), id(t, "x")) })
}

// refusing fails every script while it is on; the subscription goes on.
type refusing struct{ on atomic.Bool }

func (r *refusing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if r.on.Load() {
			cmd.SetErr(errRefused)
			return errRefused
		}
		return next(ctx, cmd)
	}
}

func (r *refusing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !r.on.Load() {
			return next(ctx, cmds)
		}
		for _, cmd := range cmds {
			cmd.SetErr(errRefused)
		}
		return errRefused
	}
}

var errRefused = errors.New("refused by the test")

// Else L2 would not be asked, and Health be down, until the lease is renewed in its turn, or for as long as nobody reads.
func TestAFailedRenewalIsTriedAgainSoon(t *testing.T) {
	for _, unread := range []bool{false, true} {
		client := redistest.Start(t).Client()
		hook := &refusing{}
		hook.on.Store(true)
		client.AddHook(hook)
		p := join(t, client, setting{store: func(c *l2.Config) { c.Lease = time.Hour }, unread: unread})
		redistest.Eventually(t, patience, "tries", func() bool { return p.tel.of(telemetry.RenewFailed) > 4 })
		hook.on.Store(false)
		redistest.Eventually(t, patience, "health", func() bool { return p.Health().State == invalidation.Up })
		if !p.Usable(t.Context(), id(t, "x")) {
			t.Error("L2 is not asked")
		}
	}
}

func TestEveryPartitionHasItsLease(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		p := join(t, client, setting{store: func(c *l2.Config) { c.Partitions = 4 }})
		for part := range 4 {
			if err := p.Renew(t.Context(), part); err != nil || !p.Lease(part).Valid(invalidation.Now()) {
				t.Fatalf("partition %d: %v", part, err)
			}
		}
	})
}
