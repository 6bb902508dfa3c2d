package main

import "github.com/layercache/layercache/stores/policy"

// The parent and a child speak in lines of JSON: orders on the child's stdin, notices on its stdout. The child ends when
// its stdin does, so no child outlives its parent.

// verb is what an order asks for.
type verb string

const (
	orderOpen   verb = "open"   // open the stores; answered by ready
	orderStart  verb = "start"  // begin to decide; answered by decisions, several times a second
	orderWatch  verb = "watch"  // check a permission again and again; answered by watching, after the first check
	orderReport verb = "report" // its revocation has returned: check some more, then answer history
	orderStop   verb = "stop"   // decide no more; answered by result
)

// order is a line from the parent.
type order struct {
	Verb       verb        `json:"verb"`
	Setting    *setting    `json:"setting,omitempty"`    // of open
	Permission *permission `json:"permission,omitempty"` // of watch
}

// setting is what a child needs to know. It may hold passwords, and is therefore not on a command line.
type setting struct {
	Number      int            `json:"number"`
	RedisURL    string         `json:"redis_url"`
	DatabaseURL string         `json:"database_url"`
	Tenant      string         `json:"tenant"`
	Mask        policy.AgentID `json:"mask"`
}

// fact is what a notice tells.
type fact string

const (
	noticeReady     fact = "ready"
	noticeDecisions fact = "decisions" // so far
	noticeWatching  fact = "watching"
	noticeHistory   fact = "history" // of the watched permission, which is not checked any more
	noticeResult    fact = "result"
	noticeBroken    fact = "broken" // the child cannot go on
)

// notice is a line from a child.
type notice struct {
	Fact      fact    `json:"fact"`
	Decisions int64   `json:"decisions,omitempty"`
	History   []check `json:"history,omitempty"`
	Result    *result `json:"result,omitempty"`
	Error     string  `json:"error,omitempty"`
}

// result is what a child has seen from start to stop.
type result struct {
	Seconds  float64          `json:"seconds"`
	Tiers    [tiers]tierCount `json:"tiers"`
	Failed   trouble          `json:"failed"`     // decisions that were errors
	Reported trouble          `json:"background"` // failures that the library reported behind the callers
	Again    [][]check        `json:"again"`      // at the end: each revoked permission in their order, past L1 too
}

// trouble counts failures and keeps the first.
type trouble struct {
	Count int64  `json:"count"`
	First string `json:"first,omitempty"`
}

func (t *trouble) add(text string) {
	if t.Count++; t.Count == 1 {
		t.First = text
	}
}
