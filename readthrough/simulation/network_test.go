package simulation_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// network carries what processes and the server say to each other, and loses some of it.
type network struct {
	plan  *plan
	began time.Time
	serve func(net.Conn)

	mu     sync.Mutex // guards the fields below, and the wires
	taken  map[time.Duration]struct{}
	wires  []*wire
	healed bool // the weather is clear from now on
	trace  trace
	faults map[string]int
}

func newNetwork(p *plan) *network {
	return &network{plan: p, began: time.Now(), taken: map[time.Duration]struct{}{}, faults: map[string]int{}}
}

func (n *network) now() time.Duration { return time.Since(n.began) }

// lanes keep apart, by the last digits of an instant, what would otherwise happen in one instant and in any order: the ways of
// a process are a lane each, so are the deadlines of its connections from lane alarms on, and what processes do of themselves is
// the last one.
const lanes, alarms = 64, 32

func lane(m *sent) time.Duration {
	lane := 4*m.process + 2*int(m.way)
	if m.bus {
		lane++
	}
	return time.Duration(lane)
}

// reserve answers the first instant of a lane that nothing else happens at, from less than lanes before t on. Called with mu held.
func (n *network) reserve(t, lane time.Duration) time.Duration {
	for t += lane - t%lanes; ; t += lanes {
		if _, taken := n.taken[t]; !taken && t > n.now() {
			n.taken[t] = struct{}{}
			return t
		}
	}
}

// pass waits that long, and a little more so as to be alone.
func (n *network) pass(ctx context.Context, d time.Duration) {
	n.mu.Lock()
	d = n.reserve(n.now()+d, lanes-1) - n.now()
	n.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// weather of a process, now. Called with mu held.
func (n *network) weather(process int) spell {
	if n.healed {
		return spell{}
	}
	return n.plan.at(process, n.now())
}

// heal clears the weather. What is half open stays so.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.healed = true
}

// dial connects a process to the server, at once or not at all.
func (n *network) dial(process int) (net.Conn, error) {
	n.mu.Lock()
	if n.weather(process).sky == black {
		n.faults["refused"]++
		n.mu.Unlock()
		return nil, syscall.EHOSTUNREACH
	}
	w := newWire(n, process)
	n.wires = append(n.wires, w)
	n.mu.Unlock()
	n.serve(w.ends[toClient])
	return w.ends[toServer], nil
}

var pushed = []byte(">3\r\n$7\r\nmessage\r\n")

// send decides what becomes of a message. Called with mu held.
func (n *network) send(from *end, p []byte) {
	w := from.wire
	way, to := &w.ways[from.way], w.ends[1-from.way]
	way.sent++
	if way.sent == 1 { // a handshake and its answer, see the package's documentation
		to.arrive(p)
		return
	}
	if from.way == toServer {
		p = sorted(p)
		w.bus = w.bus || bytes.Contains(p[:min(len(p), 32)], []byte("subscribe\r\n"))
	}
	m := n.message(w, from.way, p)
	if way.lost {
		m.note("lost")
		return
	}
	s, d := n.weather(w.process), n.dice(m)
	after := n.latency(w, s, m, d)
	half := s.sky == black || s.sky == dumb && from.way == toServer || s.sky == deaf && from.way == toClient
	switch {
	case half && s.heals:
		n.fault(m, "held")
		after += s.until - m.at
	case half:
		n.fault(m, "half open")
		way.lost = true
		return
	case happens(d, n.plan.odds.cut) || s.sky == torn && happens(d, 0.1):
		n.fault(m, "cut")
		n.schedule(way, m, after, func() { n.cut(w) })
		return
	}
	if bytes.HasPrefix(p, pushed) {
		switch {
		case happens(d, n.plan.odds.lost) || s.sky == lossy && happens(d, 0.5):
			n.fault(m, "dropped")
			return
		case happens(d, n.plan.odds.twice) || s.sky == echoing && happens(d, 0.5):
			n.fault(m, "twice")
			n.schedule(way, m, after, func() { to.arrive(p) })
			after += between(d, time.Microsecond, 5*time.Millisecond)
		}
	}
	pieces := 1
	if s.sky == slow {
		n.fault(m, "slow")
		pieces = min(len(p), 2+d.IntN(5))
	}
	for i := range pieces {
		piece := p[len(p)*i/pieces : len(p)*(i+1)/pieces]
		n.schedule(way, m, after, func() { to.arrive(piece) })
		after += between(d, time.Microsecond, 10*time.Millisecond)
	}
}

// message notes that something is sent. Called with mu held.
func (n *network) message(w *wire, d direction, p []byte) *sent {
	m := &sent{process: w.process, bus: w.bus, way: d, at: n.now(), size: len(p), head: head(p)}
	n.trace = append(n.trace, m)
	return m
}

// dice are those of one message: they follow from what it is and when it is sent, and not from what else is sent in the same
// instant, nor from which of a process's connections it takes. Messages that cannot be told apart have the same: whichever
// connection comes first, the same happens to all of them. Called with mu held.
func (n *network) dice(m *sent) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %d %t %d ", m.at, m.process, m.bus, m.way)
	if m.way == toServer { // an answer may hold what is random
		_, _ = io.WriteString(h, m.head)
	}
	return rand.New(rand.NewPCG(n.plan.seed, h.Sum64()))
}

// latency of a message. Called with mu held.
func (n *network) latency(w *wire, s spell, m *sent, d *rand.Rand) time.Duration {
	far := n.plan.far[w.process]
	after := between(d, far/2, 3*far/2)
	switch {
	case s.sky == distant:
		n.fault(m, "delayed")
		after += between(d, time.Millisecond, 50*time.Millisecond)
	case s.sky == lagging && w.bus && m.way == toClient:
		n.fault(m, "lagging")
		after += between(d, time.Millisecond, 2*n.plan.bound)
	case happens(d, n.plan.odds.late):
		n.fault(m, "delayed")
		after += between(d, time.Millisecond, n.plan.bound/2)
	}
	return after
}

// fault notes and counts a fault of a message. Called with mu held.
func (n *network) fault(m *sent, name string) {
	m.note(name)
	n.faults[name]++
}

// schedule lets f happen after a while, alone, and after what was scheduled for the same way before. Called with mu held.
func (n *network) schedule(way *way, m *sent, after time.Duration, f func()) {
	at := m.at + after
	if last := way.last.Sub(n.began); at < last+lanes {
		at = last + lanes
	}
	at = n.reserve(at, lane(m))
	way.last = n.began.Add(at)
	m.arrives = append(m.arrives, at)
	time.AfterFunc(at-n.now(), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		f()
	})
}

// cut resets a wire. Called with mu held.
func (n *network) cut(w *wire) {
	for d := range w.ends {
		w.ways[d].lost = true
		w.ends[d].fail(syscall.ECONNRESET)
	}
}

// cutAll resets all wires, as the end of the server's process does.
func (n *network) cutAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wires { // each process learns of each at an instant of its own
		client := w.ends[toServer]
		client.deaf = true
		w.ways[toServer].lost, w.ways[toClient].lost = true, true
		w.ends[toClient].fail(syscall.ECONNRESET)
		at := n.reserve(n.now(), alarms+time.Duration(w.process))
		time.AfterFunc(at-n.now(), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			client.fail(syscall.ECONNRESET)
		})
	}
	n.wires = nil
}

// hangUp tells the other end that this one is closed. Called with mu held.
func (n *network) hangUp(e *end) {
	w := e.wire
	way, to := &w.ways[e.way], w.ends[1-e.way]
	if way.sent < 2 {
		to.fail(io.EOF)
		return
	}
	if way.lost || to.closed {
		return
	}
	// Without dice: of connections that are closed in one instant none is the first.
	n.schedule(way, n.message(w, e.way, []byte("close")), n.plan.far[w.process], func() { to.fail(io.EOF) })
}

// record is what was sent, and how often which fault happened, so far.
func (n *network) record() (trace, map[string]int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.trace), maps.Clone(n.faults)
}

// strike notes a harm of the server.
func (n *network) strike(b blow) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[b.harm.String()]++
	n.trace = append(n.trace, &sent{process: theServer, at: n.now(), head: b.harm.String()})
}

// sorted puts the channels of a subscription in order: go-redis keeps them in a map.
func sorted(p []byte) []byte {
	words := strings.Split(string(p), "\r\n")
	if len(words) < 6 || words[2] != "subscribe" {
		return p
	}
	var channels []string
	for i := 4; i < len(words); i += 2 {
		channels = append(channels, words[i])
	}
	slices.Sort(channels)
	for i, c := range channels {
		words[3+2*i], words[4+2*i] = "$"+strconv.Itoa(len(c)), c
	}
	return []byte(strings.Join(words, "\r\n"))
}
