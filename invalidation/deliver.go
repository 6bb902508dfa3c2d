package invalidation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// maxPending bounds the invalidations of a partition that wait for Redis. One more, and they become one invalidation of
// everything: nothing is lost, and memory stays bounded.
const maxPending = 1024

// maxCall bounds the ids of one call to Redis. A call with any number of them is never answered in its time, however often it is
// made.
const maxCall = 2000

// errMovedBetween: no one position stands for all calls.
var errMovedBetween = errors.New("invalidation: the epoch changed between two calls of one invalidation")

// deliver executes deliveries, each of another partition, and keeps those that fail for later.
func (b *Redis) deliver(ctx context.Context, parts []*delivery, asOf uint64) *Receipt {
	var others sync.WaitGroup
	for i, d := range parts {
		if i == len(parts)-1 {
			b.parts[d.index].deliver(ctx, d)
			break
		}
		others.Go(func() { b.parts[d.index].deliver(ctx, d) }) // waited for below
	}
	others.Wait()
	return &Receipt{tokens: b.tokens, asOf: asOf, parts: parts, wait: b.wait, epochs: b.epochs, until: b.untilInForce}
}

// deliver executes d. A caller who leaves before does not stop it: it counts as pending then.
func (p *partition) deliver(ctx context.Context, d *delivery) {
	detached := context.WithoutCancel(ctx) // the commit stands, whatever becomes of the caller
	executed := make(chan struct{})
	attempt := func() {
		err := p.execute(detached, d)
		if err != nil {
			p.postpone(d, err)
		}
		p.attempted(d, err)
		if err != nil {
			p.telemetry().Report(p.namespace(), "invalidate", err) // may run the service's log handler: d does not wait for it
		}
		close(executed)
	}
	p.mu.Lock()
	p.attempts[d] = struct{}{}
	p.mu.Unlock()
	if !p.bus.link.spawn(attempt) { // ends within CallTimeout for each call
		attempt()
	}
	select {
	case <-executed:
	case <-ctx.Done():
		p.postpone(d, ctx.Err())
	}
}

// execute asks the server to execute d and notes the answer.
func (p *partition) execute(ctx context.Context, d *delivery) error {
	pos, err := p.send(ctx, d)
	if err != nil {
		return err
	}
	t := now()
	p.observe(pos.Epoch)
	p.void(d)
	p.executed(d, t, pos)
	tel, ns := p.telemetry(), p.namespace()
	if d.all {
		tel.Count(ns, telemetry.InvalidationSentAll, 1)
		tel.Count(ns, telemetry.EpochChangeExplicit, 1)
	} else {
		tel.Count(ns, telemetry.InvalidationSent, int64(len(d.ids)))
	}
	return nil
}

// send runs d's script. With another number of partitions than the namespace has it would reach nobody and look executed:
// so not before partition 0, which checks that itself, was found to fit.
func (p *partition) send(ctx context.Context, d *delivery) (l2.Position, error) {
	call, cancel := context.WithTimeout(ctx, p.bus.link.cfg.CallTimeout)
	defer cancel()
	if p.index > 0 && !p.bus.fits.Load() {
		if err := p.bus.parts[0].renewNow(call); err != nil && !p.bus.fits.Load() {
			return l2.Position{}, err
		}
	}
	if d.all {
		return p.bus.store.Reset(call, p.index, "")
	}
	var pos l2.Position
	for n := 0; n < len(d.ids); n += maxCall {
		next, err := p.sendSome(ctx, d, n)
		if err == nil && n > 0 && next.Epoch != pos.Epoch {
			err = errMovedBetween
		}
		if err != nil {
			return l2.Position{}, err
		}
		pos = next
	}
	return pos, nil
}

// sendSome runs the script for the ids of d from n on, as many as one call takes. The last call asks for acks.
func (p *partition) sendSome(ctx context.Context, d *delivery, n int) (l2.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, p.bus.link.cfg.CallTimeout)
	defer cancel()
	end := min(n+maxCall, len(d.ids))
	answer, err := p.bus.store.Invalidate(ctx, p.index, l2.Invalidation{IDs: d.ids[n:end], AsOf: d.asOf, WantAck: end == len(d.ids)})
	return answer.Position, err
}

// void drops what this process holds of d's ids: after the script, so that what was loaded before it is void when the caller
// goes on and reads its own writes; and before anybody is told that d is executed.
func (p *partition) void(d *delivery) {
	if d.all {
		p.bus.target.RaiseAll(d.asOf)
	} else {
		p.bus.target.Invalidated(d.ids, d.asOf)
	}
}

// postpone keeps d for the delivery loop, unless it was executed meanwhile. Until it is delivered, L2 is not asked for its ids,
// see pendingFor; and what was loaded of them before is void.
func (p *partition) postpone(d *delivery, err error) {
	if p.keep(d, err) {
		p.telemetry().Count(p.namespace(), telemetry.InvalidationPending, int64(max(1, len(d.ids))))
	}
	p.void(d)
}

// keep adds d to what is pending. False: it is there already, was executed meanwhile, or nothing is kept any more.
func (p *partition) keep(d *delivery, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !d.fail(err) {
		return false
	}
	// Where p is closed, close tries d once more if that is under way, and else nobody does, which the receipt's Wait says.
	if p.closed || d.root() != d || slices.Contains(p.pending, d) {
		return false
	}
	p.pending = append(p.pending, d)
	if len(p.pending) > maxPending {
		p.pending = []*delivery{merge(p.index, p.pending)}
	}
	p.npending.Store(int32(len(p.pending)))
	p.wanted = true // its success says that Redis is back
	signal(p.bus.link.wakeDelivery)
	p.bus.link.poke()
	return true
}

// attempted notes the end of the attempt that d's caller waits for, if it has not left. The delivery loop leaves d alone until
// then.
func (p *partition) attempted(d *delivery, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.attempts, d)
	close(d.attempted)
	if err != nil {
		signal(p.bus.link.wakeDelivery)
	}
}

// executed notes the server's answer of t. d is pending no more when whoever waits for it is told, so that it finds L2 in use.
func (p *partition) executed(d *delivery, t protocol.Instant, pos l2.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = slices.DeleteFunc(p.pending, func(other *delivery) bool { return other == d })
	p.npending.Store(int32(len(p.pending)))
	d.succeed(t, pos, p.bus.store.LongestLease())
}

// pendingFor says whether an invalidation of the id waits to be delivered.
func (p *partition) pendingFor(id l2.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.pending {
		if d.all || slices.Contains(d.ids, id) {
			return true
		}
	}
	return false
}

// deliveryLoop delivers what is pending, oldest first, with a growing pause between failures.
func (l *Link) deliveryLoop() {
	pause := retryMin
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wakeDelivery:
		}
		failed := false
		for _, p := range l.partitions() {
			failed = !p.deliverPending(l.ctx) || failed
		}
		if !failed {
			pause = retryMin
			continue
		}
		select {
		case <-l.ctx.Done():
			return
		case <-l.back:
			pause = retryMin
		case <-time.After(spread(pause)):
			pause = min(2*pause, retryMax)
		}
		signal(l.wakeDelivery)
	}
}

// deliverPending tries each pending delivery once, oldest first, but those that are being tried, and answers whether all of them
// were delivered. One that Redis refuses does not hold up the others.
func (p *partition) deliverPending(ctx context.Context) bool {
	p.mu.Lock()
	pending := slices.Clone(p.pending)
	p.mu.Unlock()
	delivered := true
	for _, d := range pending {
		if _, ok := d.executed(); ok || !d.idle() {
			continue
		}
		if err := p.execute(ctx, d); err != nil {
			d.fail(err)
			var refused redis.Error
			if !errors.As(err, &refused) {
				return false // it does not answer at all
			}
			delivered = false
		}
	}
	return delivered
}
