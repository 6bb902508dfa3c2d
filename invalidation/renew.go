package invalidation

import (
	"context"
	"errors"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

const (
	// coalesce is the least time between two renewals of a partition: acks asked for in between share one.
	coalesce = 2 * time.Millisecond
	// retryMin and retryMax bound the pause after a failed renewal or delivery, before spread.
	retryMin = 50 * time.Millisecond
	retryMax = time.Second
)

// renewLoop sends the renewals and the departures that are due, each kind in one pipeline, and closes gaps that last too long.
// It never waits for Redis itself.
func (l *Link) renewLoop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wakeRenewal:
		case <-timer.C:
		}
		due, leaving, next := l.due()
		if len(due) > 0 && !l.spawn(func() { l.renew(due) }) { // ends with its call
			for _, r := range due {
				r.part.answered(r.number, l2.RenewReply{Err: ErrClosed})
			}
		}
		if len(leaving) > 0 && !l.spawn(func() { l.silent(leaving) }) { // ends with its call
			for _, d := range leaving {
				d.part.gone()
			}
		}
		timer.Reset(next)
	}
}

// renewal is a renewal about to be sent.
type renewal struct {
	part   *partition
	number uint64
	call   l2.Renewal
}

// departure is a registration about to be given back.
type departure struct {
	part *partition
	call l2.Departure
}

// due begins what is due now and says when to look again.
func (l *Link) due() (due []*renewal, leaving []*departure, next time.Duration) {
	next = time.Second
	for _, p := range l.partitions() {
		r, d, in := p.due()
		if r != nil {
			due = append(due, r)
		}
		if d != nil {
			leaving = append(leaving, d)
		}
		next = min(next, in)
	}
	return due, leaving, max(next, time.Millisecond)
}

// due decides what this partition needs now: a gap closed, a renewal, or to fall silent because nobody reads it.
func (p *partition) due() (r *renewal, d *departure, next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := now()
	next = p.interval() // a read is noticed that late
	if p.closed {
		return nil, nil, next
	}
	if p.lease.touched() {
		p.lastUsed = t
	}
	p.carryOut(p.rec.Tick(t, p.buf[:0]))
	p.checkClocks()
	if p.inflight == nil {
		switch at := p.nextRenewal(t); {
		case at <= t:
			r = p.begin(t)
		case at != protocol.Forever:
			next = min(next, at.Sub(t))
		case p.present:
			d = p.silence()
		}
	}
	if wake := p.rec.Wake(); wake != protocol.Forever {
		next = min(next, wake.Sub(t))
	}
	return r, d, next
}

// interval is H.
func (p *partition) interval() time.Duration { return p.rec.Bound / 4 }

// nextRenewal is when a renewal is due, Forever if nobody needs one. Called with p.mu held.
func (p *partition) nextRenewal(t protocol.Instant) protocol.Instant {
	switch {
	case p.wanted:
		return max(p.retryAt, p.lastSent.Add(coalesce))
	case t.Sub(p.lastUsed) >= p.rec.Bound:
		return protocol.Forever
	default:
		return max(p.retryAt, p.lastSent.Add(p.interval()))
	}
}

// checkClocks drops the lease when the wall clock has run ahead of the monotonic one since the last renewal: the host was
// suspended, and the time it was away does not count on the clock the lease is measured by. Called with p.mu held.
func (p *partition) checkClocks() {
	if p.lastSent == protocol.Never || p.rec.ValidUntil == protocol.Never {
		return
	}
	now := time.Now() // both clocks in one reading
	if ahead := now.Round(0).Sub(p.sentWall) - now.Sub(p.sentMono); ahead > p.interval() {
		p.carryOut(p.rec.Revoke(p.buf[:0]))
		p.wanted = true
	}
}

// begin starts a renewal. Called with p.mu held; the clock was read before.
func (p *partition) begin(t protocol.Instant) *renewal {
	n := p.rec.Begin(t)
	p.wanted, p.inflight, p.present = false, make(chan struct{}), true
	if p.index > 0 {
		p.bus.parts[0].lease.used.Store(true) // what partition 0 says of the configuration is asked as often, see Redis.fits
	}
	p.lastSent, p.sentMono = t, time.Now()
	p.sentWall = p.sentMono.Round(0)
	p.registered = l2.Ack{Process: p.bus.process, Epoch: l2.Epoch(n.Epoch), Seq: n.Applied, Count: p.registered.Count + 1}
	return &renewal{part: p, number: n.Number, call: l2.Renewal{
		Store: p.bus.store, Partition: p.index, Process: p.bus.process,
		Epoch: p.registered.Epoch, Applied: n.Applied, Count: p.registered.Count,
	}}
}

// silence gives the lease up and begins to take this process out of the registrations, so that no Wait counts on it. Called
// with p.mu held: the lease is gone before the registration.
func (p *partition) silence() *departure {
	p.carryOut(p.rec.Revoke(p.buf[:0]))
	p.present, p.inflight = false, make(chan struct{})
	return p.departure()
}

// departure is that of the registration made last. Called with p.mu held.
func (p *partition) departure() *departure {
	return &departure{part: p, call: l2.Departure{Store: p.bus.store, Partition: p.index, Last: p.registered}}
}

// depart gives registrations back, all in one pipeline. A failure costs one Wait the rest of B: it sits the registration out and
// deletes it.
func (l *Link) depart(ctx context.Context, leaving []*departure) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.CallTimeout)
	defer cancel()
	calls := make([]l2.Departure, len(leaving))
	for i, d := range leaving {
		calls[i] = d.call
	}
	_ = l2.Leave(ctx, l.cfg.Client, calls)
}

// silent gives back the registrations of partitions that have fallen silent.
func (l *Link) silent(leaving []*departure) {
	l.depart(l.ctx, leaving)
	for _, d := range leaving {
		d.part.gone()
	}
	l.poke()
}

// gone notes the end of a departure.
func (p *partition) gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.landed()
}

// landed notes the end of a call. Called with p.mu held.
func (p *partition) landed() {
	close(p.inflight)
	p.inflight = nil
}

// renew sends renewals in one pipeline and applies the answers, those of partition 0 first.
func (l *Link) renew(due []*renewal) {
	ctx, cancel := l.call()
	defer cancel()
	calls := make([]l2.Renewal, len(due))
	for i, r := range due {
		calls[i] = r.call
	}
	for i, reply := range l2.Renew(ctx, l.cfg.Client, calls) {
		due[i].part.answered(due[i].number, reply)
	}
	l.poke()
}

// answered applies the answer to a renewal.
func (p *partition) answered(number uint64, reply l2.RenewReply) {
	if p.index == 0 && reply.Err == nil && !p.bus.fits.Swap(true) {
		for _, other := range p.bus.parts[1:] {
			other.retryNow()
		}
	}
	if p.index == 0 && errors.Is(reply.Err, l2.ErrConfigMismatch) {
		p.bus.fits.Store(false)
		for _, other := range p.bus.parts[1:] {
			other.distrust()
		}
	}
	if err := p.apply(number, reply); err != nil {
		p.telemetry().Report(p.namespace(), "renew", err) // may run the service's log handler: not under the lock
	}
}

// apply is answered under the lock. It answers a failure that is to be reported.
func (p *partition) apply(number uint64, reply l2.RenewReply) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.landed()
	t := now()
	switch {
	case reply.Err != nil:
		p.rec.Fail(number)
		return p.failed(t, reply.Err)
	case !p.bus.fits.Load():
		p.rec.Fail(number)
		return p.failed(t, errUnfit)
	case p.closed:
		return nil
	}
	p.failures, p.retryAt, p.err = 0, protocol.Never, nil
	if p.unreachable.Swap(false) {
		signal(p.bus.link.back)
	}
	p.state = Up
	if reply.Weak {
		p.state = Weak
	}
	if reply.Degraded {
		p.state = Degraded
	}
	p.carryOut(p.rec.Answer(t, number, string(reply.Position.Epoch), reply.Position.Seq, p.buf[:0]))
	return nil
}

// errUnfit: nothing of Redis is trusted before partition 0 was found to be configured as ours.
var errUnfit = errors.New("invalidation: partition 0 has not been found to fit")

// distrust gives up a lease that was taken while partition 0 was thought to fit.
func (p *partition) distrust() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carryOut(p.rec.Revoke(p.buf[:0]))
}

// retryNow forgets a failure that has lost its reason.
func (p *partition) retryNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(p.err, errUnfit) {
		p.err, p.failures, p.retryAt, p.wanted = nil, 0, protocol.Never, true
	}
}

// failed notes a failed renewal and answers it, unless it is the end of the link that failed it. Called with p.mu held.
func (p *partition) failed(t protocol.Instant, err error) error {
	defer p.settle()
	if p.closed || p.bus.link.ctx.Err() != nil {
		return nil
	}
	p.err, p.state = err, Down
	p.unreachable.Store(true)
	p.wanted = true // until one succeeds L2 is not asked, however long the lease lasts, and Health is Down, whoever reads
	if errors.Is(err, l2.ErrConfigMismatch) {
		p.state = Mismatch
		p.carryOut(p.rec.Revoke(p.buf[:0]))
	}
	p.retryAt = t.Add(spread(min(retryMin<<min(p.failures, 10), retryMax)))
	p.failures++
	p.telemetry().Count(p.namespace(), telemetry.RenewFailed, 1)
	return err
}

// renewNow asks for a renewal and waits until a lease is published or the renewal has failed. While Redis is known to be out
// it asks all the same and does not wait: no reader pays for finding out that nothing has changed.
func (p *partition) renewNow(ctx context.Context) error {
	p.mu.Lock()
	t := now()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	p.lastUsed = t
	settled, err := p.settled, p.err
	p.wanted = true
	p.mu.Unlock()
	p.bus.link.poke()
	if err != nil {
		return err
	}
	select {
	case <-settled:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.bus.link.ctx.Done():
		return ErrClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case p.lease.Valid(now()):
		return nil
	case p.err != nil:
		return p.err
	}
	return errNoLease
}
