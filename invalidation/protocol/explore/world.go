package explore

// World is a small size of everything, whose every interleaving is explored.
type World struct {
	Name string
	// Keys (1 or 2) and Versions (1 to 3) of the authority; it begins at version 1.
	Keys     int
	Versions int
	// Bound is B in ticks.
	Bound int
	// Budget is how many events of Faults may happen in one run.
	Budget int
	// Events are what may happen.
	Events Events
	// Writers, Readers and Renewers are the processes that commit, load, and hold leases; process p is bit p. What the others of
	// two equal processes would do is explored with the roles exchanged.
	Writers, Readers, Renewers uint8
	// Cold: the processes have just begun. Otherwise both hold a lease of the first epoch.
	Cold bool
	// Unversioned: the authority answers no versions; fences say nothing.
	Unversioned bool
	// Weak: Redis hides its replication id. Only what the authority's poll promises is checked then.
	Weak bool
	// Tokens: loads may ask for a version.
	Tokens bool
	// MaxDepth ends the exploration at a depth; 0: where there is nothing new.
	MaxDepth int
	// MaxStates ends it at that many states; 0: where there is nothing new.
	MaxStates int
}

// explorer is one exploration of a World.
type explorer struct {
	World
	flaw  Flaw
	recs  *receivers
	loads loads
	sat   uint8 // ticks after which a Wait's lease has run out: older is all the same

	steps []step // of the state being expanded, reused
}

func newExplorer(w World, f Flaw) *explorer {
	x := &explorer{World: w, flaw: f, recs: newReceivers(w.Bound, f), loads: newLoads()}
	x.sat = ticks(x.recs.horizon)
	return x
}

// initial is where every run begins.
func (x *explorer) initial() state {
	s := state{version: 1}
	for p := range s.procs {
		s.procs[p].polled = 1
	}
	if x.Weak {
		s.replid = hidden
	}
	if x.Cold {
		return s
	}
	for p := range s.procs {
		if !has(x.Renewers, p) {
			continue
		}
		// As two renewals leave it: the first learns the epoch, the second registers it.
		for range 2 {
			x.apply(&s, step{kind: bit(RenewSend), p: uint8(p)})
			x.apply(&s, step{kind: bit(RenewExecuted), p: uint8(p)})
			x.apply(&s, step{kind: bit(RenewAnswered), p: uint8(p)})
		}
	}
	for p := range s.procs {
		x.learn(&s, p, s.redis.epoch)
	}
	x.normalise(&s)
	return s
}

// server is Redis as it is now.
func (x *explorer) server(s *state) server {
	return server{redis: &s.redis, replid: s.replid, fresh: s.epochs + 1, flaw: x.flaw}
}

// asOf is a version as the protocol is told it.
func (x *explorer) asOf(version uint8) uint8 {
	if x.Unversioned {
		return 0
	}
	return version
}

// settle notes a new epoch after a script.
func (s *state) settle() { s.epochs = max(s.epochs, s.redis.epoch) }

// receive gives a process's receiver an event and carries out what it asks for, in its order. Readers run beside it: hits are checked
// after each action.
func (x *explorer) receive(s *state, p int, in input) (wrong string) {
	proc := &s.procs[p]
	in.rec = proc.number()
	out := x.recs.apply(in)
	proc.setNumber(out.rec)
	for _, a := range out.actions {
		switch a.kind {
		case actEvict:
			if x.flaw == AckBeforeEvict {
				proc.deferred |= a.keys
				continue
			}
			proc.void(a.keys)
		case actFlush:
			proc.void(everyKey)
		case actLease:
			proc.lease = a.left
		case actReset:
			proc.reset = a.epoch
		}
		if wrong := x.checkHits(s, p); wrong != "" {
			return wrong
		}
	}
	return ""
}

// void breaks the guards of keys.
func (p *process) void(keys mask) {
	for k := range maxKeys {
		if keys.has(k) {
			p.entries[k].sound = false
		}
	}
	if keys.has(int(p.load.key)) {
		p.load.sound = false
	}
}

// learn notes the epoch of an answer.
func (x *explorer) learn(s *state, p int, epoch uint8) string {
	return x.receive(s, p, input{kind: inObserve, epoch: epoch})
}

func (x *explorer) knows(p *process) known { return x.recs.all[p.number()] }

// newest is the highest version that satisfies ok and changed the key.
func (s *state) newest(key int, ok func(v uint8, c change) bool) uint8 {
	for v := s.version; v > 1; v-- {
		if c := s.changes[v]; c.keys.has(key) && ok(v, c) {
			return v
		}
	}
	return 0
}

// executed is the version of the newest invalidation of the key that a server has executed.
func (s *state) executed(key int) uint8 {
	return s.newest(key, func(_ uint8, c change) bool { return c.age != 0 })
}

// settled is the same for those executed B ago or earlier.
func (x *explorer) settled(s *state, key int) uint8 {
	return s.newest(key, func(_ uint8, c change) bool { return int(c.age) > x.Bound })
}
