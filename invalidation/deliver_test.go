package invalidation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/telemetry"
)

// outage joins a process through a proxy, and one that is not cut off.
func outage(t *testing.T) (p, other *process, proxy *redistest.Proxy) {
	t.Helper()
	server := redistest.Start(t)
	proxy = redistest.NewProxy(t, server.Addr())
	p, other = join(t, proxy.Client()), join(t, server.Client())
	ripe(t, p, other)
	received(t, p, other)
	return p, other, proxy
}

func TestInvalidationIsPendingWhileRedisIsOutAndDeliveredWhenItIsBack(t *testing.T) {
	p, other, proxy := outage(t)
	proxy.Refuse()
	proxy.CutAll()
	r := p.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 5)
	if r.Executed() || r.Err() == nil || r.Epoch() != "" {
		t.Fatal("executed without Redis")
	}
	if p.target.count("own x 5") == 0 {
		t.Fatal("not applied here")
	}
	if h := p.Health(); h.Pending != 1 || p.tel.of(telemetry.InvalidationPending) != 1 {
		t.Fatalf("%+v", h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound/2)
	defer cancel()
	var e *invalidation.NotInForceError
	if err := r.Wait(ctx); !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) ||
		!e.Committed || !e.Pending || !e.Until.IsZero() || e.Token == "" || !strings.Contains(err.Error(), "Redis has not executed") {
		t.Fatalf("%+v", e)
	}
	if strings.Contains(e.Error(), "x ") {
		t.Fatal("the error names a key")
	}
	voids := other.target.voids(id(t, "x"))
	proxy.Restore()
	timed(t, r)
	if !r.Executed() || r.Err() != nil || other.target.voids(id(t, "x")) == voids || p.Health().Pending != 0 {
		t.Fatalf("executed %t, %v, %d pending, %v", r.Executed(), r.Err(), p.Health().Pending, other.target.all())
	}
	if p.target.count("own x 5") < 2 {
		t.Fatal("what was loaded from L2 until it was executed is not voided here")
	}
}

func TestACallerLeavesAtItsDeadlineAndTheInvalidationGoesOn(t *testing.T) {
	t.Run("the attempt", func(t *testing.T) { leaves(t, false) })
	t.Run("the next one", func(t *testing.T) { leaves(t, true) })
}

// leaves has a caller leave while Redis hangs, for so long that the attempt fails or not.
func leaves(t *testing.T, fails bool) {
	t.Helper()
	server := redistest.Start(t)
	client := as(t, server, "app") // patient: only the caller's deadline ends the call
	p := join(t, client)
	ripe(t, p)
	server.Stop()
	t.Cleanup(server.Cont)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	r := p.Invalidate(ctx, []l2.ID{id(t, "x")}, 5)
	if took := time.Since(began); took > bound/2 {
		t.Fatalf("a caller with 20 ms waited %s", took)
	}
	if r.Executed() || !errors.Is(r.Err(), context.DeadlineExceeded) || p.Health().Pending != 1 || p.target.count("own x 5") == 0 {
		t.Fatalf("executed %t, %v, %d pending, %v", r.Executed(), r.Err(), p.Health().Pending, p.target.all())
	}
	if p.Usable(t.Context(), id(t, "x")) {
		t.Fatal("L2 is asked for what is pending")
	}
	if fails {
		redistest.Eventually(t, patience, "the end of the attempt", func() bool { return p.Attempts() == 0 })
		if p.tel.of(telemetry.InvalidationPending) != 1 {
			t.Error("it is counted as pending twice")
		}
	}
	server.Cont()
	timed(t, r)
	if r.Err() != nil || p.Health().Pending != 0 {
		t.Fatalf("%v, %d pending", r.Err(), p.Health().Pending)
	}
}

func TestACallerWhoLeavesDoesNotHaveItExecutedTwice(t *testing.T) {
	p := join(t, as(t, redistest.Start(t), "app"))
	ripe(t, p)
	gone, leave := context.WithCancel(t.Context())
	leave()
	before := p.Position(0).Seq
	const n = 20
	for range n {
		timed(t, p.Invalidate(gone, []l2.ID{id(t, "x")}, 0))
	}
	timed(t, p.invalidate("y"))
	redistest.Eventually(t, patience, "every message", func() bool { return p.Position(0).Seq >= before+n+1 })
	if seq := p.Position(0).Seq - before; seq != n+1 {
		t.Errorf("%d invalidations were executed %d times", n+1, seq)
	}
}

// Whoever closes the bus itself may have callers in it.
func TestCloseKnowsOfWhatACallerIsWaitingFor(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, as(t, server, "app"))
	ripe(t, p)
	server.Stop()
	t.Cleanup(server.Cont)
	receipt := make(chan *invalidation.Receipt, 1)
	go func() { receipt <- p.invalidate("x") }() // ends with its call
	redistest.Eventually(t, patience, "the call", func() bool { return p.Attempts() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := p.Close(ctx)
	if r := <-receipt; r.Executed() || err == nil || !strings.Contains(err.Error(), "1 invalidations of ns not delivered") {
		t.Errorf("executed %t, and Close says %v", r.Executed(), err)
	}
}

// The server refuses the invalidation alone: everything else goes on.
func TestL2IsNotAskedForWhatIsPending(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, as(t, server, "app"))
	ripe(t, p)
	server.Do("ACL", "SETUSER", "app", "-unlink")
	r := p.invalidate("x")
	if r.Executed() || r.Err() == nil {
		t.Fatal("executed against the server's will")
	}
	if p.Usable(t.Context(), id(t, "x")) || !p.Usable(t.Context(), id(t, "y")) {
		t.Fatalf("x usable: %t, want false; y usable: %t, want true",
			p.Usable(t.Context(), id(t, "x")), p.Usable(t.Context(), id(t, "y")))
	}
	server.Do("ACL", "SETUSER", "app", "+unlink")
	timed(t, r)
	if !p.Usable(t.Context(), id(t, "x")) {
		t.Fatal("L2 is not asked for x after it is in force")
	}
}

// It is counted as sent once it is executed, and whoever waits for it may read from then on.
func TestWhatIsExecutedIsNoLongerPendingWhenWaitReturns(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, as(t, server, "app"))
	ripe(t, p)
	server.Do("ACL", "SETUSER", "app", "-unlink")
	r := p.invalidate("x")
	sent := make(chan int, 1)
	p.tel.mu.Lock()
	p.tel.before = func(ev telemetry.Event) {
		if ev == telemetry.InvalidationSent && r.Executed() {
			select {
			case sent <- p.Health().Pending:
			default:
			}
		}
	}
	p.tel.mu.Unlock()
	server.Do("ACL", "SETUSER", "app", "+unlink")
	timed(t, r)
	if pending := <-sent; pending != 0 {
		t.Fatalf("%d pending after the execution, want 0", pending)
	}
}

func TestWaiterIsToldAfterItsOwnCacheIsVoided(t *testing.T) {
	server := redistest.Start(t)
	p := join(t, as(t, server, "app"))
	ripe(t, p)
	server.Do("ACL", "SETUSER", "app", "-unlink")
	r := p.invalidate("x")
	var err error
	waited, voided := make(chan struct{}), make(chan bool, 1)
	go func() {
		defer close(waited)
		err = r.Wait(t.Context())
	}()
	p.target.mu.Lock()
	p.target.before = func(event string) {
		if event != "own x 0" {
			return
		}
		select {
		case <-waited:
			voided <- false
		case <-time.After(50 * time.Millisecond):
			voided <- true
		}
	}
	p.target.mu.Unlock()
	server.Do("ACL", "SETUSER", "app", "+unlink")
	if first := <-voided; !first {
		t.Fatal("in force before its own cache was voided")
	}
	if <-waited; err != nil {
		t.Fatal(err)
	}
}

func TestTooMuchPendingBecomesOneInvalidationOfEverything(t *testing.T) {
	p, other, proxy := outage(t)
	proxy.Refuse()
	proxy.CutAll()
	const many = invalidation.MaxPending + 50
	receipts := make([]*invalidation.Receipt, many)
	for i := range receipts {
		receipts[i] = p.Invalidate(t.Context(), []l2.ID{id(t, fmt.Sprint("k", i))}, uint64(i+1))
	}
	if h := p.Health(); h.Pending == 0 || h.Pending > 50 {
		t.Fatalf("%d wait one by one", h.Pending)
	}
	if p.Usable(t.Context(), id(t, "any")) {
		t.Fatal("L2 may be asked while everything is to be invalidated")
	}
	flushes := other.target.count("flush")
	waiting := make(chan error, 1)
	go func() { waiting <- receipts[0].Wait(t.Context()) }() // since before the delivery
	proxy.Restore()
	for i, r := range receipts {
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(i, err)
		}
		if !r.Executed() || r.Err() != nil || r.Epoch() == "" {
			t.Fatalf("receipt %d: executed %t, %v", i, r.Executed(), r.Err())
		}
		if floor, err := p.Tokens().Parse(r.Token()); err != nil || floor.AsOf != uint64(i+1) {
			t.Fatalf("receipt %d: token of %d, %v", i, floor.AsOf, err)
		}
	}
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, "flush in the other process", func() bool { return other.target.count("flush") > flushes })
	if p.target.count(fmt.Sprint("raise all ", invalidation.MaxPending+1)) == 0 {
		t.Fatal("everything was not raised to the highest version")
	}
	if h := p.Health(); h.Pending != 0 {
		t.Fatalf("%+v", h)
	}
}

// hasty is a hook that lets a pipeline time out that is longer than a server has time for.
type hasty struct{ most int }

func (h hasty) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h hasty) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h hasty) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) <= h.most {
			return next(ctx, cmds)
		}
		for _, cmd := range cmds {
			cmd.SetErr(context.DeadlineExceeded)
		}
		return context.DeadlineExceeded
	}
}

// In one call they would be more than a server can do in the time of a call, however often it is tried.
func TestAnyNumberOfIDsIsDelivered(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		p, other := join(t, client), join(t, client)
		ripe(t, p, other)
		received(t, p, other)
		client.AddHook(hasty{most: 4}) // scripts, of 500 ids each
		ids := make([]l2.ID, 10_001)
		for i := range ids {
			ids[i] = id(t, fmt.Sprint(i))
		}
		before := p.Position(0)
		r := p.Invalidate(t.Context(), ids, 5)
		if !r.Executed() {
			t.Fatal(r.Err())
		}
		timed(t, r)
		redistest.Eventually(t, patience, "all of them", func() bool { return other.Position(0).Seq >= before.Seq+21 })
		if n := p.target.count("own "); n < len(ids) {
			t.Errorf("%d of %d voided here", n, len(ids))
		}
	})
}

func TestCloseReportsWhatItCouldNotDeliver(t *testing.T) {
	p, _, proxy := outage(t)
	proxy.Refuse()
	proxy.CutAll()
	r := p.invalidate("x")
	p.invalidate("y")
	waiting := make(chan error, 1)
	go func() { waiting <- r.Wait(t.Context()) }()
	began := time.Now()
	err := p.Close(t.Context())
	if err == nil || !strings.Contains(err.Error(), "2 invalidations of ns not delivered") {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Fatalf("closing took %s", d)
	}
	if err := <-waiting; !errors.Is(err, invalidation.ErrClosed) {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal("a second close:", err)
	}
	late := p.invalidate("z")
	if err := late.Wait(t.Context()); !errors.Is(err, invalidation.ErrClosed) || late.Executed() {
		t.Fatal(err)
	}
}

func TestCloseDeliversWhatIsPendingIfItCan(t *testing.T) {
	p, other, proxy := outage(t)
	proxy.Refuse()
	proxy.CutAll()
	r := p.invalidate("x")
	voids := other.target.voids(id(t, "x"))
	proxy.Restore()
	if err := p.Close(t.Context()); err != nil || !r.Executed() {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, "invalidation", func() bool { return other.target.voids(id(t, "x")) > voids })
}

// holding holds back every run of the script that its client runs first.
type holding struct {
	mu      sync.Mutex
	script  any           // guarded by mu
	release chan struct{} // guarded by mu; nil: nothing is held back
	entered chan struct{} // one token for each run held back
}

func (h *holding) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *holding) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *holding) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.mu.Lock()
		release := h.release
		if cmd.Name() == "evalsha" && h.script == nil {
			h.script = cmd.Args()[1]
		}
		if release != nil && cmd.Args()[1] == h.script {
			h.entered <- struct{}{}
			h.mu.Unlock()
			<-release
		} else {
			h.mu.Unlock()
		}
		return next(ctx, cmd)
	}
}

// A renewal that comes to the server after the leave would register a process that is gone.
func TestCloseWaitsForTheRenewalUnderWayBeforeItLeaves(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		hook := &holding{entered: make(chan struct{}, 100)}
		own := redis.NewClient(client.(*redis.Client).Options())
		defer func() { _ = own.Close() }()
		own.AddHook(hook)
		p := join(t, own, setting{unread: true})
		leased(t, p)
		release := make(chan struct{})
		hook.mu.Lock()
		hook.release = release
		hook.mu.Unlock()
		p.Observe(0, "0123456789abcdef0123456789abcdef") // asks for a renewal
		<-hook.entered
		closed := make(chan error, 1)
		go func() { closed <- p.Close(t.Context()) }()
		early := false
		select {
		case err := <-closed:
			early = true
			closed <- err
		case <-time.After(50 * time.Millisecond):
		}
		close(release)
		if err := <-closed; err != nil || early {
			t.Fatalf("closed beside a renewal: %t, %v", early, err)
		}
		if got := registered(client, p.Process()); got != "" {
			t.Fatalf("left %q behind", got)
		}
	})
}

func TestPartitionsAreInvalidatedTogether(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		four := setting{store: func(c *l2.Config) { c.Partitions = 4 }}
		p, q := join(t, client, four), join(t, client, four)
		leased(t, p, q)
		var ids []l2.ID
		for i := range 40 {
			ids = append(ids, id(t, fmt.Sprint("k", i)))
		}
		r := p.Invalidate(t.Context(), ids, 0)
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		floor, err := q.Tokens().Parse(r.Token())
		if err != nil {
			t.Fatal(err)
		}
		for part := range 4 {
			if pos, named := floor.Position(part); !named || pos.Seq != 1 {
				t.Fatalf("partition %d: %+v", part, pos)
			}
		}
	})
}
