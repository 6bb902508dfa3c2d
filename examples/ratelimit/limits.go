package main

import (
	"fmt"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

// The limits of a tenant, of each of its teams and of each agent. Team 0 has many agents, team 2 a busy one, and together they
// want more than the tenant may.
const (
	agents = 12
	teams  = 3
)

// teamOf says whose an agent is, and hands how many of its actions go on at the same time in each process.
var (
	teamOf = [agents]int{6: 1, 7: 1, 8: 1, 9: 1, 10: 2, 11: 2}
	hands  = [agents]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4}
)

var (
	agentLimit  = ratelimit.Limit{Max: 120, Window: time.Hour}
	teamLimit   = ratelimit.Limit{Max: 400, Window: time.Hour}
	tenantLimit = ratelimit.Limit{Max: 950, Window: time.Hour}
)

const tenantKey = "tenant"

func teamKey(team int) string { return fmt.Sprintf("team:%d", team) }

// demands is what one action of an agent needs.
func demands(agent int) []ratelimit.Demand {
	return []ratelimit.Demand{
		{Key: fmt.Sprintf("agent:%d", agent), N: 1, Limit: agentLimit},
		{Key: teamKey(teamOf[agent]), N: 1, Limit: teamLimit},
		{Key: tenantKey, N: 1, Limit: tenantLimit},
	}
}

// The same pace, counted in two ways.
var (
	fixedPace  = ratelimit.Limit{Max: 100, Window: 500 * time.Millisecond}
	smoothPace = ratelimit.Limit{Max: 100, Window: 500 * time.Millisecond, Algorithm: ratelimit.GCRA, Burst: 10}
)

// slot is the resolution in which the pace is shown.
const slot = 100 * time.Millisecond

// leasedLimit is spent by leases. exactLimit is never reached: it is only asked.
var (
	leasedLimit = ratelimit.Limit{Max: 500_000, Window: 250 * time.Millisecond}
	exactLimit  = ratelimit.Limit{Max: 1 << 50, Window: time.Hour}
)
