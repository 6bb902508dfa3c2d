package redistest_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
)

func TestAClusterKeepsKeysOnEveryNodeAndMovesThem(t *testing.T) {
	cluster := redistest.StartCluster(t)
	client := cluster.Client()
	for i := range 100 {
		if err := client.Set(t.Context(), strconv.Itoa(i), "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, node := range cluster.Nodes {
		if n, _ := node.Do("DBSIZE").(int64); n < 10 || n > 60 {
			t.Errorf("node %d holds %d of 100 keys", i, n)
		}
	}
	slot, from := cluster.Slot("7")
	to := cluster.Nodes[0]
	if from == to {
		to = cluster.Nodes[1]
	}
	cluster.Move(slot, from, to)
	if v, err := client.Get(t.Context(), "7").Result(); v != "v" || err != nil {
		t.Fatal(v, err)
	}
	if keys, _ := to.Do("CLUSTER", "GETKEYSINSLOT", slot, 10).([]any); len(keys) != 1 {
		t.Fatalf("%v", keys)
	}
}

func TestAClusterFailsOver(t *testing.T) {
	cluster := redistest.StartCluster(t)
	cluster.AddReplicas()
	cluster.Nodes[1].Kill()
	takesOver(t, cluster.Replicas[1])
}

func TestSentinelsFailOver(t *testing.T) {
	sentinels := redistest.StartSentinels(t)
	client := sentinels.Client()
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	sentinels.FailOver()
	redistest.Eventually(t, 30*time.Second, "client", func() bool { return client.Set(t.Context(), "k", "w", 0).Err() == nil })
}

func takesOver(t *testing.T, replica *redistest.Server) {
	t.Helper()
	redistest.Eventually(t, 30*time.Second, "failover", func() bool {
		info, _ := replica.Do("INFO", "replication").(string)
		return strings.Contains(info, "role:master")
	})
}

func TestSentinelsFailOverAgainAndAgain(t *testing.T) {
	sentinels := redistest.StartSentinels(t)
	for range 3 {
		was := sentinels.Primary
		sentinels.FailOver()
		info, _ := sentinels.Primary.Do("INFO", "replication").(string)
		if sentinels.Replica != was || !strings.Contains(info, "role:master") || !strings.Contains(info, "connected_slaves:1") {
			t.Fatalf("%s", info)
		}
	}
}
