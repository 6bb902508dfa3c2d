package invalidation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
)

// Redis is the bus of one namespace over a Link. Safe for concurrent use.
type Redis struct {
	link    *Link
	store   *l2.Store
	target  Target
	process string // random per member
	tokens  Tokens
	// fits: partition 0, which every configuration has, was found to be configured as ours at its last renewal. Until it is,
	// nothing of Redis is trusted: with another number of partitions, invalidations by others go elsewhere.
	fits  atomic.Bool
	parts []*partition

	ctx    context.Context // ends at Close; of waits
	cancel context.CancelFunc

	poll     *poller // nil: no log
	stopPoll context.CancelFunc
	polled   chan struct{} // closed when the poller has ended
}

var _ Bus = (*Redis)(nil)

// Lease implements Bus.
func (b *Redis) Lease(part int) *Lease { return b.parts[part].lease }

// Position implements Bus.
func (b *Redis) Position(part int) l2.Position {
	return b.parts[part].position()
}

// Renew implements Bus.
func (b *Redis) Renew(ctx context.Context, part int) error {
	if part != 0 && !b.fits.Load() {
		if err := b.parts[0].renewNow(ctx); err != nil {
			return err
		}
	}
	return b.parts[part].renewNow(ctx)
}

// Tokens implements Bus.
func (b *Redis) Tokens() Tokens { return b.tokens }

// Observe implements Bus.
func (b *Redis) Observe(part int, epoch l2.Epoch) { b.parts[part].observe(epoch) }

// Usable implements Bus.
func (b *Redis) Usable(ctx context.Context, id l2.ID) bool {
	if !b.fits.Load() && (b.parts[0].renewNow(ctx) != nil || !b.fits.Load()) {
		return false
	}
	p := b.parts[b.store.Partition(id.Hash())]
	if p.unreachable.Load() {
		p.lease.used.Store(true) // it is read: go on asking whether Redis is back
		return false
	}
	if p.npending.Load() > 0 && p.pendingFor(id) {
		return false
	}
	return b.poll == nil || b.poll.begun(ctx)
}

// Invalidate implements Bus.
func (b *Redis) Invalidate(ctx context.Context, ids []l2.ID, asOf uint64) *Receipt {
	groups := map[int][]l2.ID{}
	for _, id := range ids {
		part := b.store.Partition(id.Hash())
		groups[part] = append(groups[part], id)
	}
	parts := make([]*delivery, 0, len(groups))
	for i := range b.parts {
		if group := groups[i]; len(group) > 0 {
			parts = append(parts, newDelivery(i, group, false, asOf))
		}
	}
	return b.deliver(ctx, parts, asOf)
}

// InvalidateAll implements Bus.
func (b *Redis) InvalidateAll(ctx context.Context, asOf uint64) *Receipt {
	parts := make([]*delivery, len(b.parts))
	for i := range b.parts {
		parts[i] = newDelivery(i, nil, true, asOf)
	}
	return b.deliver(ctx, parts, asOf)
}

// Health implements Bus.
func (b *Redis) Health() Health {
	var h Health
	if b.poll != nil {
		if h.PollAge, h.Err = b.poll.health(); h.Err != nil {
			h.State = Unpolled
		}
	}
	t := now()
	shortest := protocol.Forever
	for _, p := range b.parts {
		p.mu.Lock()
		h.Pending += len(p.pending)
		if p.err != nil && (p.state > h.State || h.Err == nil) {
			h.Err = p.err // of the worst, as the state is
		}
		h.State = max(h.State, p.state)
		if p.present {
			shortest = min(shortest, max(p.lease.Until(), t))
		}
		p.mu.Unlock()
	}
	if shortest != protocol.Forever {
		h.Lease = shortest.Sub(t)
	}
	return h
}

// Close implements Bus.
func (b *Redis) Close(ctx context.Context) error {
	b.stopPoll()
	errs := make([]error, len(b.parts), len(b.parts)+1)
	leaving := make([]*departure, len(b.parts))
	var closing sync.WaitGroup
	for i, p := range b.parts {
		closing.Go(func() { leaving[i], errs[i] = p.close(ctx) }) // waited for below; ends with its calls, or with ctx
	}
	closing.Wait()
	b.link.depart(ctx, slices.DeleteFunc(leaving, func(d *departure) bool { return d == nil }))
	b.cancel()
	b.link.leave(b)
	select {
	case <-b.polled:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("invalidation: close: the authority's log is being read: %w", ctx.Err()))
	}
	return errors.Join(errs...)
}

// close ends the partition's part in the bus: no lease, and nothing pending if it can be helped. It answers the registration that
// is left to be given back, if there is one.
func (p *partition) close(ctx context.Context) (*departure, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, nil
	}
	p.closed = true
	p.carryOut(p.rec.Revoke(p.buf[:0]))
	flown := p.inflight
	attempts := slices.Collect(maps.Keys(p.attempts))
	p.mu.Unlock()
	if flown != nil {
		select {
		case <-flown: // a renewal that came after the leave would register this process again
		case <-ctx.Done():
		}
	}
	for _, d := range attempts {
		select {
		case <-d.attempted:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	for _, d := range attempts {
		if _, ok := d.executed(); !ok && !slices.Contains(p.pending, d) && d.root() == d {
			p.pending = append(p.pending, d) // its caller no longer adds it
		}
	}
	p.mu.Unlock()
	p.deliverPending(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	var d *departure
	if p.present {
		p.present = false
		d = p.departure()
	}
	lost := len(p.pending)
	if lost == 0 {
		return d, nil
	}
	cause := p.pending[0].failure()
	if cause == nil {
		cause = ctx.Err() // it is being tried still
	}
	return d, fmt.Errorf("invalidation: close: %d invalidations of %s not delivered: %w", lost, p.namespace(), cause)
}
