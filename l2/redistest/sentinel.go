package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
)

// Sentinels are a primary with a replica, watched by three Sentinels, all of the test's own.
type Sentinels struct {
	Primary, Replica *Server

	t       testing.TB
	watcher []*Server
}

const masterName = "test"

// StartSentinels starts a primary, a replica and three Sentinels, of which two must agree that the primary is gone: see FailOver.
// args are added to the command lines of primary and replica. All are killed when the test ends.
func StartSentinels(t testing.TB, args ...string) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t, Primary: Start(t, args...)}
	s.Replica = Start(t, append([]string{"--replicaof", "127.0.0.1 " + strconv.Itoa(s.Primary.port)}, args...)...)
	Eventually(t, 30*time.Second, "replica", s.Replica.following)
	for range 3 {
		dir := t.TempDir()
		file := filepath.Join(dir, "sentinel.conf")
		s.watcher = append(s.watcher, launch(t, dir, func(port int) []string {
			conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %[3]s 127.0.0.1 %[4]d 2\n"+
				"sentinel down-after-milliseconds %[3]s %[5]d\nsentinel failover-timeout %[3]s 10000\n",
				port, dir, masterName, s.Primary.port, never.Milliseconds())
			if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{file, "--sentinel"}
		}))
	}
	s.agree(s.Primary)
	return s
}

// FailOver kills the primary, waits until all Sentinels take the replica for the primary, brings the killed one back and waits until
// it follows. Primary and Replica are the other way round then.
//
// Only meanwhile is a primary taken for dead when it is silent for a second, which on a busy machine each is now and then: the
// Sentinels would replace one that lives by one that has just come back and is empty.
func (s *Sentinels) FailOver() {
	s.t.Helper()
	s.downAfter(time.Second)
	s.Primary.Kill()
	s.agree(s.Replica)
	s.downAfter(never)
	s.Primary.Restart()
	Eventually(s.t, time.Minute, "replica", s.Primary.following)
	s.Primary, s.Replica = s.Replica, s.Primary
}

const never = time.Hour

func (s *Sentinels) downAfter(silence time.Duration) {
	s.t.Helper()
	for _, w := range s.watcher {
		if answer := w.Do("SENTINEL", "SET", masterName, "down-after-milliseconds", silence.Milliseconds()); answer != "OK" {
			s.t.Fatalf("redistest: SENTINEL SET: %v", answer)
		}
	}
}

// agree waits until every Sentinel takes a server for the primary and knows of the replica. Until then a failover is not over: a
// primary that is killed in it is not replaced, and the one from before may become the primary again if it comes back.
func (s *Sentinels) agree(primary *Server) {
	s.t.Helper()
	want := fmt.Sprintf("status=ok,address=%s,slaves=1,sentinels=%d", primary.Addr(), len(s.watcher))
	for _, w := range s.watcher {
		Eventually(s.t, time.Minute, "Sentinel that knows the primary", func() bool {
			info, _ := w.Do("INFO", "sentinel").(string)
			return strings.Contains(info, want)
		})
	}
}

// Client makes a client that asks the Sentinels for the primary. It is closed when the test ends.
func (s *Sentinels) Client() redis.UniversalClient {
	s.t.Helper()
	var addrs []string
	for _, w := range s.watcher {
		addrs = append(addrs, w.Addr())
	}
	return newClient(s.t, l2.ClientConfig{Mode: l2.Sentinel, MasterName: masterName, Addrs: addrs})
}

// following says whether a replica has everything of its primary.
func (s *Server) following() bool {
	info, _ := s.Do("INFO", "replication").(string)
	return strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up")
}
