package readthrough

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// The life of an entry in this process. Each arrow names the code that moves it.
//
//	            hit finds none                  fetch.loaded, fetch.keep
//	 absent ──────────────────────▶ loading ──────────────────────────────▶ fresh ◀─────────┐
//	   ▲        (flights.join)         │ │                                   │ │            │
//	   │                               │ │ the authority has none            │ │ Deadline,  │ load
//	   │   the load failed, or what    │ └──────────▶ negative               │ │ or lease   │ succeeded,
//	   │   it read was invalidated     │                 │                   │ │ lapsed     │ or lease
//	   │   meanwhile (l1.Put refuses)  │                 │ Deadline,         │ ▼            │ renewed
//	   ├───────────────────────────────┘                 │ invalidated       │ stale ───────┘
//	   │                                                 │                   │   │ served by Cache.stale only,
//	   │                    target.Evict, Flush,         │                   │   │ in ServeStale, if the load failed
//	   └──────── gone ◀──── Invalidated, Raise ◀─────────┴───────────────────┴───┘
//
// negative is fresh with absent set, for NegativeTTL. gone: the entry's guard is broken; no mode serves it, and its memory
// is freed when its room is needed. A value below a fence goes from loading to absent without having been seen.

// fetch is one load under way: it carries out what protocol.Load decides. Used by one goroutine.
type fetch[K comparable, V any] struct {
	c      *Cache[K, V]
	flight *flight // this load's; its guard was taken before anything was read
	key    K
	id     l2.ID
	part   int
	d      demand

	rules  protocol.Load
	reply  l2.Reply // the last answer of L2; empty without one
	nonce  l2.Nonce // of the fill lease, if this load holds it
	asked  protocol.Instant
	needed uint64           // when the authority was asked, see begin
	hit    *item[V]         // of a hit
	bad    bool             // reply is a hit that does not decode
	late   bool             // there is no reply, and Redis may have given the lease all the same: to be given back
	waits  protocol.Instant // since when it waits for another process's load; Never: it does not
	pause  time.Duration
}

// Waiting on another process's load: the first pause and the longest.
const (
	awaitMin = time.Millisecond
	awaitMax = 16 * time.Millisecond
)

func (c *Cache[K, V]) newFetch(f *flight, key K, id l2.ID, d demand) *fetch[K, V] {
	return &fetch[K, V]{c: c, flight: f, key: key, id: id, part: c.partition(id), d: d, waits: protocol.Never, pause: awaitMin}
}

// memory answers from L1 after all: a load that ended between its caller's look at L1 and this one's beginning need not be
// made again. It is judged as a hit is, in the same order, and not counted as one.
func (x *fetch[K, V]) memory() *item[V] {
	if x.d.linearizable || x.d.skipL1 {
		return nil
	}
	now := invalidation.Now()
	if !x.c.bus.Lease(x.part).Valid(now) {
		return nil
	}
	e, ok := x.c.l1.Peek(x.key)
	if !ok || e.Deadline <= int64(now) || !x.c.satisfies(x.key, e.Value, x.d) {
		return nil
	}
	return e.Value.from(L1)
}

// run loads one key: from L2, or from the authority.
func (x *fetch[K, V]) run(ctx context.Context) (*item[V], error) {
	if it := x.memory(); it != nil {
		return it, nil
	}
	step := protocol.AskAuthority
	if !x.d.linearizable && x.c.usable(ctx, x.id) {
		step = x.look(ctx, false)
	}
	return x.follow(ctx, step)
}

// follow goes on from a step until there is an answer.
func (x *fetch[K, V]) follow(ctx context.Context, step protocol.Step) (*item[V], error) {
	for {
		switch step {
		case protocol.AnswerL2:
			x.c.tel.Observe(x.c.cfg.Name, telemetry.EntryAge, max(0, time.Since(x.hit.read)))
			return x.keep(x.hit), nil
		case protocol.AskAgain:
			step = x.look(ctx, true)
		case protocol.AwaitOther:
			if err := x.await(ctx); err != nil {
				return nil, x.c.unavailable(err)
			}
			step = x.look(ctx, false)
		case protocol.AskAuthority, protocol.AskAuthorityAndFill:
			var it *item[V]
			var err error
			it, step, err = x.load(ctx, step)
			if err != nil || step == protocol.AnswerLoaded {
				return it, err
			}
		default:
			x.c.tel.Count(x.c.cfg.Name, telemetry.LoadBehind, 1)
			x.c.release(x)
			return nil, x.c.unavailable(errBehind)
		}
	}
}

// errBehind: the authority answered a version below one that was promised.
var errBehind = errors.New("the authority answers older than what is known to be committed")

// usable says whether L2 is asked for an id.
func (c *Cache[K, V]) usable(ctx context.Context, id l2.ID) bool {
	return !c.cfg.NoL2 && c.bus.Usable(ctx, id)
}

// look asks L2 once.
func (x *fetch[K, V]) look(ctx context.Context, refresh bool) protocol.Step {
	x.asked = invalidation.Now()
	nonce := l2.NewNonce()
	call, cancel := x.c.brief(ctx)
	defer cancel()
	reply, err := x.c.store.Get(call, l2.Lookup{ID: x.id, Nonce: nonce, Refresh: refresh})
	step := x.looked(nonce, reply, err)
	if x.late {
		x.c.release(x)
	}
	if x.bad && x.c.discard(ctx, x) != nil {
		return protocol.AskAuthority
	}
	return step
}

// discard deletes what loads have found in L2 and cannot read.
func (c *Cache[K, V]) discard(ctx context.Context, loads ...*fetch[K, V]) error {
	values := make([]l2.Unreadable, len(loads))
	for i, x := range loads {
		values[i] = l2.Unreadable{ID: x.id, Epoch: x.reply.Position.Epoch, Envelope: x.reply.Envelope}
	}
	call, cancel := c.brief(ctx)
	defer cancel()
	return c.store.Discard(call, values...)
}

// brief bounds a question to L2, so that a Redis that hangs leaves time to ask the authority.
func (c *Cache[K, V]) brief(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.LoadTimeout/4)
}

// looked judges an answer of L2. A value that does not decode counts as none, and its caller discards it.
func (x *fetch[K, V]) looked(nonce l2.Nonce, reply l2.Reply, err error) protocol.Step {
	x.reply, x.bad, x.late = reply, false, false
	if reply.Outcome == l2.Leased {
		x.nonce = nonce
	}
	if err != nil {
		x.reply = l2.Reply{}
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
			x.nonce, x.late = nonce, true
			x.c.bus.Observe(x.part, "")
		}
		return x.rules.Looked(protocol.Lookup{Outcome: protocol.Unreachable}, x.need(), false)
	}
	x.c.bus.Observe(x.part, reply.Position.Epoch)
	if reply.Fence > 0 { // what is below it was invalidated, whether or not a message of that has come
		x.c.l1.EvictIf(x.key, func(it *item[V]) bool { return it.asOf > 0 && it.asOf < reply.Fence })
	}
	if reply.Oversize {
		x.c.tel.Count(x.c.cfg.Name, telemetry.PayloadRejectedOversize, 1)
	}
	a := protocol.Lookup{Outcome: outcomes[reply.Outcome], Fence: reply.Fence}
	if reply.Outcome == l2.Hit {
		it, err := x.decode(reply)
		if err != nil {
			x.c.reject(err)
			x.bad = true
			return protocol.AskAgain
		}
		x.hit = it
		a.AsOf = it.asOf
		if pos, ok := x.d.floor.Position(x.part); ok {
			a.Behind = pos.Epoch != reply.Position.Epoch || reply.Position.Seq < pos.Seq
		}
	}
	step := x.rules.Looked(a, x.need(), x.waited() >= x.c.cfg.AwaitOther)
	if step == protocol.AnswerL2 {
		x.c.counts.l2Hits.Add(1)
	} else {
		x.c.counts.l2Misses.Add(1)
	}
	return step
}

var outcomes = map[l2.Outcome]protocol.Outcome{
	l2.Hit: protocol.Hit, l2.Leased: protocol.Leased, l2.Busy: protocol.Busy, l2.Bare: protocol.Bare,
}

// need is the version below which nothing may be answered, as known now.
func (x *fetch[K, V]) need() uint64 { return max(x.d.floor.AsOf, x.c.fences.of(x.id.Hash())) }

// waited is how long the load has waited for another process's, with what its questions to L2 have taken.
func (x *fetch[K, V]) waited() time.Duration {
	if x.waits == protocol.Never {
		return 0
	}
	return invalidation.Now().Sub(x.waits)
}

// await waits a little for another process's load.
func (x *fetch[K, V]) await(ctx context.Context) error {
	pause := x.pause/2 + jitter(x.pause)
	x.pause = min(2*x.pause, awaitMax)
	if x.waits == protocol.Never {
		x.waits = invalidation.Now()
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// load asks the authority and judges its answer.
func (x *fetch[K, V]) load(ctx context.Context, step protocol.Step) (*item[V], protocol.Step, error) {
	var end func()
	err := x.c.slots.enter(ctx, x.id.Hash())
	if err == nil {
		end, err = x.c.slots.taken(ctx, x.id.Hash())
	}
	if err != nil {
		x.c.release(x)
		return nil, 0, x.c.unavailable(err)
	}
	handed := false // the slot goes on with the fill
	defer func() {
		if !handed {
			end()
		}
	}()
	began := x.begin()
	loaded, err := x.c.ask(ctx, x.key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		x.c.release(x)
		return nil, 0, x.c.unavailable(err)
	}
	it, next, fill := x.loaded(step, loaded, err != nil, began)
	switch {
	case fill != nil:
		handed = true
		x.c.fillBehind([]*filling[V]{fill}, end)
	case next == protocol.AnswerLoaded:
		x.c.release(x)
	}
	return it, next, nil
}

// begin notes when the authority is asked and what it must know already. A fence that is raised while its answer is on the
// way says nothing against the authority: the guard, which was broken with it, keeps later callers away from the answer,
// and the answer out of L1 and L2.
func (x *fetch[K, V]) begin() protocol.Instant {
	x.needed = x.need()
	return invalidation.Now()
}

// loaded judges an answer of the authority: keeps it in L1 and says what to fill, or what to do instead. With neither its caller
// gives the fill lease back.
func (x *fetch[K, V]) loaded(step protocol.Step, loaded Loaded[V], absent bool, began protocol.Instant) (*item[V], protocol.Step, *filling[V]) {
	need := x.needed
	if loaded.AsOf == 0 {
		need = x.d.floor.AsOf // no versions: the local fences say nothing about it
	}
	if next := x.rules.Loaded(loaded.AsOf, need); next != protocol.AnswerLoaded {
		return nil, next, nil
	}
	it := &item[V]{
		value: loaded.Value, absent: absent, tier: L3, asOf: loaded.AsOf,
		read: time.Now().Add(-invalidation.Now().Sub(began)), fresh: began, part: x.part, lease: x.c.bus.Lease(x.part),
	}
	ttl := x.c.ttl(loaded.TTL, absent)
	if ttl <= 0 { // not to be cached
		x.outdate(it)
		return it, protocol.AnswerLoaded, nil
	}
	x.put(it, began.Add(ttl))
	if step != protocol.AskAuthorityAndFill {
		return it, protocol.AnswerLoaded, nil
	}
	if it.asOf > 0 && it.asOf < x.need() { // Redis may not know that fence, which came meanwhile
		return it, protocol.AnswerLoaded, nil
	}
	return it, protocol.AnswerLoaded, &filling[V]{id: x.id, epoch: x.reply.Position.Epoch, nonce: x.nonce, it: it, ttl: ttl}
}

// keep puts an L2 answer into L1 and answers it. L1's copy ends no later than L2's: its time is counted from before L2 was
// asked.
func (x *fetch[K, V]) keep(it *item[V]) *item[V] {
	x.put(it, x.asked.Add(min(x.reply.TTL, x.c.cfg.MaxTTL)))
	return it
}

// put keeps an item in L1 under the flight's guard, unless a load that began later has brought one. What came with another epoch
// than this process lives in is not kept.
func (x *fetch[K, V]) put(it *item[V], deadline protocol.Instant) {
	epoch := x.reply.Position.Epoch
	lived := epoch == "" || epoch == x.c.bus.Position(x.part).Epoch
	if !lived || !x.c.l1.PutUnless(x.flight.guard, x.key, it, int64(deadline), it.older) {
		x.outdate(it)
	}
}

// outdate takes from L1 what was read before an item that is not kept there: ServeStale would answer with what is known to be
// otherwise.
func (x *fetch[K, V]) outdate(it *item[V]) {
	x.c.l1.EvictIf(x.key, func(old *item[V]) bool { return !it.older(old) })
}

// unavailable is the error of a load that failed. It is said once, where the loader has said it too.
func (c *Cache[K, V]) unavailable(cause error) error {
	if errors.Is(cause, ErrUnavailable) {
		return fmt.Errorf("readthrough: %s: %w", c.cfg.Name, cause)
	}
	return fmt.Errorf("readthrough: %s: %w: %w", c.cfg.Name, ErrUnavailable, cause)
}

// lost is the error of a load to its callers: one that user code ended, outside the loader, is unavailable too.
func (c *Cache[K, V]) lost(err error) error {
	if _, ok := errors.AsType[*PanicError](err); ok && !errors.Is(err, ErrUnavailable) {
		return c.unavailable(err)
	}
	return err
}

// ttl is how long a loaded record lasts: as the loader or the configuration says, less the jitter that keeps records
// loaded together from ending together. In whole milliseconds, as Redis counts them: else L1 might outlive L2. 0 or less:
// it is not cached.
func (c *Cache[K, V]) ttl(own time.Duration, absent bool) time.Duration {
	ttl := own
	switch {
	case ttl != 0:
	case absent:
		ttl = c.cfg.NegativeTTL
	default:
		ttl = c.cfg.TTL
	}
	if ttl <= 0 {
		return 0
	}
	ttl = min(ttl, c.cfg.MaxTTL)
	if spread := time.Duration(float64(ttl) * c.cfg.Jitter); spread > 0 {
		ttl -= jitter(spread)
	}
	return max(ttl.Truncate(time.Millisecond), time.Millisecond)
}

// jitter is a random duration below d. It comes from crypto/rand, as epochs and nonces do: what seeds that in a test decides
// the jitter too, which nothing can do for the functions of math/rand/v2.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(d))
}
