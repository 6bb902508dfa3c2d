package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"
)

// report is what is shown at the end.
type report struct {
	dimensions struct {
		agent, team, tenant int64 // of agents and teams the busiest
		refused             [3]int64
	}
	paces         []pace
	exact, leased []result
	spent         int64 // by leases
	windows       int64 // at most so many may have begun
}

type pace struct {
	part    part
	allowed int64
	slots   []int64
}

// print writes it all at once.
func (r *report) print(out io.Writer, cfg config, total time.Duration, proved bool) error {
	where := "an embedded Redis"
	if cfg.redisURL != "" {
		where = "the Redis of REDIS_URL"
	}
	var b bytes.Buffer
	d := r.dimensions
	fmt.Fprintf(&b, "%d processes share limits in %s\n\n", cfg.processes, where)
	fmt.Fprintf(&b, "dimensions   %d agents in %d teams of one tenant act until refused; three limits, one round trip, all or nothing\n",
		agents, teams)
	fmt.Fprintf(&b, "             tenant %s of %s, busiest team %d of %d, busiest agent %d of %d\n",
		grouped(d.tenant), grouped(tenantLimit.Max), d.team, teamLimit.Max, d.agent, agentLimit.Max)
	fmt.Fprintf(&b, "             refused at last by the agent's limit %d times, the team's %d, the tenant's %d\n\n",
		d.refused[0], d.refused[1], d.refused[2])
	fmt.Fprintf(&b, "pace         %d in %s, as fast as it goes; allowed in each %s:\n", fixedPace.Max, fixedPace.Window, slot)
	for _, p := range r.paces {
		fmt.Fprintf(&b, "             %-7s", p.part)
		for _, n := range p.slots[:min(len(p.slots), 20)] {
			fmt.Fprintf(&b, "%4d", n)
		}
		fmt.Fprintf(&b, "   %s in all\n", grouped(p.allowed))
	}
	b.WriteString("\nspeed        process   exact decisions/s   leased decisions/s\n")
	var exact, leased float64
	for i := range r.leased {
		e, l := r.exact[i].rate(), r.leased[i].rate()
		exact, leased = exact+e, leased+l
		fmt.Fprintf(&b, "             %7d   %17s   %18s\n", i+1, grouped(int64(e)), grouped(int64(l)))
	}
	fmt.Fprintf(&b, "             %7s   %17s   %18s   %s times\n",
		"all", grouped(int64(exact)), grouped(int64(leased)), grouped(int64(leased/max(exact, 1))))
	fmt.Fprintf(&b, "leases       spent %s, where at most %d windows of %s may have begun\n",
		grouped(r.spent), r.windows, grouped(leasedLimit.Max))
	outcome := "proved: no limit was exceeded"
	if !proved {
		outcome = "FAILED"
	}
	fmt.Fprintf(&b, "\n%s (%.1f s)\n", outcome, total.Seconds())
	_, err := out.Write(b.Bytes())
	return err
}

func (r result) rate() float64 { return float64(r.Decisions) / r.Took.Seconds() }

// grouped writes a number with commas.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
