package faults_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/readthrough/history"
)

// stage is what a scenario plays on.
type stage struct {
	client  func(i int) redis.UniversalClient
	change  func(i int, cfg *readthrough.Config[int, uint64])
	bound   time.Duration // that is claimed; 0: B
	never   []int         // the process that never gets a lease
	writers int           // how many processes write, from the first; 0: all
	// split says that there are two primaries for a while. Then nothing but the bound is promised.
	split bool
	// fault happens under load, again and again until the scenario's time is over.
	fault func(t testing.TB)
}

// play runs a stage with an authority that has versions, and with one that has none.
func play(t *testing.T, set func(t testing.TB) stage) {
	t.Helper()
	for _, versioned := range []bool{false, true} {
		t.Run(fmt.Sprintf("versions=%t", versioned), func(t *testing.T) {
			if versioned && testing.Short() {
				t.Skip("one of the two in short mode")
			}
			s := set(t)
			if s.bound == 0 {
				s.bound = bound
			}
			if s.writers == 0 {
				s.writers = processes
			}
			w := newWorld(t, versioned, s)
			w.writers = w.caches[:s.writers]
			w.serving(s.never...)
			stop := w.load(t.Context())
			until := time.After(duration(t) / 2) // of each half
			rounds := 0
			for over := false; !over || rounds == 0; rounds++ {
				pass(2 * bound / 3)
				s.fault(t)
				select {
				case <-until:
					over = true
				default:
				}
			}
			pass(2 * bound / 3)
			w.serving(s.never...)
			stop()
			judge(t, s, w.history.Check(s.bound), rounds)
		})
	}
}

func judge(t *testing.T, s stage, r history.Report, rounds int) {
	t.Helper()
	t.Logf("%d faults, %s claimed: %s", rounds, s.bound, r)
	for _, v := range r.Violations {
		if !s.split || v.Promise != "in force" {
			t.Fatal("a promise was broken")
		}
	}
	if r.Failed > 0 {
		t.Error("reads failed though the authority answers")
	}
	if r.Old == 0 || r.Writes < 10 || r.Reads < 100 {
		t.Error("the run proves nothing")
	}
}

// on is a stage over one server.
func on(server *redistest.Server, fault func(t testing.TB)) stage {
	return stage{client: func(int) redis.UniversalClient { return server.Client() }, fault: fault}
}

func TestAServerIsKilledAndComesBackEmpty(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		return on(server, func(testing.TB) {
			server.Kill()
			pass(bound / 2)
			server.Restart()
		})
	})
}

func TestAServerIsKilledAndComesBackWithAnOldState(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		return on(server, func(testing.TB) {
			server.Do("SAVE")
			pass(bound)
			server.Kill()
			server.Restart()
		})
	})
}

func TestTheStateIsFlushed(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		return on(server, func(testing.TB) { server.Do("FLUSHALL") })
	})
}

func TestAnyKeyIsDeletedAtAnyTime(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		return on(server, func(testing.TB) {
			for range 20 {
				if keys, _ := server.Do("KEYS", "lc:*").([]any); len(keys) > 0 {
					server.Do("DEL", keys[rand.IntN(len(keys))])
				}
				pass(10 * time.Millisecond)
			}
		})
	})
}

func TestTheMemoryIsFull(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		return on(server, func(testing.TB) {
			server.Do("CONFIG", "SET", "maxmemory", "1")
			pass(bound)
			server.Do("CONFIG", "SET", "maxmemory", "0")
		})
	})
}

func TestTheMemoryIsFullAndAnyKeyEvicted(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
		return on(server, func(testing.TB) {
			server.Do("CONFIG", "SET", "maxmemory", "1")
			pass(bound)
			server.Do("CONFIG", "SET", "maxmemory", "0")
		})
	})
}

func TestTheBusIsDisconnected(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		return on(server, func(testing.TB) {
			for range 5 {
				server.Do("CLIENT", "KILL", "TYPE", "pubsub")
				pass(20 * time.Millisecond)
			}
		})
	})
}

func TestTheServerHangs(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		return on(server, func(testing.TB) {
			server.Stop()
			pass(2 * bound)
			server.Cont()
		})
	})
}

// as is a stage whose processes have rights that lack some.
func as(t testing.TB, rights ...any) stage {
	t.Helper()
	server := redistest.Start(t)
	server.Do(append([]any{"ACL", "SETUSER", "few", "on", ">word", "~*", "&*", "+@all"}, rights...)...)
	return stage{
		client: func(int) redis.UniversalClient { return server.ClientAs("few", "word") },
		fault:  func(testing.TB) { server.Do("FLUSHALL") },
	}
}

func TestAUserMayNotPublish(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		return as(t, "-publish")
	})
}

func TestAUserMayNotSeeTheReplicationID(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		return as(t, "-info")
	})
}

// through is a stage whose last process reaches the server over a network that fails.
func through(t testing.TB, fault func(p *redistest.Proxy)) stage {
	t.Helper()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	return stage{
		client: func(i int) redis.UniversalClient {
			if i == processes-1 {
				return proxy.Client()
			}
			return server.Client()
		},
		fault: func(testing.TB) { fault(proxy) },
	}
}

func TestTheNetworkOfOneProcessIsCutSilently(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		return through(t, func(p *redistest.Proxy) {
			p.Blackhole()
			pass(3 * bound)
			p.Restore()
		})
	})
}

func TestTheNetworkOfOneProcessIsHalfOpen(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		return through(t, func(p *redistest.Proxy) {
			p.BlackholeToClient()
			pass(2 * bound)
			p.Restore()
			p.BlackholeToServer()
			pass(2 * bound)
			p.Restore()
		})
	})
}

func TestTheConnectionsOfOneProcessAreReset(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		return through(t, func(p *redistest.Proxy) {
			for range 10 {
				p.CutAll()
				pass(20 * time.Millisecond)
			}
		})
	})
}

func TestTheNetworkOfOneProcessIsSlow(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		return through(t, func(p *redistest.Proxy) {
			p.Delay(60 * time.Millisecond)
			pass(2 * bound)
			p.Delay(0)
		})
	})
}

func TestAProcessIsConfiguredOtherwise(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		server := redistest.Start(t)
		s := on(server, func(testing.TB) { pass(bound / 2) })
		s.never, s.writers = []int{processes - 1}, processes-1
		s.change = func(i int, cfg *readthrough.Config[int, uint64]) {
			if i == processes-1 {
				cfg.Partitions = 4
			}
		}
		return s
	})
}
