package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/layercache/layercache/examples/quickstart/policies"
)

// report prints what was seen, in one write.
func (p *parent) report(out io.Writer, total time.Duration) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d processes decided for %s agents from %s and %s\n\n",
		p.cfg.children, grouped(policies.Count), p.redisName(), p.database)
	b.WriteString("                         answered by L1 (memory)         by L2 (Redis)              by L3 (SQL)\n")
	b.WriteString("process  decisions/s     ratio      p50      p99   ratio      p50      p99   answers      p50      p99\n")
	for i, r := range p.results {
		l1, l2, l3 := r.Tiers[inMemory], r.Tiers[inRedis], r.Tiers[inSQL]
		all := l1.Answers + l2.Answers + l3.Answers
		fmt.Fprintf(&b, "%7d  %11s  %8s %8s %8s %7s %8s %8s %9s %8s %8s\n", i+1, grouped(int64(float64(all)/r.Seconds)),
			percent(l1.Answers, all, 3), short(l1.P50), short(l1.P99),
			percent(l2.Answers, l2.Answers+l3.Answers, 1), short(l2.P50), short(l2.P99),
			grouped(l3.Answers), short(l3.P50), short(l3.P99))
	}
	b.WriteString("\nratio: of the reads that reach the tier, cold start included. L1: the mean of 16 hits in a row, one such in 64 timed;\n" +
		"L2 and L3: every answer, from the miss in L1 on, waiting for another process's load included.\n\n")

	took := p.inForce()
	fmt.Fprintf(&b, "revocations    %d, from the call of Put until in force in all %d processes: min %s, median %s, max %s\n", len(took),
		p.cfg.children, short(took[0]), short(took[len(took)/2]), short(took[len(took)-1]))
	fmt.Fprintf(&b, "old answers    %s before Put returned, %s of them while it was at work\n", grouped(p.tally.before), grouped(p.tally.during))
	fmt.Fprintf(&b, "stale          %s of %s checks that began after Put had returned\n", grouped(p.tally.stale), grouped(p.tally.after))
	for i, r := range p.results {
		if r.Reported.Count > 0 {
			fmt.Fprintf(&b, "background     %d failures in process %d, the first: %s\n", r.Reported.Count, i+1, r.Reported.First)
		}
	}
	outcome := "proved: no decision used a policy after its revocation had returned"
	if p.verdict() != nil {
		outcome = "FAILED"
	}
	fmt.Fprintf(&b, "\n%s (%.1f s)\n", outcome, total.Seconds())
	_, err := out.Write(b.Bytes())
	return err
}

// grouped writes a number with commas.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// percent of a whole, with so many decimals; "-" of nothing.
func percent(part, whole int64, decimals int) string {
	if whole == 0 {
		return "-"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', decimals, 64) + "%"
}

// short writes a duration with two or three digits; "-" for none.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + " ns"
	case d < time.Millisecond:
		return three(d, time.Microsecond) + " µs"
	case d < time.Second:
		return three(d, time.Millisecond) + " ms"
	}
	return three(d, time.Second) + " s"
}

func three(d, unit time.Duration) string {
	n := float64(d) / float64(unit)
	decimals := 1
	if n >= 100 {
		decimals = 0
	}
	return strconv.FormatFloat(n, 'f', decimals, 64)
}
