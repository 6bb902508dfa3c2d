package simulation_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// host is the server.
type host struct {
	t    testing.TB
	mini *miniredis.Miniredis
	net  *network
	own  net.Conn // ours, which nothing befalls

	mu     sync.Mutex // guards the field below
	replID string
}

func newHost(t testing.TB, n *network, hook server.Hook) *host {
	t.Helper()
	s := &host{t: t, mini: miniredis.NewMiniRedis(), net: n, replID: strings.Repeat("1", 40)}
	s.mini.ClockTTL(true)
	var err error
	if s.own, err = s.mini.Dial(); err != nil {
		t.Fatal(err)
	}
	s.mini.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if hook != nil && hook(c, cmd, args...) {
			return true
		}
		if cmd != "INFO" {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		c.WriteBulk("# Replication\r\nrole:master\r\nmaster_replid:" + s.replID + "\r\n")
		return true
	})
	n.serve = s.mini.Server().ServeConn
	return s
}

// suffer is a harm that happens to the server.
func (s *host) suffer(ctx context.Context, b blow) {
	switch b.harm {
	case flush:
		s.mini.FlushAll()
	case loss:
		if keys := s.mini.Keys(); len(keys) > 0 {
			s.mini.Del(keys[b.pick%uint64(len(keys))])
		}
	case restart:
		s.net.cutAll()
		s.mini.FlushAll()
		s.forgetScripts()
	case failover:
		old := s.copy()
		s.net.pass(ctx, b.back)
		s.net.cutAll()
		s.restore(old)
		s.forgetScripts()
		s.mu.Lock()
		s.replID = fmt.Sprintf("%040x", b.pick)
		s.mu.Unlock()
	}
}

func (s *host) forgetScripts() {
	if _, err := io.WriteString(s.own, "*2\r\n$6\r\nSCRIPT\r\n$5\r\nFLUSH\r\n"); err != nil {
		s.t.Error(err)
	}
	if _, err := io.ReadFull(s.own, make([]byte, len("+OK\r\n"))); err != nil {
		s.t.Error(err)
	}
}

// stored is a key's value, a string or a hash, and its time to live.
type stored struct {
	text string
	hash map[string]string
	ttl  time.Duration
}

func (s *host) copy() map[string]stored {
	state := map[string]stored{}
	for _, key := range s.mini.Keys() {
		v := stored{ttl: s.mini.TTL(key)}
		if s.mini.Type(key) == "hash" {
			v.hash = map[string]string{}
			fields, _ := s.mini.HKeys(key)
			for _, f := range fields {
				v.hash[f] = s.mini.HGet(key, f)
			}
		} else {
			v.text, _ = s.mini.Get(key)
		}
		state[key] = v
	}
	return state
}

func (s *host) restore(state map[string]stored) {
	s.mini.FlushAll()
	for _, key := range inOrder(state) {
		v := state[key]
		for _, f := range inOrder(v.hash) {
			s.mini.HSet(key, f, v.hash[f])
		}
		if v.hash == nil {
			if err := s.mini.Set(key, v.text); err != nil {
				s.t.Error(err)
			}
		}
		if v.ttl > 0 {
			s.mini.SetTTL(key, v.ttl)
		}
	}
}

func (s *host) close() {
	_ = s.own.Close()
	s.mini.Close()
}
