package explore

import (
	"cmp"
	"slices"
)

// normalise makes states equal that differ only in names, or in what no later event can tell apart.
func (x *explorer) normalise(s *state) {
	f := x.flaw
	x.forget(s)
	if f != NoGuardAtHit && f != LeaseReadAfterGuard {
		for p := range s.procs {
			for k, e := range s.procs[p].entries {
				if !e.sound {
					s.procs[p].entries[k] = entry{}
				}
			}
		}
	}
	if s.fills[1].nonce != 0 {
		slices.SortFunc(s.fills[:], func(a, b filling) int {
			return cmp.Or(cmp.Compare(b.version, a.version), cmp.Compare(a.key, b.key), cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.nonce, b.nonce))
		})
	}
	if f == NoncePerClient {
		return
	}
	var names [32]uint8
	next := uint8(1)
	rename := func(n *uint8) {
		if *n == 0 {
			return
		}
		if names[*n] == 0 {
			names[*n] = next
			next++
		}
		*n = names[*n]
	}
	for k := range maxKeys {
		rename(&s.redis.leases[k].nonce)
		rename(&s.image.leases[k].nonce)
	}
	for i := range s.fills {
		rename(&s.fills[i].nonce)
	}
	for p := range s.procs {
		rename(&s.procs[p].load.nonce)
	}
}

// nonce answers a name for a new acquisition.
func (s *state) nonce(p int, f Flaw) uint8 {
	if f == NoncePerClient {
		return uint8(p + 1)
	}
	return 31 // renamed when the event is over
}

// forget drops what only a Wait looks at, where there will be none, and the age of an invalidation where it no longer counts.
func (x *explorer) forget(s *state) {
	over := true
	for p := range s.procs {
		proc := &s.procs[p]
		if proc.change.stage != 0 || has(x.Writers, p) && int(s.version) < x.Versions {
			over = false
			continue
		}
		proc.suspect = 0
		if has(x.Renewers, p) {
			proc.setNumber(x.recs.apply(input{kind: inForget, rec: proc.number()}).rec)
		} else {
			proc.setNumber(0)
		}
	}
	if over {
		s.redis.regs, s.image.regs = [processes]registration{}, [processes]registration{}
	}
	for v := range s.changes {
		c := &s.changes[v]
		if c.age == 0 {
			continue
		}
		waited := true // and so required of every read
		for k := range x.Keys {
			waited = waited && (!c.keys.has(k) || int(s.inForce[k]) >= v)
		}
		if waited {
			c.age = uint8(x.Bound + 1)
			continue
		}
		for _, later := range s.changes[v+1:] {
			if later.age >= c.age && later.keys&c.keys == c.keys {
				c.age = 1 // the later one requires more, and no later
			}
		}
	}
}
