package invalidation

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// errNoLease: a renewal was answered, but its lease is not published yet.
var errNoLease = errors.New("invalidation: no serving lease")

// partition is the state of one partition in this process: the rules of protocol.Receiver, and what the loops around them
// need to know.
type partition struct {
	bus     *Redis
	index   int
	channel string
	lease   *Lease
	acks    ackPolls

	unreachable atomic.Bool  // the last renewal failed; L2 is not asked
	npending    atomic.Int32 // len(pending)

	mu         sync.Mutex // guards the fields below, and orders the effects of events on the target
	rec        protocol.Receiver
	buf        []protocol.Action
	settled    chan struct{} // closed at the next published lease or failed renewal
	wanted     bool          // a renewal is wanted now
	inflight   chan struct{} // closed when the renewal or leave under way has ended; nil: there is none
	registered l2.Ack        // by the renewal last begun; its Count makes every registration unique
	lastSent   protocol.Instant
	sentWall   time.Time        // wall clock when the last renewal was sent
	sentMono   time.Time        // the same reading with its monotonic part
	lastUsed   protocol.Instant // when the lease was last seen read
	retryAt    protocol.Instant // no renewal before, after failures
	failures   int
	present    bool // may be registered in Redis
	closed     bool
	state      State
	err        error // the last failure; nil after a success
	pending    []*delivery
	attempts   map[*delivery]struct{} // under way, for their callers
}

func newPartition(b *Redis, index int) *partition {
	return &partition{
		bus: b, index: index, channel: b.store.Channel(index), lease: newLease(),
		rec:      protocol.NewReceiver(b.store.Lease(), b.link.cfg.GapWait),
		settled:  make(chan struct{}),
		wanted:   true,
		acks:     ackPolls{last: protocol.Never, hurry: make(chan struct{}, 1)},
		lastSent: protocol.Never, lastUsed: Now(), retryAt: protocol.Never,
		attempts: map[*delivery]struct{}{},
	}
}

func (p *partition) telemetry() telemetry.Telemetry { return p.bus.link.cfg.Telemetry }
func (p *partition) namespace() string              { return p.bus.store.Namespace() }

// message applies a message from the bus.
func (p *partition) message(m l2.Message) {
	p.receive(m)
	if !m.Sent.IsZero() {
		p.telemetry().Observe(p.namespace(), telemetry.InvalidationLag, max(0, time.Since(m.Sent)))
	}
}

func (p *partition) receive(m l2.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carryOut(p.rec.Message(now(), protocol.Message{
		Epoch: string(m.Epoch), Seq: m.Seq, All: m.All, Hashes: m.Hashes, AckRequest: m.AckRequest, Pure: m.NoInvalidation,
	}, p.buf[:0]))
	if p.rec.Wake() != protocol.Forever {
		p.bus.link.poke()
	}
}

// unknown applies a message that cannot be read.
func (p *partition) unknown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.telemetry().Count(p.namespace(), telemetry.PayloadRejectedMessage, 1)
	p.carryOut(p.rec.Unknown(p.buf[:0]))
}

// want asks for a renewal.
func (p *partition) want() {
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	p.bus.link.poke()
}

// observe notes the epoch of an answer. One that did not come in time is a reason to ask whether Redis is there: who reads past L1
// does so for no lease.
func (p *partition) observe(epoch l2.Epoch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if (epoch == "" || p.rec.Observe(now(), string(epoch))) && !p.wanted {
		p.wanted = true
		p.bus.link.poke()
	}
}

// carryOut does what the receiver asks for, in its order. Called with p.mu held: the next event must not overtake it.
func (p *partition) carryOut(actions []protocol.Action) {
	p.buf = actions
	ns, tel := p.namespace(), p.telemetry()
	for _, a := range actions {
		switch a.Kind {
		case protocol.Evict:
			p.bus.target.Evict(a.Hashes)
			tel.Count(ns, telemetry.InvalidationReceived, int64(len(a.Hashes)))
		case protocol.Flush:
			p.bus.target.Flush()
			tel.Count(ns, telemetry.Flush, 1)
			if event, ok := flushEvents[a.Reason]; ok {
				tel.Count(ns, event, 1)
			}
		case protocol.Lease:
			p.lease.publish(a.Until)
			p.settle()
		case protocol.Renew:
			if !p.silent() {
				p.wanted = true
				p.bus.link.poke()
			}
		case protocol.Reset:
			p.bus.link.spawn(func() { p.reset(l2.Epoch(a.Epoch)) }) // ends with its call
		}
	}
}

// silent: nobody reads this partition here, so it holds no lease and is not registered. It has nothing to acknowledge, and
// whoever reads it next asks for a lease first. Called with p.mu held.
func (p *partition) silent() bool {
	return !p.present && !p.wanted && !p.lease.used.Load() && now().Sub(p.lastUsed) >= p.rec.Bound
}

var flushEvents = map[protocol.Reason]telemetry.Event{
	protocol.ReasonStart: telemetry.EpochChangeStart,
	protocol.ReasonEpoch: telemetry.EpochChangeLost,
	protocol.ReasonGap:   telemetry.BusGap,
	protocol.ReasonAll:   telemetry.InvalidationReceivedAll,
}

// settle wakes those who wait for a lease. Called with p.mu held.
func (p *partition) settle() {
	close(p.settled)
	p.settled = make(chan struct{})
}

// reset replaces an epoch whose counter went back.
func (p *partition) reset(old l2.Epoch) {
	ctx, cancel := p.bus.link.call()
	defer cancel()
	pos, err := p.bus.store.Reset(ctx, p.index, old)
	if err != nil {
		p.telemetry().Report(p.namespace(), "reset", err)
		p.mu.Lock()
		p.retryAt = now().Add(spread(retryMin)) // the next renewal asks for it again
		p.mu.Unlock()
		p.want()
		return
	}
	p.telemetry().Count(p.namespace(), telemetry.EpochChangeReset, 1)
	p.observe(pos.Epoch)
	p.want()
}

// known answers what Wait measures from: the newest epoch seen and since when.
func (p *partition) known() (seen string, since protocol.Instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rec.Seen, p.rec.SeenSince
}

// position is the epoch this process lives in and what it has applied of it.
func (p *partition) position() l2.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l2.Position{Epoch: l2.Epoch(p.rec.Epoch), Seq: p.rec.Applied}
}
