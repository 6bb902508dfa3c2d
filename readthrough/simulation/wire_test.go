package simulation_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// direction is which way a message goes.
type direction uint8

const (
	toServer direction = iota
	toClient
)

func (d direction) String() string { return [...]string{"→", "←"}[d] }

// wire is a connection between a process and the server.
type wire struct {
	net     *network
	process int
	bus     bool // it is subscribed
	ends    [2]*end
	ways    [2]way
}

// way is one direction of a wire. It is guarded by network.mu.
type way struct {
	sent int       // messages
	last time.Time // when the last piece arrives
	lost bool      // for ever, from some message on
}

// end is one of the two ends of a wire. Writes never wait: miniredis publishes with a mutex held.
type end struct {
	wire *wire
	way  direction // of what is written here

	// What follows is guarded by network.mu.
	changed  *sync.Cond
	inbox    []byte
	err      error // what Read answers once inbox is empty
	closed   bool
	deaf     bool // nothing arrives any more
	deadline time.Time
	alarm    *time.Timer
}

var _ net.Conn = (*end)(nil)

func newWire(n *network, process int) *wire {
	w := &wire{net: n, process: process}
	for d := range w.ends {
		w.ends[d] = &end{wire: w, way: direction(d), changed: sync.NewCond(&n.mu)}
	}
	return w
}

// Read implements net.Conn.
func (e *end) Read(p []byte) (int, error) {
	e.wire.net.mu.Lock()
	defer e.wire.net.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case !e.deadline.IsZero() && !time.Now().Before(e.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(e.inbox) > 0:
			n := copy(p, e.inbox)
			e.inbox = e.inbox[n:]
			return n, nil
		case e.err != nil:
			return 0, e.err
		}
		e.changed.Wait()
	}
}

// Write implements net.Conn: each call is a message.
func (e *end) Write(p []byte) (int, error) {
	e.wire.net.mu.Lock()
	defer e.wire.net.mu.Unlock()
	switch {
	case e.closed:
		return 0, net.ErrClosed
	case e.err != nil:
		return 0, syscall.EPIPE
	}
	e.wire.net.send(e, append([]byte{}, p...))
	return len(p), nil
}

// Close implements net.Conn. The other end learns of it as of a message.
func (e *end) Close() error {
	e.wire.net.mu.Lock()
	defer e.wire.net.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	if e.alarm != nil {
		e.alarm.Stop()
	}
	e.changed.Broadcast()
	e.wire.net.hangUp(e)
	return nil
}

// SetDeadline implements net.Conn.
func (e *end) SetDeadline(t time.Time) error { return e.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (e *end) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (e *end) SetReadDeadline(t time.Time) error {
	n := e.wire.net
	n.mu.Lock()
	defer n.mu.Unlock()
	e.deadline = t
	if e.alarm != nil {
		e.alarm.Stop()
		e.alarm = nil
	}
	if !t.IsZero() && !e.closed {
		at := n.reserve(t.Sub(n.began)+lanes, alarms+time.Duration(e.wire.process))
		e.alarm = time.AfterFunc(at-n.now(), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			e.changed.Broadcast()
		})
	}
	e.changed.Broadcast()
	return nil
}

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return nowhere{} }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return nowhere{} }

type nowhere struct{}

func (nowhere) Network() string { return "simulation" }
func (nowhere) String() string  { return "simulation" }

// arrive appends to the inbox. Called with network.mu held.
func (e *end) arrive(p []byte) {
	if e.err != nil || e.deaf {
		return
	}
	e.inbox = append(e.inbox, p...)
	e.changed.Broadcast()
}

// fail ends what can be read. Called with network.mu held.
func (e *end) fail(err error) {
	if e.err == nil {
		e.err = err
		if !errors.Is(err, io.EOF) {
			e.inbox = nil // a reset discards what was not read
		}
	}
	e.changed.Broadcast()
}
