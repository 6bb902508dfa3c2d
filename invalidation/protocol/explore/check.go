package explore

import (
	"fmt"

	"github.com/layercache/layercache/invalidation/protocol"
)

const (
	actEvict = protocol.Evict
	actFlush = protocol.Flush
	actLease = protocol.Lease
	actReset = protocol.Reset
)

// check judges a state. It answers which invariant does not hold, "" if all do.
func (x *explorer) check(s *state) string {
	for p := range s.procs {
		if wrong := x.checkHits(s, p); wrong != "" {
			return wrong
		}
	}
	return x.checkValues(s)
}

// checkValues is I1: what a get would answer is not older than an invalidation that was executed.
func (x *explorer) checkValues(s *state) string {
	if x.Weak {
		return ""
	}
	r := s.redis // a copy: looking must not change the state
	for k := range x.Keys {
		if r.values[k].version == 0 {
			continue
		}
		srv := x.server(s)
		srv.redis = &r
		if a := srv.get(k, 0, false); a.outcome == hit && a.version < s.executed(k) {
			return fmt.Sprintf("I1: L2 answers version %d of %s, and the invalidation of version %d has been executed",
				a.version, keyName(k), s.executed(k))
		}
	}
	return ""
}

// checkHits judges what every key of a process would be answered from L1 now.
func (x *explorer) checkHits(s *state, p int) string {
	proc := &s.procs[p]
	for k := range x.Keys {
		e := proc.entries[k]
		if !x.hits(proc, e) {
			continue
		}
		if wrong := x.judge(s, p, k, e.version, x.floor(s, k), "L1"); wrong != "" {
			return wrong
		}
		if x.Weak || x.flaw == AckBeforeEvict { // the flaw breaks I2 by itself; what it leads to is wanted
			continue
		}
		knows := x.knows(proc)
		for _, l := range s.log[:s.logged] {
			if s.changes[l.version].keys.has(k) && l.epoch == knows.epoch && l.seq <= knows.applied && e.version < l.version {
				return fmt.Sprintf("I2: p%d answers version %d of %s from L1 after applying the invalidation of version %d",
					p, e.version, keyName(k), l.version)
			}
		}
	}
	return ""
}

// hits says whether L1 answers with an entry now.
func (x *explorer) hits(p *process, e entry) bool {
	return e.version != 0 && (e.sound || x.flaw == NoGuardAtHit) && (p.lease != 0 || x.flaw == NoServingLease)
}

// floor is what a read from memory that begins now must be answered at least: I4 what a Wait has returned for, I3 what was executed B ago.
func (x *explorer) floor(s *state, key int) uint8 {
	if x.Weak {
		return 0
	}
	return max(s.inForce[key], x.settled(s, key))
}

// judge compares an answer with what its reader must be given.
func (x *explorer) judge(s *state, p, key int, version, floor uint8, tier string) string {
	what := fmt.Sprintf("p%d is answered version %d of %s from %s", p, version, keyName(key), tier)
	switch known := s.procs[p].known[key]; {
	case version >= max(floor, known):
		return ""
	case version < known:
		return fmt.Sprintf("own writes and polls: %s, and it has itself invalidated or polled version %d", what, known)
	case version < s.inForce[key] && s.inForce[key] <= floor:
		return fmt.Sprintf("I4: %s, and the Wait for version %d had returned before", what, s.inForce[key])
	case tier == "L1":
		return fmt.Sprintf("I3: %s, and the invalidation of version %d was executed B or longer ago", what, floor)
	default:
		return fmt.Sprintf("I1: %s, and the invalidation of version %d had been executed before it began", what, floor)
	}
}

func keyName(k int) string { return string(rune('x' + k)) }
