package invalidation

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/telemetry"
)

const (
	// DefaultPoll is V: how often the authority's log is read when Redis carries the invalidations.
	DefaultPoll = 5 * time.Second
	pollPage    = 1000
)

// poller reads the authority's change log and applies what it finds, whatever the bus has delivered: the backstop that
// does not trust Redis. Without Redis it is what the serving lease rests on.
type poller struct {
	log      Log
	target   Target
	interval time.Duration
	publish  func(sent protocol.Instant) // after a poll; nil: the poll grants no lease
	tel      telemetry.Telemetry
	ns       string

	last    uint64 // every change up to here is applied; used by run only
	started bool   // the log was read once; used by run only

	now   chan struct{} // one token: poll now
	first chan struct{} // closed when the log was read once, or found not to answer
	late  chan struct{} // closed when nobody waits for first any more
	ended chan struct{} // closed when run has ended

	mu      sync.Mutex       // guards the fields below
	polled  protocol.Instant // when the last poll that succeeded was sent
	err     error            // of the last poll
	retryAt protocol.Instant // nobody asks for a poll before, after a failure
	wake    chan struct{}    // closed at the end of the next poll
}

func newPoller(tel telemetry.Telemetry, m Membership, interval time.Duration, publish func(protocol.Instant)) *poller {
	if interval == 0 {
		interval = DefaultPoll
	}
	ns, _, _ := strings.Cut(m.Namespace, "@")
	if m.Store != nil {
		ns = m.Store.Namespace()
	}
	return &poller{
		log: m.Log, target: m.Target, interval: interval, publish: publish, tel: tel, ns: ns,
		now: make(chan struct{}, 1), first: make(chan struct{}), late: make(chan struct{}), ended: make(chan struct{}),
		polled: protocol.Never, retryAt: protocol.Never, wake: make(chan struct{}),
	}
}

// run polls until ctx ends.
func (p *poller) run(ctx context.Context) {
	defer close(p.ended)
	defer time.AfterFunc(firstPoll, func() { close(p.late) }).Stop()
	for {
		sent := Now()
		err := p.poll(ctx)
		if ctx.Err() != nil {
			return
		}
		p.note(sent, err)
		// A tenth of jitter keeps a fleet from polling in step; never longer than the interval, the bound rests on it.
		pause := p.interval - jitter(p.interval/10+1)
		select {
		case <-ctx.Done():
			return
		case <-p.now:
		case <-time.After(pause):
		}
	}
}

// note publishes the outcome of a poll. The lease comes last: by then everything found is applied.
func (p *poller) note(sent protocol.Instant, err error) {
	if err != nil {
		p.tel.Count(p.ns, telemetry.PollFailed, 1)
		p.tel.Report(p.ns, "poll", err)
	} else if p.publish != nil {
		p.publish(sent)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !over(p.first) {
		close(p.first)
	}
	p.err = err
	if err == nil {
		p.polled, p.retryAt = sent, protocol.Never
	} else {
		p.retryAt = Now().Add(min(p.interval, retryMax))
	}
	close(p.wake)
	p.wake = make(chan struct{})
}

// errDeaf: a poll is under way that should have ended with its context.
var errDeaf = errors.New("invalidation: the authority's log does not answer and does not heed its context")

// errWentBack: versions will be given out a second time, so those seen prove nothing any more.
var errWentBack = errors.New("invalidation: the authority's version went back, as that of a restored backup does")

// poll reads everything above last and applies it.
func (p *poller) poll(ctx context.Context) error {
	for {
		limit := max(p.interval, time.Second)
		call, cancel := context.WithTimeout(ctx, limit)
		deaf := time.AfterFunc(limit+limit/4, func() { // stopped when the log answers
			if ctx.Err() == nil {
				p.note(protocol.Never, errDeaf)
			}
		})
		page, err := p.log.Changes(call, p.last, pollPage)
		deaf.Stop()
		cancel()
		if err != nil {
			return err
		}
		switch {
		case page.Head < p.last:
			p.target.Rewind()
			p.last = page.Head
			p.tel.Report(p.ns, "poll", errWentBack)
			return nil
		case page.Trimmed > p.last && p.started:
			p.target.RaiseAll(page.Head)
			p.last = page.Head
			return nil
		}
		p.started = true
		for _, c := range page.Changes {
			if c.All {
				p.target.RaiseAll(c.AsOf)
			} else {
				p.target.Raise(c.ID, c.AsOf)
			}
			p.last = max(p.last, c.AsOf)
		}
		if len(page.Changes) < pollPage {
			p.last = max(p.last, page.Head)
			return nil
		}
	}
}

// soon waits for the outcome of a poll: of the one under way, or of one made now. Callers share it. While the log is known
// not to be readable it answers at once, and asks for a poll all the same: the next one may hang as the last one did.
func (p *poller) soon(ctx context.Context) error {
	p.mu.Lock()
	wake, err, failing := p.wake, p.err, Now() < p.retryAt
	p.mu.Unlock()
	if !failing {
		signal(p.now)
	}
	if err != nil {
		return err
	}
	select {
	case <-wake:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ended:
		return ErrClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// firstPoll is how long the reads of a new process wait for the first poll to end. Then they ask the authority, which is slow
// too, perhaps.
const firstPoll = 100 * time.Millisecond

// begun says whether the log was read, or could not be: what changed while no process ran was told to nobody, and L2 has what was
// before. It waits a moment, and no longer than a quarter of the time that ctx has.
func (p *poller) begun(ctx context.Context) bool {
	if over(p.first) {
		return true
	}
	if over(p.late) {
		return false
	}
	wait := firstPoll
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)/4)
	}
	select {
	case <-p.first:
	case <-p.late:
	case <-time.After(wait):
	case <-p.ended:
	case <-ctx.Done():
	}
	return over(p.first)
}

// over says whether a channel is closed.
func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// health answers the age of the last poll that succeeded and the last failure.
func (p *poller) health() (age time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.polled != protocol.Never {
		age = Now().Sub(p.polled)
	}
	return age, p.err
}

// spread is d, or up to a quarter less: so that what failed at one moment, here and in all processes, is not tried again at
// one moment.
func spread(d time.Duration) time.Duration { return d - jitter(d/4) }

// jitter is a random duration below d, from crypto/rand: what seeds that in a test decides the jitter too.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(d))
}
