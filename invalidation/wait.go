package invalidation

import (
	"context"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// wait returns nil when d is in force everywhere. Otherwise it answers who has not acknowledged, as far as known.
func (b *Redis) wait(ctx context.Context, d *delivery) (laggards []string, err error) {
	p := b.parts[d.index]
	for d = d.root(); ; d = d.root() {
		if _, ok := d.executed(); ok {
			break
		}
		select {
		case <-d.done: // executed, or merged into another
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-b.ctx.Done():
			return nil, ErrClosed
		}
	}
	_, span := p.telemetry().Start(ctx, telemetry.Op{Name: telemetry.OpInForce, Namespace: p.namespace(), Keys: len(d.ids)})
	laggards, err = p.sitOut(ctx, d)
	if err != nil {
		span.End(telemetry.Pending, err)
		return laggards, err
	}
	span.End(telemetry.OK, nil)
	return nil, nil
}

// sitOut asks who has not acknowledged until nobody is left, or until the leases from before d have run out.
func (p *partition) sitOut(ctx context.Context, d *delivery) (laggards []string, err error) {
	pause := pollMin
	rest := protocol.Never // asking is of no use before
	for {
		w := d.waiting()
		pos := l2.Position{Epoch: l2.Epoch(w.Epoch), Seq: w.Seq}
		t := now()
		if w.Expired(t) {
			p.reap(pos)
			return nil, nil
		}
		next := w.Deadline()
		var poll *ackPoll
		var answered <-chan struct{}
		switch {
		case w.Everything: // nobody can acknowledge it
		case rest > t:
			next = min(next, rest)
		default:
			poll = p.ask(pos, pause)
			answered = poll.done
		}
		select {
		case <-answered:
		case <-time.After(next.Sub(t)):
			continue
		case <-ctx.Done():
			return laggards, ctx.Err()
		case <-p.bus.ctx.Done():
			return laggards, ErrClosed
		}
		if poll.err != nil { // the clock decides in the end
			pause = min(2*pause, pollRetry)
			continue
		}
		pause = min(2*pause, pollMax)
		laggards = late(w, poll.reply.Laggards)
		seen, since := p.known()
		switch w.Judge(now(), judged(poll), seen, since) {
		case protocol.InForce:
			if w.Expired(now()) { // by the clock: this answer and the deadline came together
				p.reap(pos)
			}
			return nil, nil
		case protocol.Moved:
			_ = p.execute(ctx, d) // in the new epoch too; after a failure the next poll says moved again
		case protocol.Waiting:
			if ripe := w.Ripe(seen, since); ripe != protocol.Forever {
				rest = ripe.Add(jitter(pollMin)) // the same moment for all who wait: not all of them at once
			}
		}
	}
}

// untilInForce is how long the leases from before d may still last.
func (b *Redis) untilInForce(d *delivery) time.Duration { return d.waiting().Deadline().Sub(now()) }
