package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// line is one line of the output.
type line struct {
	AgentID  string   `json:"agent_id"`
	Document document `json:"document"`
}

// document is a policy in the order of fields of its contract. Owner and Reason are fields the library does not know.
type document struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	Rules   []rule `json:"rules"`
	Mode    string `json:"enforcement_mode,omitempty"`
	Owner   string `json:"owner,omitempty"`
}

type rule struct {
	Pattern  string `json:"action_pattern"`
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`
}

const (
	fewestRules = 3
	mostRules   = 40
)

// source draws numbers. It uses PCG's own output and none of the methods of rand.Rand, so that no release of Go changes
// what a seed gives.
type source struct{ pcg *rand.PCG }

func (s source) intn(n int) int          { return int(s.pcg.Uint64() % uint64(n)) }
func (s source) percent(p int) bool      { return s.intn(100) < p }
func (s source) pick(of []string) string { return of[s.intn(len(of))] }
func (s source) shuffle(names []string) {
	for i := len(names) - 1; i > 0; i-- {
		j := s.intn(i + 1)
		names[i], names[j] = names[j], names[i]
	}
}

// line makes the line of the i-th agent.
func (s source) line(i int) line {
	var id [16]byte
	for j := range id {
		id[j] = byte(s.intn(256))
	}
	r := roles[s.intn(len(roles))]
	d := document{
		Version: 1 + s.intn(60),
		Name:    fmt.Sprintf("%s-%s-%04d", r.name, s.pick([]string{"eu", "us", "ap"}), i),
		Rules:   s.rules(r, s.length()),
		Mode:    "enforce",
	}
	switch n := s.intn(100); {
	case n < 3:
		d.Mode = "observe"
	case n < 5:
		d.Mode = "disabled"
	case n < 35:
		d.Mode = "" // missing: enforce
	}
	if s.percent(40) {
		d.Owner = "team-" + r.team
	}
	return line{AgentID: hex.EncodeToString(id[:]), Document: d}
}

// length draws a number of rules: half of the documents have fewer than 15, one in fifty the most.
func (s source) length() int {
	n := s.intn(1000)
	return fewestRules + (mostRules-fewestRules+1)*n*(3*n+1000)/4_000_000
}

// rules makes n rules, of distinct patterns: what is denied first, then what needs approval, then what is allowed, then
// whole families of tools, and at last the rest, which is denied.
func (s source) rules(r role, n int) []rule {
	needed := slices.Clone(r.tools)
	s.shuffle(needed)
	first := slices.IndexFunc(needed, func(name string) bool { return find(name).risk == low })
	rules := []rule{{Pattern: "tool:" + needed[first], Decision: "Allow"}}
	seen := map[string]bool{rules[0].Pattern: true}
	var families []rule
	for at := 0; len(rules)+len(families) < n-1; at++ {
		t := tools[s.intn(len(tools))]
		if at < len(needed) || s.percent(60) {
			t = find(needed[at%len(needed)])
		}
		x := rule{Pattern: "tool:" + t.name}
		family, _, hasFamily := strings.Cut(t.name, ".")
		isFamily := hasFamily && s.percent(6)
		switch {
		case isFamily:
			x.Pattern = "tool:" + family + ".*"
		case at >= len(needed) || s.percent(45):
			x.Pattern += ":" + s.pick(t.resources)
		}
		if seen[x.Pattern] {
			continue
		}
		seen[x.Pattern] = true
		x.Decision = s.decision(t.risk)
		if x.Decision != "Allow" && s.percent(12) {
			x.Reason = s.pick([]string{"moves money", "touches production", "leaves the company", "cannot be undone", "personal data"})
		}
		if isFamily {
			families = append(families, x)
		} else {
			rules = append(rules, x)
		}
	}
	slices.SortStableFunc(rules, func(a, b rule) int { return rank(a) - rank(b) })
	rules = append(rules, families...)
	return append(rules, rule{Pattern: s.pick([]string{"*", "*", "tool:*"}), Decision: "Deny"})
}

func (s source) decision(r risk) string {
	asks, denies := 4, 4
	switch r {
	case medium:
		asks, denies = 25, 10
	case high:
		asks, denies = 55, 25
	}
	switch n := s.intn(100); {
	case n < asks:
		return "RequireApproval"
	case n < asks+denies:
		return "Deny"
	default:
		return "Allow"
	}
}

func rank(r rule) int {
	return slices.Index([]string{"Deny", "RequireApproval", "Allow"}, r.Decision)
}

func find(name string) tool {
	i := slices.IndexFunc(tools, func(t tool) bool { return t.name == name })
	if i < 0 {
		panic("generate: no tool named " + name)
	}
	return tools[i]
}
