package main

import "time"

// setting is told to a child first.
type setting struct {
	RedisURL  string
	Tenant    string
	Processes int64
}

// order is what the children are to do at the same time.
type order struct {
	Part     part
	Duration time.Duration
}

// part of the show.
type part string

const (
	dimensions part = "dimensions" // each agent acts until it is refused
	fixed      part = "fixed"      // spend the pace as fast as it allows
	smooth     part = "gcra"
	exact      part = "exact" // decide with a round trip each
	leased     part = "leased"
)

// result is what a child has seen in a part.
type result struct {
	Error     string
	Agents    [agents]int64 // allowed, of dimensions
	Refused   [3]int64      // by agent, team and tenant
	Slots     []int64       // allowed in each slot since the beginning, of a pace
	Allowed   int64
	Decisions int64
	Took      time.Duration
}
