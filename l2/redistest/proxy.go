package redistest

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
)

// Proxy is a TCP proxy in this process, between clients and one server, that can fail. What a blackhole holds back is
// delivered when it is restored, as TCP does after a network partition.
type Proxy struct {
	t        testing.TB
	listener net.Listener
	done     chan struct{} // closed when the test ends
	wg       sync.WaitGroup

	mu       sync.Mutex
	target   string                // guarded by mu
	conns    map[net.Conn]struct{} // guarded by mu; both sides of every connection
	holds    [2]chan struct{}      // guarded by mu; by direction: nil, or closed when it is restored
	delay    time.Duration         // guarded by mu
	refusing bool                  // guarded by mu
}

const (
	toServer = iota
	toClient
)

// NewProxy starts a proxy on a free loopback port. It is stopped when the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("redistest: proxy: %v", err)
	}
	p := &Proxy{t: t, target: target, listener: listener, done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		close(p.done)
		_ = p.listener.Close()
		p.CutAll()
		p.wg.Wait()
	})
	return p
}

// Addr is the host:port to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Client makes a client that goes through the proxy, with the short timeouts of l2.NewClient. It is closed when the test ends.
func (p *Proxy) Client() redis.UniversalClient {
	p.t.Helper()
	return newClient(p.t, l2.ClientConfig{Addrs: []string{p.Addr()}})
}

// Blackhole holds everything back in both directions. Connections stay open, new ones are accepted.
func (p *Proxy) Blackhole() {
	p.BlackholeToServer()
	p.BlackholeToClient()
}

// BlackholeToServer holds back what clients send.
func (p *Proxy) BlackholeToServer() { p.hold(toServer) }

// BlackholeToClient holds back what the server answers: it executes commands and nobody hears of it.
func (p *Proxy) BlackholeToClient() { p.hold(toClient) }

func (p *Proxy) hold(direction int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holds[direction] == nil {
		p.holds[direction] = make(chan struct{})
	}
}

// Restore ends blackholes, delays and refusals.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, hold := range p.holds {
		if hold != nil {
			close(hold)
			p.holds[i] = nil
		}
	}
	p.delay = 0
	p.refusing = false
}

// Refuse closes new connections at once. Those that exist go on: CutAll ends them.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
}

// CutAll closes every connection. What was held back on them is lost.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// Point makes new connections go to another server, and closes those that exist.
func (p *Proxy) Point(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.CutAll()
}

// Delay makes each piece of data take d longer, in each direction.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	if !p.keep(client) {
		return
	}
	defer p.forget(client)
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !p.keep(server) {
		return
	}
	defer p.forget(server)
	var both sync.WaitGroup
	both.Go(func() { p.pump(server, client, toServer) })
	both.Go(func() { p.pump(client, server, toClient) })
	both.Wait()
}

func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
	}
	if p.refusing {
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *Proxy) forget(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

func (p *Proxy) pump(dst, src net.Conn, direction int) {
	defer func() {
		_ = dst.Close()
		_ = src.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if !p.pass(direction) { // an end of the stream is held back like what it ends
			return
		}
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// pass waits until data may go on in a direction, and answers false when the test has ended.
func (p *Proxy) pass(direction int) bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.done:
			return false
		}
	}
	for {
		p.mu.Lock()
		hold := p.holds[direction]
		p.mu.Unlock()
		if hold == nil {
			return true
		}
		select {
		case <-hold:
		case <-p.done:
			return false
		}
	}
}
