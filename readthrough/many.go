package readthrough

import (
	"cmp"
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
)

// batchMax bounds how many keys one pipeline and one call of the loader take.
const batchMax = 1000

// GetMany answers the records of several keys; one that is absent is not in the map. What L1 does not hold costs one round
// trip to L2 and, if the loader is a BatchLoader, one call of it per 1000 keys. A key that somebody is loading already is
// waited for instead. It is not a snapshot: each record is as fresh as Get would answer it.
//
// With an error the map holds what could be had; a key that is not in it is then unknown, not absent. One error stands for
// all keys that failed alike.
func (c *Cache[K, V]) GetMany(ctx context.Context, keys []K, opts ...Option) (map[K]V, error) {
	d, err := c.demand(opts)
	if err != nil {
		return nil, err
	}
	over := ctx.Err() != nil
	found := make(map[K]V, len(keys))
	var fails failures
	misses := c.hits(ctx, keys, d, found, &fails)
	for len(misses) > 0 {
		n := min(batchMax, len(misses))
		c.getMany(ctx, misses[:n], d, over, found, &fails)
		misses = misses[n:]
	}
	return found, errors.Join(fails.errs...)
}

// Warm loads what is missing of keys, so that the reads after it hit. Absences count as loaded; what ServeStale would answer past
// its end does not.
func (c *Cache[K, V]) Warm(ctx context.Context, keys ...K) error {
	_, err := c.GetMany(ctx, keys, MaxStale(0))
	return err
}

// hits answers what L1 may answer into found, and returns the other keys, each once.
func (c *Cache[K, V]) hits(ctx context.Context, keys []K, d demand, found map[K]V, fails *failures) (misses []K) {
	seen := make(map[K]struct{}, len(keys))
	renewed := false
	for i, key := range keys {
		if _, twice := seen[key]; twice {
			continue
		}
		seen[key] = struct{}{}
		if d.linearizable || d.skipL1 {
			misses = append(misses, key)
			continue
		}
		it, lapsed := c.hit(key)
		if lapsed && !renewed && c.holds(key) {
			renewed = true
			c.renewFor(ctx, keys[i:])
			it, lapsed = c.hit(key)
		}
		if lapsed {
			c.l1.Miss(key)
		}
		if it == nil || !c.satisfies(key, it, d) {
			it = c.throttled(key, d)
		}
		switch {
		case it == nil:
			misses = append(misses, key)
		default:
			c.collect(found, key, it, fails)
		}
	}
	return misses
}

// renewFor asks for the leases that what L1 holds of keys lacks. With several partitions each has a lease of its own.
func (c *Cache[K, V]) renewFor(ctx context.Context, keys []K) {
	var parts []int
	asked := map[int]struct{}{}
	now := invalidation.Now()
	for _, key := range keys {
		e, ok := c.l1.Peek(key)
		if !ok || e.Deadline <= int64(now) || e.Value.lease.Valid(now) {
			continue
		}
		if _, twice := asked[e.Value.part]; !twice {
			asked[e.Value.part] = struct{}{}
			parts = append(parts, e.Value.part)
		}
	}
	call, cancel := c.brief(ctx)
	defer cancel()
	_ = c.renewAll(call, parts) // what has no lease then is read past L1
}

// collect adds what was read of a key to an answer. Absence adds nothing.
func (c *Cache[K, V]) collect(found map[K]V, key K, it *item[V], fails *failures) {
	if it.absent {
		c.counts.negative.Add(1)
		return
	}
	v, err := c.out(it.value)
	if err != nil {
		fails.add(err)
		return
	}
	found[key] = v
}

// failures are the errors of several keys, each text once: one cause commonly fails them all.
type failures struct {
	errs []error
	seen map[string]struct{}
}

func (f *failures) add(err error) {
	text := err.Error()
	if _, twice := f.seen[text]; twice {
		return
	}
	if f.seen == nil {
		f.seen = map[string]struct{}{}
	}
	f.seen[text] = struct{}{}
	f.errs = append(f.errs, err)
}

// batch is the loads that one getMany began. Its run ends every one of them, whatever user code does.
type batch[K comparable, V any] struct {
	c       *Cache[K, V]
	members []*member[K, V]
}

// member is one load of a batch: a flight that waits for the batch to bring its outcome.
type member[K comparable, V any] struct {
	x     *fetch[K, V]
	begun chan *flight
	done  chan struct{} // closed when it and err are set
	ended bool
	it    *item[V]
	err   error
}

// resolve ends the load. Only the first call counts; calls are one after the other.
func (m *member[K, V]) resolve(it *item[V], err error) {
	if m.ended {
		return
	}
	m.ended, m.it, m.err = true, it, err
	close(m.done)
}

// getMany loads keys that L1 does not answer. over: the call's time was over from the beginning.
func (c *Cache[K, V]) getMany(ctx context.Context, keys []K, d demand, over bool, found map[K]V, fails *failures) {
	if err := ctx.Err(); err != nil {
		for _, key := range keys {
			var it *item[V]
			if !over { // it ended while a lease was asked for, or while others were loaded
				it = c.staleFor(key, d, err)
			}
			if it == nil {
				fails.add(err)
				continue
			}
			c.collect(found, key, it, fails)
		}
		return
	}
	b := &batch[K, V]{c: c}
	landings := make(map[K]landing, len(keys))
	for _, key := range keys {
		id, err := c.id(key)
		if err == nil {
			err = c.enter()
		}
		if err != nil {
			fails.add(err)
			continue
		}
		m := &member[K, V]{x: c.newFetch(nil, key, id, d), begun: make(chan *flight, 1), done: make(chan struct{})}
		l := c.flights.join(ctx, flightKey(id, d), id.Hash(), c.bus.Lease(m.x.part), d.linearizable,
			func(f *flight) (*item[V], error) {
				defer c.active.Done()
				m.begun <- f
				<-m.done
				return m.it, m.err
			})
		if l.began {
			b.members = append(b.members, m)
		} else {
			c.active.Done()
		}
		landings[key] = l
	}
	if len(b.members) > 0 {
		c.active.Add(1) // beside the members, of which none has ended yet
		go func() {     // ends with its context
			defer c.active.Done()
			b.run(ctx)
		}()
	}
	for key, l := range landings {
		it, err := c.await(ctx, l)
		if err != nil {
			it = c.staleFor(key, d, err)
		}
		if it == nil {
			fails.add(err)
			continue
		}
		c.collect(found, key, it, fails)
	}
}

// run brings every member's outcome: one question to L2 for all, one to the authority for those L2 does not answer, and
// those that need something else go on alone.
func (b *batch[K, V]) run(ctx context.Context) {
	ctx, cancel := b.c.detach(ctx)
	defer cancel()
	defer func() { // those that user code has left without an outcome
		err := &PanicError{}
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		b.fail(b.members, err)
	}()
	var alone sync.WaitGroup
	defer alone.Wait() // before the context ends
	members := make([]*member[K, V], 0, len(b.members))
	soon, stop := context.WithTimeout(ctx, 2*handoff)
	defer stop()
	for _, m := range b.members { // every guard is taken before anything is read
		select {
		case m.x.flight = <-m.begun:
			members = append(members, m)
		case <-soon.Done(): // held back behind other loads of its key: nobody else's key waits for those
			alone.Go(func() { m.late(ctx) })
		}
	}
	members = slices.DeleteFunc(members, func(m *member[K, V]) bool {
		it := m.x.memory()
		if it != nil {
			m.resolve(it, nil)
		}
		return it != nil
	})
	var wanting []*member[K, V]
	steps := b.look(ctx, members, false)
	b.again(ctx, members, steps)
	for i, m := range members {
		switch steps[i] {
		case protocol.AskAuthority, protocol.AskAuthorityAndFill:
			wanting = append(wanting, m)
		default:
			alone.Go(func() { m.finish(ctx, steps[i]) })
		}
	}
	loader, ok := b.c.cfg.Loader.(BatchLoader[K, V])
	if !ok || len(wanting) == 1 {
		for _, m := range wanting {
			alone.Go(func() { m.finish(ctx, m.step()) })
		}
		return
	}
	if len(wanting) > 0 {
		b.load(ctx, loader, wanting, &alone)
	}
}

// step is what a member does that asks the authority: fill if it holds the lease.
func (m *member[K, V]) step() protocol.Step {
	if m.x.nonce != "" {
		return protocol.AskAuthorityAndFill
	}
	return protocol.AskAuthority
}

// late loads alone once it may begin, with the time a load has.
func (m *member[K, V]) late(ctx context.Context) {
	m.x.flight = <-m.begun
	ctx, cancel := m.x.c.detach(ctx)
	defer cancel()
	m.end(apart(func() (*item[V], error) { return m.x.run(ctx) }))
}

// end resolves the member with what a function apart answers.
func (m *member[K, V]) end(answer <-chan outcome[*item[V]]) {
	out := <-answer
	m.resolve(out.v, m.x.c.lost(out.err))
}

// finish goes on alone from a step.
func (m *member[K, V]) finish(ctx context.Context, step protocol.Step) {
	m.end(apart(func() (*item[V], error) { return m.x.follow(ctx, step) }))
}

// again asks L2 once more, in one pipeline, for those whose value there is of no use: after a change of the schema that may be
// all of them.
func (b *batch[K, V]) again(ctx context.Context, members []*member[K, V], steps []protocol.Step) {
	var again []*member[K, V]
	var at []int
	for i, m := range members {
		if steps[i] == protocol.AskAgain {
			again, at = append(again, m), append(at, i)
		}
	}
	for n, step := range b.look(ctx, again, true) {
		steps[at[n]] = step
	}
}

// look asks L2 for all members in one pipeline, and discards in another what does not decode.
func (b *batch[K, V]) look(ctx context.Context, members []*member[K, V], refresh bool) []protocol.Step {
	steps := make([]protocol.Step, len(members))
	var asked []int
	var lookups []l2.Lookup
	for i, m := range members {
		steps[i] = protocol.AskAuthority
		if !m.x.d.linearizable && b.c.usable(ctx, m.x.id) {
			asked = append(asked, i)
			lookups = append(lookups, l2.Lookup{ID: m.x.id, Nonce: l2.NewNonce(), Refresh: refresh})
		}
	}
	if len(asked) == 0 {
		return steps
	}
	now := invalidation.Now()
	call, cancel := b.c.brief(ctx)
	defer cancel()
	replies, err := b.c.store.GetMany(call, lookups)
	var bad, late []*fetch[K, V]
	var at []int
	for n, i := range asked {
		x := members[i].x
		x.asked = now
		reply := l2.Reply{Err: err}
		if n < len(replies) {
			reply = replies[n]
		}
		steps[i] = x.looked(lookups[n].Nonce, reply, reply.Err)
		if x.bad {
			bad, at = append(bad, x), append(at, i)
		}
		if x.late {
			late = append(late, x)
		}
	}
	b.c.release(late...)
	if len(bad) > 0 && b.c.discard(ctx, bad...) != nil {
		for _, i := range at {
			steps[i] = protocol.AskAuthority
		}
	}
	return steps
}

// fail ends what has not ended yet of some members.
func (b *batch[K, V]) fail(members []*member[K, V], cause error) {
	var loads []*fetch[K, V]
	for _, m := range members {
		if !m.ended {
			loads = append(loads, m.x)
		}
	}
	b.c.release(loads...)
	err := b.c.unavailable(cause)
	for _, m := range members {
		m.resolve(nil, err)
	}
}

// load asks the authority for all members at once, and once more for those whose keys have to wait for a share of the slots.
func (b *batch[K, V]) load(ctx context.Context, loader BatchLoader[K, V], members []*member[K, V], alone *sync.WaitGroup) {
	slots := b.c.slots
	var now, later []*member[K, V]
	for _, m := range members {
		if slots.tryEnter(m.x.id.Hash()) {
			now = append(now, m)
		} else {
			later = append(later, m)
		}
	}
	if len(later) > 0 {
		slices.SortFunc(later, func(m, n *member[K, V]) int { return cmp.Compare(m.x.id.Hash(), n.x.id.Hash()) })
		alone.Go(func() {
			<-apart(func() (none struct{}, _ error) { // run ends those that a panic leaves without an outcome
				if err := slots.enter(ctx, hashes(later)...); err != nil {
					b.fail(later, err)
					return none, nil
				}
				b.loadEntered(ctx, loader, later, alone)
				return none, nil
			})
		})
	}
	if len(now) > 0 {
		b.loadEntered(ctx, loader, now, alone)
	}
}

func hashes[K comparable, V any](members []*member[K, V]) []uint64 {
	all := make([]uint64, len(members))
	for i, m := range members {
		all[i] = m.x.id.Hash()
	}
	return all
}

// loadEntered asks the authority for members whose keys have entered.
func (b *batch[K, V]) loadEntered(ctx context.Context, loader BatchLoader[K, V], members []*member[K, V], alone *sync.WaitGroup) {
	c := b.c
	end, err := c.slots.taken(ctx, hashes(members)...)
	if err != nil {
		b.fail(members, err)
		return
	}
	handed := false // the slot goes on with the fills
	defer func() {
		if !handed {
			end()
		}
	}()
	keys := make([]K, len(members))
	var began protocol.Instant
	for i, m := range members {
		keys[i] = m.x.key
		began = m.x.begin()
	}
	answer, err := c.askMany(ctx, loader, keys)
	if err != nil {
		b.fail(members, err)
		return
	}
	var fills []*filling[V]
	var idle []*fetch[K, V] // whose leases are not filled under
	var outcomes []func()
	for _, m := range members {
		if err := answer.Failed[m.x.key]; err != nil {
			idle = append(idle, m.x)
			outcomes = append(outcomes, func() { m.resolve(nil, c.unavailable(err)) })
			continue
		}
		loaded, there := answer.Found[m.x.key]
		if loaded.AsOf == 0 {
			loaded.AsOf = answer.AsOf
		}
		it, next, fill := m.x.loaded(m.step(), loaded, !there, began)
		switch {
		case next != protocol.AnswerLoaded:
			alone.Go(func() { m.finish(ctx, next) })
			continue
		case fill != nil:
			fills = append(fills, fill)
		default:
			idle = append(idle, m.x)
		}
		outcomes = append(outcomes, func() { m.resolve(it, nil) })
	}
	c.release(idle...)
	if len(fills) > 0 {
		handed = true
		c.fillBehind(fills, end)
	}
	for _, resolve := range outcomes {
		resolve()
	}
}
