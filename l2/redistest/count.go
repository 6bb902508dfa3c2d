package redistest

import (
	"context"
	"maps"
	"regexp"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Commands counts commands by their lower-case name, as the server saw them, those that scripts ran included.
type Commands map[string]int64

var commandStat = regexp.MustCompile(`(?m)^cmdstat_([^:]+):calls=(\d+),`)

// CountCommands reads the server's own count. It needs a real server.
func CountCommands(t testing.TB, client redis.UniversalClient) Commands {
	t.Helper()
	info, err := client.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatalf("redistest: commandstats: %v", err)
	}
	counted := Commands{}
	for _, m := range commandStat.FindAllStringSubmatch(info, -1) {
		counted[m[1]], _ = strconv.ParseInt(m[2], 10, 64)
	}
	return counted
}

// Since is what was counted after before, without INFO, which the counting itself and every script runs.
func (c Commands) Since(before Commands) Commands {
	since := maps.Clone(c)
	for name, n := range before {
		since[name] -= n
	}
	delete(since, "info")
	maps.DeleteFunc(since, func(_ string, n int64) bool { return n == 0 })
	return since
}

// Scripts is how many script calls there are.
func (c Commands) Scripts() int64 { return c["eval"] + c["evalsha"] }
