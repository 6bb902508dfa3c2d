package redistest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
)

// Cluster is a Redis Cluster of three primaries of the test's own.
type Cluster struct {
	// Nodes are its primaries at first, each with a third of the slots.
	Nodes []*Server
	// Replicas are those of Nodes, in their order, once there are some.
	Replicas []*Server

	t testing.TB
}

// slots of a Redis Cluster.
const slots = 16384

// nodeTimeout is after how many milliseconds a node that does not answer is taken for failed.
const nodeTimeout = 2000

// StartCluster starts three servers as one Redis Cluster. They are killed when the test ends.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range 3 {
		node := c.join()
		node.Do("CLUSTER", "ADDSLOTSRANGE", slots*i/3, slots*(i+1)/3-1)
		c.Nodes = append(c.Nodes, node)
	}
	c.settle()
	return c
}

// join starts a node and makes it known to the first one.
func (c *Cluster) join() *Server {
	c.t.Helper()
	bus := freePort(c.t) // of the nodes' own connections
	node := Start(c.t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", strconv.Itoa(nodeTimeout))
	if len(c.Nodes) > 0 {
		node.Do("CLUSTER", "SET-CONFIG-EPOCH", len(c.Nodes)+len(c.Replicas)+1)
		c.Nodes[0].Do("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
	}
	return node
}

// settle waits until every node knows all of them, has a link to each and serves. What is published is not told to a node that
// still shakes hands.
func (c *Cluster) settle() {
	c.t.Helper()
	all := slices.Concat(c.Nodes, c.Replicas)
	known := fmt.Sprintf("cluster_known_nodes:%d\r", len(all))
	Eventually(c.t, 30*time.Second, "cluster", func() bool {
		for _, node := range all {
			info, _ := node.Do("CLUSTER", "INFO").(string)
			nodes, _ := node.Do("CLUSTER", "NODES").(string)
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, known) ||
				strings.Contains(nodes, "handshake") || strings.Count(nodes, " connected") != len(all) {
				return false
			}
		}
		return true
	})
}

// AddReplicas gives each primary a replica and waits until that follows.
func (c *Cluster) AddReplicas() {
	c.t.Helper()
	for range c.Nodes {
		c.Replicas = append(c.Replicas, c.join())
	}
	c.settle()
	for i, replica := range c.Replicas {
		primary := c.Nodes[i].Do("CLUSTER", "MYID")
		replica.Do("CLUSTER", "REPLICATE", primary)
		Eventually(c.t, 30*time.Second, "replica", replica.following)
	}
	for _, replica := range c.Replicas { // the others have heard of it
		Eventually(c.t, 30*time.Second, "roles", func() bool {
			return strings.Count(replica.Do("CLUSTER", "NODES").(string), "slave ") == len(c.Replicas)
		})
	}
}

// Move hands a slot over from one primary to another, live, key by key. Redis itself may forget who has a slot when slots
// are moved to and fro before every node has heard of it from the others.
func (c *Cluster) Move(slot int, from, to *Server) {
	c.t.Helper()
	c.beginMove(slot, from, to).End()
}

// Moving is a slot on its way from one primary to another.
type Moving struct {
	c        *Cluster
	slot     int
	from, to *Server
}

// BeginMove begins to hand the slot of a key over to another primary, for a test to go on with. The slot has not moved before.
func (c *Cluster) BeginMove(key string) *Moving {
	c.t.Helper()
	slot, from := c.Slot(key)
	return c.beginMove(slot, from, c.Nodes[(slices.Index(c.Nodes, from)+1)%len(c.Nodes)])
}

func (c *Cluster) beginMove(slot int, from, to *Server) *Moving {
	c.t.Helper()
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", from.Do("CLUSTER", "MYID"))
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", to.Do("CLUSTER", "MYID"))
	return &Moving{c: c, slot: slot, from: from, to: to}
}

// Keys hands over those keys that are chosen, and answers how many the slot had left before.
func (m *Moving) Keys(chosen func(key string) bool) int {
	m.c.t.Helper()
	keys, _ := m.from.Do("CLUSTER", "GETKEYSINSLOT", m.slot, 10_000).([]any)
	for _, key := range keys {
		if chosen(key.(string)) {
			m.from.Do("MIGRATE", "127.0.0.1", m.to.port, key, 0, 5000)
		}
	}
	return len(keys)
}

// End hands over the other keys and the slot.
func (m *Moving) End() {
	m.c.t.Helper()
	for m.Keys(func(string) bool { return true }) > 0 {
	}
	target := m.to.Do("CLUSTER", "MYID")
	// m.to is the first that knows, and the others need not wait to be told
	for _, node := range append([]*Server{m.to, m.from}, m.c.Nodes...) {
		node.Do("CLUSTER", "SETSLOT", m.slot, "NODE", target)
	}
}

// Slot is the slot of a key, and the primary that has it.
func (c *Cluster) Slot(key string) (int, *Server) {
	c.t.Helper()
	slot, _ := c.Nodes[0].Do("CLUSTER", "KEYSLOT", key).(int64)
	return int(slot), c.Nodes[int(slot)*3/slots]
}

// Client makes a client of the cluster. It is closed when the test ends.
func (c *Cluster) Client() redis.UniversalClient {
	c.t.Helper()
	var addrs []string
	for _, node := range c.Nodes {
		addrs = append(addrs, node.Addr())
	}
	return newClient(c.t, patient(l2.ClientConfig{Addrs: addrs, Mode: l2.Cluster}))
}
