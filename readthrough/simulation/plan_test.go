package simulation_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// plan is what a seed decides beforehand.
type plan struct {
	seed                           uint64
	processes, records, partitions int
	versioned, logged              bool
	bound                          time.Duration // B
	span                           time.Duration // how long there is load
	timeout                        time.Duration // of a step of a call
	far                            []time.Duration
	odds                           odds
	weather                        [][]spell // of each process's network
	blows                          []blow
}

// odds are the chances of a single message, whatever the weather.
type odds struct{ cut, late, lost, twice float64 }

// sky is what the network of a process is like for a while.
type sky uint8

const (
	clear   sky = iota
	distant     // every message takes longer
	slow        // a few bytes at a time
	dumb        // nothing reaches the server
	deaf        // nothing comes from it
	black       // neither, and nobody can connect
	torn        // connections are reset again and again
	lossy       // messages of the bus are lost
	echoing     // … come twice
	lagging     // … come late
	skies
)

var skyNames = [...]string{"fair", "distant", "slow", "dumb", "deaf", "black", "torn", "lossy", "echoing", "lagging"}

func (s sky) String() string { return skyNames[s] }

// spell is a time of other weather.
type spell struct {
	sky         sky
	from, until time.Duration
	// heals: what was sent meanwhile over a half open connection comes after all, when it is over. Otherwise the connection
	// stays as it is.
	heals bool
}

// harm is what happens to the server.
type harm uint8

const (
	flush    harm = iota // FLUSHALL
	loss                 // a key is gone
	restart              // connections, memory and scripts are gone
	failover             // another server goes on from what this one held some time ago
	harms
)

var harmNames = [...]string{"flush", "loss", "restart", "failover"}

func (h harm) String() string { return harmNames[h] }

// blow is one harm.
type blow struct {
	harm harm
	at   time.Duration
	pick uint64 // which key
	back time.Duration
}

// newPlan draws the plan of a seed.
func newPlan(seed uint64, span time.Duration) plan {
	d := dice(seed, "plan")
	p := plan{
		seed: seed, span: span,
		processes: 2 + d.IntN(3), records: 2 + d.IntN(4), partitions: 1,
		versioned: d.IntN(2) == 0,
		bound:     time.Duration(60+30*d.IntN(6)) * time.Millisecond,
		timeout:   time.Duration(40+55*d.IntN(4)) * time.Millisecond,
	}
	if d.IntN(4) == 0 {
		p.partitions = 2
	}
	p.logged = p.versioned && d.IntN(4) == 0
	rough := []float64{0, 0.3, 1, 3}[d.IntN(4)]
	p.odds = odds{cut: 0.002 * rough, late: 0.01 * rough, lost: 0.03 * rough, twice: 0.03 * rough}
	for range p.processes {
		p.far = append(p.far, time.Duration(20+d.IntN(1500))*time.Microsecond)
		p.weather = append(p.weather, p.spells(d))
	}
	if d.IntN(2) == 0 {
		for at := between(d, 0, span/2); at < span; at += between(d, 100*time.Millisecond, span) {
			p.blows = append(p.blows, blow{
				harm: harm(d.IntN(int(harms))), at: at, pick: d.Uint64(), back: between(d, time.Millisecond, 2*p.bound),
			})
		}
	}
	return p
}

// spells draws the weather of one process's network.
func (p *plan) spells(d *rand.Rand) (spells []spell) {
	for at := between(d, 0, p.span/2); at < p.span; {
		s := spell{sky: 1 + sky(d.IntN(int(skies)-1)), from: at, heals: d.IntN(2) == 0}
		s.until = at + between(d, p.bound/8, 5*p.bound/2)
		spells = append(spells, s)
		at = s.until + between(d, 10*time.Millisecond, p.span/2)
	}
	return spells
}

// at is the weather of a process at a time.
func (p *plan) at(process int, t time.Duration) spell {
	for _, s := range p.weather[process] {
		if s.from <= t && t < s.until {
			return s
		}
	}
	return spell{}
}

// String is the plan in some lines.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d processes, %d records, %d partitions, versions %t, log %t, B %s, timeout %s, odds %v, latencies %v\n",
		p.seed, p.processes, p.records, p.partitions, p.versioned, p.logged, p.bound, p.timeout, p.odds, p.far)
	for i, spells := range p.weather {
		for _, s := range spells {
			fmt.Fprintf(&b, "process %d: %s from %s to %s, heals %t\n", i, s.sky, s.from, s.until, s.heals)
		}
	}
	for _, blow := range p.blows {
		fmt.Fprintf(&b, "server: %s at %s\n", blow.harm, blow.at)
	}
	return b.String()
}

// dice are the random numbers of one purpose of a seed.
func dice(seed uint64, purpose string) *rand.Rand {
	var key [32]byte
	sum := sha256.Sum256([]byte(purpose))
	copy(key[8:], sum[:])
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.New(rand.NewChaCha8(key))
}

// between draws a duration, to the nanosecond.
func between(d *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(d.Int64N(int64(high-low)))
}

// happens says whether something of this chance happens.
func happens(d *rand.Rand, chance float64) bool { return d.Float64() < chance }

// inOrder are the keys of a map in their order.
func inOrder[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
