package invalidation

import (
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
)

const (
	// pollMin and pollMax bound the pause between two questions who has not acknowledged.
	pollMin = time.Millisecond
	pollMax = 8 * time.Millisecond
	// pollRetry bounds it while Redis does not answer.
	pollRetry = 64 * time.Millisecond
)

// ackPolls shares the question "who has not acknowledged?" between the waiters of a partition: at most one is under way
// and one more is waiting to be sent, however many wait.
type ackPolls struct {
	hurry chan struct{} // one token: next may go earlier than was thought

	mu       sync.Mutex // guards the fields below
	next     *ackPoll   // not sent yet; may be joined
	running  bool
	last     protocol.Instant // when the last one was sent
	suspects map[l2.Ack]protocol.Instant
	reaping  bool
}

// ackPoll is one question. pos, reply and err are read after done is closed.
type ackPoll struct {
	done  chan struct{}
	pause time.Duration // least time after the poll before it, the shortest that was asked for
	pos   l2.Position   // the highest position asked for
	reply l2.AckReply
	err   error
}

// ask joins the question that has not been sent yet, or starts one. It is sent at least pause after the one before it.
func (p *partition) ask(pos l2.Position, pause time.Duration) *ackPoll {
	a := &p.acks
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.next == nil:
		a.next = &ackPoll{done: make(chan struct{}), pos: pos, pause: pause}
	case pos.Epoch != a.next.pos.Epoch || pos.Seq > a.next.pos.Seq:
		a.next.pos = pos // who waits in another epoch than the one asked about learns nothing, and asks again
	}
	poll := a.next
	if pause < poll.pause {
		poll.pause = pause
		signal(a.hurry)
	}
	if !a.running && !p.bus.link.spawn(p.runPolls) { // ends when nobody asks any more
		poll.err = ErrClosed
		close(poll.done)
		a.next = nil
		return poll
	}
	a.running = true
	return poll
}

// runPolls sends the questions, one at a time.
func (p *partition) runPolls() {
	a, l := &p.acks, p.bus.link
	for {
		a.mu.Lock()
		poll := a.next
		if poll == nil {
			a.running = false
			a.mu.Unlock()
			return
		}
		t := now()
		if at := a.last.Add(poll.pause); at > t && l.ctx.Err() == nil {
			a.mu.Unlock()
			select {
			case <-time.After(at.Sub(t)):
			case <-a.hurry:
			case <-l.ctx.Done():
			}
			continue
		}
		a.next, a.last = nil, t
		dead := a.dead(t, p.bus.store.LongestLease())
		a.mu.Unlock()

		ctx, cancel := l.call()
		poll.reply, poll.err = p.bus.store.Acks(ctx, p.index, poll.pos, p.bus.process, dead)
		cancel()
		if poll.err == nil {
			p.observe(poll.reply.Position.Epoch)
			a.note(now(), poll.reply.Laggards)
		}
		close(poll.done)
	}
}

// note remembers since when each registration is known to be late and unchanged.
func (a *ackPolls) note(t protocol.Instant, laggards []l2.Ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	suspects := make(map[l2.Ack]protocol.Instant, len(laggards))
	for _, ack := range laggards {
		since, known := a.suspects[ack]
		if !known {
			since = t
		}
		suspects[ack] = since
	}
	a.suspects = suspects
}

// dead are the registrations that have not changed for a whole lease since they were seen: whoever made them has no lease
// left. The server deletes them if they are unchanged still. A process that lives is registered again by its next renewal.
// Called with a.mu held.
func (a *ackPolls) dead(t protocol.Instant, longest time.Duration) (dead []l2.Ack) {
	for ack, since := range a.suspects {
		if t >= since.Add(longest+protocol.Margin(longest)) {
			dead = append(dead, ack)
		}
	}
	return dead
}

// reap sees to it that the registrations a waiter has sat out are deleted, so that a process that crashed costs one Wait its
// lease, and not every Wait in every process.
func (p *partition) reap(pos l2.Position) {
	a := &p.acks
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.suspects) == 0 || a.reaping {
		return
	}
	longest := p.bus.store.LongestLease()
	dead := protocol.Forever // the first of them; who is suspected since later may only have been busy
	for _, since := range a.suspects {
		dead = min(dead, since.Add(longest+protocol.Margin(longest)))
	}
	a.reaping = p.bus.link.spawn(func() { // ends at most a lease later, with its call
		select {
		case <-time.After(dead.Sub(now())):
			<-p.ask(pos, pollMin).done // a failure costs the next Wait its lease again
		case <-p.bus.ctx.Done():
		}
		a.mu.Lock()
		a.reaping = false
		a.mu.Unlock()
	})
}

// late are the processes of a poll that have not acknowledged w.
func late(w protocol.Wait, laggards []l2.Ack) (names []string) {
	for _, a := range laggards {
		if string(a.Epoch) != w.Epoch || a.Seq < w.Seq {
			names = append(names, a.Process)
		}
	}
	return names
}

// judged is a poll as the rules see it.
func judged(poll *ackPoll) protocol.Poll {
	p := protocol.Poll{
		Asked: string(poll.pos.Epoch), AskedSeq: poll.pos.Seq, Epoch: string(poll.reply.Position.Epoch),
		Laggards: make([]protocol.Ack, len(poll.reply.Laggards)),
	}
	for i, a := range poll.reply.Laggards {
		p.Laggards[i] = protocol.Ack{Process: a.Process, Epoch: string(a.Epoch), Seq: a.Seq}
	}
	return p
}
