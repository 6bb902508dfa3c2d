package sqlsource_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/layercache/layercache/stores/sqlsource"
)

// proxy stands between a pool and PostgreSQL. While swallow is set the server's answers get lost.
type proxy struct {
	addr    string
	swallow atomic.Bool
	mu      sync.Mutex // guards conns
	conns   []net.Conn
}

func newProxy(t testing.TB, rawURL string) *proxy {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: listener.Addr().String()}
	var running sync.WaitGroup
	pipe := func(to, from net.Conn, answers bool) {
		defer to.Close()
		defer from.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if answers && p.swallow.Load() {
				continue
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", u.Host)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			running.Go(func() { pipe(client, server, true) })
			running.Go(func() { pipe(server, client, false) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		running.Wait()
	})
	return p
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.(io.Closer).Close()
	}
	p.conns = nil
}

// url is the database's URL by way of the proxy.
func (p *proxy) url(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.addr
	return u.String()
}

func (p *proxy) table(t testing.TB, rawURL string) *sqlsource.Table {
	t.Helper()
	_, _, table := (&database{dialect: sqlsource.Postgres, url: p.url(t, rawURL)}).open(t)
	return table
}
