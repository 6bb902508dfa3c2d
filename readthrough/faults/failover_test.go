package faults_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
)

// promoted waits until a replica is the primary.
func promoted(t testing.TB, replica *redistest.Server) {
	t.Helper()
	role(t, replica, "role:master")
}

// follows waits until a server is a replica that has everything.
func follows(t testing.TB, server *redistest.Server) {
	t.Helper()
	role(t, server, "role:slave", "master_link_status:up")
}

func role(t testing.TB, server *redistest.Server, says ...string) {
	t.Helper()
	redistest.Eventually(t, patience, says[0], func() bool {
		info, _ := server.Do("INFO", "replication").(string)
		for _, s := range says {
			if !strings.Contains(info, s) {
				return false
			}
		}
		return true
	})
}

func TestSentinelsReplaceAKilledPrimary(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		s := redistest.StartSentinels(t)
		return stage{
			client: func(int) redis.UniversalClient { return s.Client() },
			fault:  func(testing.TB) { s.FailOver() },
		}
	})
}

func TestAClusterReplacesAKilledPrimary(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		c := redistest.StartCluster(t)
		c.AddReplicas()
		n := 0
		return stage{
			client: func(int) redis.UniversalClient { return c.Client() },
			fault: func(t testing.TB) {
				t.Helper()
				i := n % len(c.Nodes)
				n++
				c.Nodes[i].Kill()
				promoted(t, c.Replicas[i])
				pass(bound)
				c.Nodes[i].Restart()
				follows(t, c.Nodes[i])
				c.Nodes[i], c.Replicas[i] = c.Replicas[i], c.Nodes[i]
			},
		}
	})
}

func TestPartitionsMoveBetweenTheNodesOfACluster(t *testing.T) {
	play(t, func(t testing.TB) stage {
		t.Helper()
		c := redistest.StartCluster(t)
		there := map[int]*redistest.Server{}
		round := 0
		return stage{
			client: func(int) redis.UniversalClient { return c.Client() },
			fault: func(t testing.TB) {
				t.Helper()
				to := c.Nodes[round%2] // one direction at a time, as when a Cluster is made larger or smaller
				round++
				for part := range 16 { // those of a Cluster
					slot, from := c.Slot(fmt.Sprintf("{faults.%d}", part))
					if there[slot] != nil {
						from = there[slot]
					}
					if from != to {
						c.Move(slot, from, to)
						there[slot] = to
					}
				}
			},
		}
	})
}

// Two primaries: the old one keeps half of the clients while its replica is promoted behind its back. It refuses writes when
// no replica has answered for min-replicas-max-lag, which Redis counts in whole seconds and looks at once a second.
func TestAPrimaryIsReplacedBehindItsBack(t *testing.T) {
	const lag = time.Second
	play(t, func(t testing.TB) stage {
		t.Helper()
		rules := []string{"--min-replicas-to-write", "1", "--min-replicas-max-lag", "1", "--repl-ping-replica-period", "1"}
		old := redistest.Start(t, append([]string{}, rules...)...)
		link := redistest.NewProxy(t, old.Addr()) // between the two
		next := redistest.Start(t)
		next.Do("REPLICAOF", "127.0.0.1", port(link.Addr()))
		follows(t, next)
		ways := []*redistest.Proxy{redistest.NewProxy(t, old.Addr()), redistest.NewProxy(t, old.Addr())}
		done := false
		return stage{
			client: func(i int) redis.UniversalClient { return ways[i/2].Client() },
			bound:  lag + 2*time.Second + bound, split: true, writers: 2,
			fault: func(t testing.TB) {
				t.Helper()
				if done {
					pass(bound)
					return
				}
				done = true
				link.Blackhole()
				next.Do("REPLICAOF", "NO", "ONE")
				ways[0].Point(next.Addr()) // those who write; the others stay
				pass(lag + 3*time.Second + bound)
				ways[1].Point(next.Addr())
			},
		}
	})
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
