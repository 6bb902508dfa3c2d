package ratelimit

import (
	"context"
	"time"

	"github.com/layercache/layercache/readthrough"
)

// flight is one request for a block. Everybody who needs permits meanwhile waits for it.
type flight struct {
	done chan struct{} // closed at its end, after which the fields below do not change

	err    error
	denial *denial // nothing was given, and from how many permits on that is so
}

// join answers the request under way, or begins one for n permits. nil: they have come meanwhile.
func (l *Lease) join(n int64) (*flight, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, readthrough.ErrClosed
	case l.flight != nil:
		return l.flight, nil
	case l.block.Load().held(l.store.clock.now()) >= n:
		return nil, nil
	}
	return l.fly(n)
}

// ahead begins a request, unless one is under way, so that nobody has to wait for it.
func (l *Lease) ahead(b *block) {
	if !l.mu.TryLock() {
		return // somebody is at it, or will be when the block is empty
	}
	defer l.mu.Unlock()
	if l.flight == nil && l.block.Load() == b {
		_, _ = l.fly(0) // closed
	}
}

// fly begins a request. n is how many permits somebody waits for; 0: nobody does. l.mu is held.
func (l *Lease) fly(n int64) (*flight, error) {
	if !l.begin() {
		return nil, readthrough.ErrClosed
	}
	left := l.block.Load().held(l.store.clock.now())
	need := max(1, n-left)
	request := Request{
		Limit: l.cfg.Limit, Need: need, Want: max(need, l.cfg.Block-left), Parts: 2 * l.store.cfg.Processes,
	}
	l.flight = &flight{done: make(chan struct{})}
	go l.land(l.flight, l.generation, left, request) // ends within two of Timeout; the store's Close waits for it
	return l.flight, nil
}

// begin counts a goroutine of the lease. l.mu is held. The other end is store.wg.Done.
func (l *Lease) begin() bool {
	if l.closed {
		return false
	}
	l.store.wg.Add(1) // before Close of the store waits, since it closes the lease first
	return true
}

// land makes the request and puts what it brings where Allow finds it.
func (l *Lease) land(f *flight, generation uint64, left int64, q Request) {
	defer l.store.wg.Done()
	defer close(f.done)
	sent := l.store.clock.now()
	var g Grant
	f.err = l.store.guarded(context.Background(), func(ctx context.Context) (err error) {
		g, err = l.store.cfg.Backend.Lease(ctx, l.cfg.Key, q)
		return err
	})
	l.mu.Lock()
	over := g.N
	switch b := l.block.Load(); {
	case l.closed, l.generation != generation:
	case f.err == nil:
		over = l.hold(f, sent, left, q, g)
	case b != nil:
		b.low.Store(0) // not for each permit anew
	}
	l.mu.Unlock()
	if f.err == nil && over > 0 {
		err := l.giveBackTo(context.Background(), g.Window, over)
		l.store.cfg.Telemetry.Report(name, "give back", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flight == f { // only now, lest somebody asks for what is on its way back, and is denied
		l.flight = nil
	}
}

// hold adds a grant to what is held, and answers how many permits of its window are to go back. l.mu is held.
func (l *Lease) hold(f *flight, sent, left int64, q Request, g Grant) (over int64) {
	now := l.store.clock.now()
	b := l.block.Load()
	if g.N < q.Need {
		d := l.store.denial(l.cfg.Limit, left+g.Remaining+1, Answer{Remaining: g.Remaining, Reset: g.Reset, Retry: g.Reset}, sent)
		f.denial = &d
		l.denial.Store(&d)
		if b != nil {
			b.low.Store(0)
		}
		return 0
	}
	l.denial.Store(nil)
	l.taken++
	if b == nil || b.window != g.Window || now >= b.ends {
		if n := b.drop(); b != nil && b.window == g.Window { // else that has ended, or was reset
			over = n
		}
		if b = l.newBlock(sent, now, g); b == nil {
			return over + g.N
		}
		defer l.block.Store(b)
	}
	held := b.left.Add(g.N)
	switch {
	case g.N == q.Want:
		b.low.Store(l.cfg.Block / 2)
	case g.Remaining > 0:
		b.low.Store(held / 2) // near the limit
	default:
		b.low.Store(0)
	}
	l.watch()
	return over
}

// newBlock is an empty block of a grant's window, nil if that may have ended on the way.
func (l *Lease) newBlock(sent, now int64, g Grant) *block {
	b := &block{window: g.Window, ends: sent + int64(g.Reset-g.Reset/drift)}
	if now >= b.ends {
		return nil
	}
	b.reset = l.store.clock.at(now + int64(g.Reset+time.Millisecond))
	b.void = time.AfterFunc(time.Duration(b.ends-now), func() { l.expire(b, g.Reset/drift) })
	return b
}

// expire makes a block void. Its window may go on for rest: what was left goes back to it, unless it would come too late.
func (l *Lease) expire(b *block, rest time.Duration) {
	l.mu.Lock()
	begun := l.begin() // else Close has what was left
	l.mu.Unlock()
	if !begun {
		return
	}
	defer l.store.wg.Done()
	if n := b.empty(); rest > time.Millisecond {
		l.store.cfg.Telemetry.Report(name, "give back", l.giveBack(context.Background(), b, n))
	}
}

// drift is how much slower this process's clock may run than the backend's: a thousandth, twice what NTP slews.
const drift = 1000

// watched is what was held when it was last looked at.
type watched struct {
	taken uint64
	left  int64
}

// watch gives permits back that lie unused. l.mu is held.
func (l *Lease) watch() {
	switch {
	case l.cfg.Idle < 0:
	case l.idle == nil:
		l.idle = time.AfterFunc(l.cfg.Idle, l.look)
	case l.watched == (watched{}):
		l.idle.Reset(l.cfg.Idle)
	default:
		return
	}
	l.watched = watched{taken: l.taken, left: -1}
}

// look runs each Idle while something is held.
func (l *Lease) look() {
	l.mu.Lock()
	b := l.block.Load()
	seen := watched{taken: l.taken}
	if b != nil {
		seen.left = b.left.Load()
	}
	unused := seen == l.watched
	if l.closed || b == nil || seen.left == 0 || unused && !l.begin() {
		l.watched = watched{} // the next block begins anew
		l.mu.Unlock()
		return
	}
	if !unused {
		l.watched = seen
		l.idle.Reset(l.cfg.Idle)
		l.mu.Unlock()
		return
	}
	l.watched = watched{}
	l.mu.Unlock()
	defer l.store.wg.Done()
	if !l.store.answers() { // what is given back now is lost
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.closed {
			l.watch()
		}
		return
	}
	l.store.cfg.Telemetry.Report(name, "give back", l.giveBack(context.Background(), b, b.empty()))
}
