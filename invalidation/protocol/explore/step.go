package explore

// apply lets one thing happen. It answers which invariant was broken on the way.
func (x *explorer) apply(s *state, st step) (wrong string) {
	p := int(st.p)
	proc := &s.procs[p]
	e := st.event()
	if Faults&e != 0 {
		s.faults++
	}
	switch e {
	case Tick:
		return x.pass(s)
	case RenewSend:
		knows := x.knows(proc)
		proc.renewal = renewing{stage: 1, epoch: knows.epoch, seq: knows.applied}
		return x.receive(s, p, input{kind: inBegin})
	case RenewExecuted:
		x.renew(s, p)
	case RenewAnswered:
		r := proc.renewal
		proc.renewal = renewing{}
		return x.receive(s, p, input{kind: inAnswer, epoch: r.atEpoch, seq: r.atSeq})
	case RenewFailed:
		proc.renewal = renewing{}
		return x.receive(s, p, input{kind: inFail})
	case Ask:
		x.server(s).ensure()
		s.settle()
		return x.learn(s, p, s.redis.epoch)
	case Leave:
		s.redis.regs[p] = registration{}
		x.changed(s, p)
		if x.flaw != AckOfLeftProcess {
			return x.receive(s, p, input{kind: inRevoke})
		}
	case Message:
		l := s.log[st.x]
		return x.receive(s, p, input{kind: inMessage, epoch: l.epoch, seq: l.seq, names: uint8(l.keys)})
	case Pure:
		if st.x == maxLog {
			return x.receive(s, p, input{kind: inPure, epoch: s.redis.epoch})
		}
		l := s.log[st.x]
		return x.receive(s, p, input{kind: inPure, epoch: l.epoch, seq: l.seq})
	case GapClosed:
		return x.receive(s, p, input{kind: inGap})
	case Evicts:
		proc.void(proc.deferred)
		proc.deferred = 0
	case Reset:
		old := proc.reset
		proc.reset = 0
		epoch, _ := x.server(s).reset(old)
		s.settle()
		return x.learn(s, p, epoch)
	case Crash:
		*proc = process{}
		s.redis.regs[p] = registration{}
		x.changed(s, p)
	case Commit:
		x.commit(s, p, named, 1<<st.x)
	case CommitMany:
		x.commit(s, p, many, 1<<st.x)
	case CommitAll:
		x.commit(s, p, everything, everyKey)
	case Invalidate:
		x.execute(s, p)
	case Invalidated:
		return x.answered(s, p)
	case InvalidateFails:
		x.failed(s, p)
	case Abandon:
		proc.change = changing{}
	case Poll:
		x.poll(s, p)
	case Polled:
		return x.polled(s, p)
	case SatOut:
		return x.inForce(s, p)
	case PollLog:
		proc.polling = s.version
	case PolledLog:
		return x.applyLog(s, p)
	default:
		if e&(HitBegins|HitEnds) != 0 {
			return x.hit(s, p, st)
		}
		if e&(LosingState|LosingIDs|FlushAll|Image|Failover|LeaseEnds) != 0 {
			x.lose(s, st)
			return ""
		}
		return x.applyLoad(s, st)
	}
	return ""
}

func (x *explorer) applyLoad(s *state, st step) string {
	p, proc := int(st.p), &s.procs[st.p]
	switch st.event() {
	case Look:
		x.begin(s, p, int(st.x), st.y, false)
	case LoadPast:
		x.begin(s, p, int(st.x), st.y, true)
	case LookAgain:
		x.look(s, p, proc.load.stage == lookingRefresh)
	case Looked:
		return x.looked(s, p, st.x == 1, false)
	case LookFailed:
		return x.looked(s, p, false, true)
	case Read:
		proc.load.loaded, proc.load.stage = s.version, readAnswering
	case ReadBehind:
		proc.load.loaded, proc.load.stage = s.version-1, readAnswering
	case Loaded:
		return x.loaded(s, p)
	case Join:
		proc.load.floor = max(proc.load.floor, x.floor(s, int(proc.load.key)))
	case LoadAtOnce:
		return x.atOnce(s, p, int(st.x))
	case Fill:
		x.fill(s, int(st.x))
	case FillLost:
		s.fills[st.x] = filling{}
	}
	return ""
}

// renew lets the server execute a renewal.
func (x *explorer) renew(s *state, p int) {
	r := &s.procs[p].renewal
	before := s.redis.acks
	r.atEpoch, r.atSeq = x.server(s).renew(p, registration{on: 1, epoch: r.epoch, seq: r.seq})
	r.stage = 2
	s.settle()
	x.changed(s, p)
	if s.redis.acks != before {
		x.changed(s, other(p))
	}
}

// changed notes that the registration of p is not the one that a waiter has seen.
func (x *explorer) changed(s *state, p int) {
	q := &s.procs[other(p)]
	q.suspect = 0
	q.change.same = false
}

// pass lets a tick pass.
func (x *explorer) pass(s *state) string {
	older := func(age *uint8) {
		if *age != 0 && *age <= x.sat {
			*age++
		}
	}
	for p := range s.procs {
		proc := &s.procs[p]
		if proc.lease > 0 {
			proc.lease--
		}
		older(&proc.change.answered)
		older(&proc.suspect)
		if proc.load.stage != 0 && proc.load.age < x.half() {
			proc.load.age++
		}
		if wrong := x.receive(s, p, input{kind: inTime}); wrong != "" {
			return wrong
		}
	}
	for v := range s.changes {
		if a := &s.changes[v].age; *a != 0 && int(*a) <= x.Bound {
			*a++
		}
	}
	return ""
}

// hit is one of the two reads of an L1 hit: the clock and the lease, and then the entry with its guard.
func (x *explorer) hit(s *state, p int, st step) string {
	proc := &s.procs[p]
	if st.event() == HitBegins {
		proc.hit = hitting{stage: 1, key: st.x, floor: x.floor(s, int(st.x)), version: proc.entries[st.x].version}
		return ""
	}
	h := proc.hit
	proc.hit = hitting{}
	version := h.version
	if x.flaw == LeaseReadAfterGuard {
		if proc.lease == 0 {
			return ""
		}
	} else {
		e := proc.entries[h.key]
		if version = e.version; !e.sound && x.flaw != NoGuardAtHit {
			return ""
		}
	}
	if version == 0 || version >= h.floor {
		return ""
	}
	return x.judge(s, p, int(h.key), version, h.floor, "L1")
}
