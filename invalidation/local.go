package invalidation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// Local is the bus without Redis: caches of one process that join under one namespace tell each other directly. With an
// authority's log, other processes on the same database are bounded too: the poll of the log is then the serving lease,
// and B is how often it happens. Safe for concurrent use. The zero Local is ready for use.
type Local struct {
	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry

	mu     sync.Mutex // guards spaces; taken before a space's own
	spaces map[string]*space
}

// space is a namespace of a Local. It ends with its last member.
type space struct {
	name   string
	epoch  l2.Epoch // random: another process's tokens are not mistaken for ours
	tokens Tokens

	mu      sync.Mutex // guards the fields below
	seq     uint64
	members []*Member
}

// Member is a cache's part in a Local bus. Safe for concurrent use.
type Member struct {
	local  *Local
	space  *space
	target Target
	lease  *Lease
	bound  time.Duration // 0: there is no other process to wait for

	poll     *poller // nil: no log
	stopPoll context.CancelFunc
	polled   chan struct{}   // closed when the poller has ended
	ended    <-chan struct{} // closed by Close

	mu     sync.Mutex // guards closed, and orders what is published
	closed bool
}

var _ Bus = (*Member)(nil)

// Join makes the target a member of the namespace.
func (l *Local) Join(m Membership) (*Member, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	if m.Namespace == "" {
		return nil, errors.New("invalidation: Membership.Namespace is required")
	}
	if m.Bound == 0 {
		m.Bound = 10 * time.Second
	}
	tel := l.Telemetry
	if tel == nil {
		tel = telemetry.Nop
	}
	b := &Member{local: l, target: m.Target, lease: newLease(), polled: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	b.stopPoll, b.ended = cancel, ctx.Done()
	l.enter(m.Namespace, b)
	if m.Log == nil {
		b.lease.publish(protocol.Forever)
		close(b.polled)
	} else {
		interval := m.Poll
		if interval == 0 || interval > m.Bound/4 {
			interval = m.Bound / 4
		}
		b.poll = newPoller(tel, m, interval, func(sent protocol.Instant) { b.publish(sent.Add(m.Bound)) })
		if !m.Sole {
			b.bound = m.Bound
		}
		go func() { // ends with ctx, at Close
			defer close(b.polled)
			b.poll.run(ctx)
		}()
	}
	return b, nil
}

// publish sets the end of the lease, unless the member is closed.
func (b *Member) publish(until protocol.Instant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.lease.publish(until)
	}
}

// enter makes b a member of the namespace.
func (l *Local) enter(namespace string, b *Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spaces == nil {
		l.spaces = map[string]*space{}
	}
	s := l.spaces[namespace]
	if s == nil {
		s = &space{name: namespace, epoch: l2.Epoch(randomHex(16)), tokens: NewTokens(namespace, 1)}
		l.spaces[namespace] = s
	}
	b.space = s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(s.members, b)
}

// leave ends b's membership, and forgets a namespace that nobody is in any more. A Close that was cut short keeps it: an
// invalidation may be under way still, and whoever joins meanwhile is told.
func (l *Local) leave(ctx context.Context, b *Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := b.space
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = slices.DeleteFunc(s.members, func(m *Member) bool { return m == b })
	if len(s.members) == 0 && l.spaces[s.name] == s && ctx.Err() == nil {
		delete(l.spaces, s.name)
	}
}

// Lease implements Bus.
func (b *Member) Lease(int) *Lease { return b.lease }

// Position implements Bus.
func (b *Member) Position(int) l2.Position {
	b.space.mu.Lock()
	defer b.space.mu.Unlock()
	return l2.Position{Epoch: b.space.epoch, Seq: b.space.seq}
}

// Renew implements Bus: it polls the log now.
func (b *Member) Renew(ctx context.Context, _ int) error {
	if b.poll == nil {
		if b.lease.Valid(Now()) {
			return nil
		}
		return ErrClosed
	}
	return b.poll.soon(ctx)
}

// Tokens implements Bus.
func (b *Member) Tokens() Tokens { return b.space.tokens }

// Observe implements Bus: there are no other answers.
func (b *Member) Observe(int, l2.Epoch) {}

// Usable implements Bus: there is no L2.
func (b *Member) Usable(context.Context, l2.ID) bool { return false }

// Invalidate implements Bus: every member of this process has applied it when it returns.
func (b *Member) Invalidate(_ context.Context, ids []l2.ID, asOf uint64) *Receipt {
	return b.apply(ids, false, asOf)
}

// InvalidateAll implements Bus.
func (b *Member) InvalidateAll(_ context.Context, asOf uint64) *Receipt {
	return b.apply(nil, true, asOf)
}

func (b *Member) apply(ids []l2.ID, all bool, asOf uint64) *Receipt {
	pos := b.space.apply(ids, all, asOf)
	d := newDelivery(0, ids, all, asOf)
	d.succeed(Now(), pos, b.bound)
	return &Receipt{tokens: b.space.tokens, asOf: asOf, parts: []*delivery{d}, wait: b.wait, epochs: b.epochs, until: b.untilInForce}
}

// apply voids what every member holds, and only then counts: a position that is reached is applied.
func (s *space) apply(ids []l2.ID, all bool, asOf uint64) l2.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if all {
			m.target.RaiseAll(asOf)
		} else {
			m.target.Invalidated(ids, asOf)
		}
	}
	s.seq++
	return l2.Position{Epoch: s.epoch, Seq: s.seq}
}

// wait sits out the leases of other processes on the same database; there is nobody who could acknowledge.
func (b *Member) wait(ctx context.Context, d *delivery) ([]string, error) {
	left := b.untilInForce(d)
	if left <= 0 {
		return nil, nil // whatever became of ctx
	}
	select {
	case <-time.After(left):
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.ended:
		return nil, ErrClosed
	}
}

func (b *Member) untilInForce(d *delivery) time.Duration {
	if b.bound == 0 {
		return 0
	}
	return d.waiting().Deadline().Sub(Now())
}

// Health implements Bus.
func (b *Member) Health() Health {
	h := Health{}
	if b.poll != nil {
		h.PollAge, h.Err = b.poll.health()
		if h.Err != nil {
			h.State = Down
		}
	}
	if until := b.lease.Until(); until != protocol.Never {
		h.Lease = max(0, until.Sub(Now()))
	}
	return h
}

// Close implements Bus.
func (b *Member) Close(ctx context.Context) error {
	b.stopPoll()
	b.mu.Lock()
	b.closed = true
	b.lease.publish(protocol.Never)
	b.mu.Unlock()
	b.local.leave(ctx, b)
	select {
	case <-b.polled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("invalidation: close: the authority's log is being read: %w", ctx.Err())
	}
}
