package explore

import "math/bits"

func has(set uint8, p int) bool { return set&(1<<p) != 0 }

func bit(e Events) uint8 { return uint8(bits.TrailingZeros64(uint64(e))) }

// enabled lists what may happen next.
func (x *explorer) enabled(s *state) []step {
	x.steps = x.steps[:0]
	add := func(ok bool, e Events, p, a, b int) {
		if ok && x.Events&e != 0 && (Faults&e == 0 || int(s.faults) < x.Budget) {
			x.steps = append(x.steps, step{bit(e), uint8(p), uint8(a), uint8(b)})
		}
	}
	add(true, Tick, 0, 0, 0)
	for p := range processes {
		x.enabledOf(s, p, add)
	}
	r := &s.redis
	add(r.epoch != 0, LoseEpoch, 0, 0, 0)
	add(r.counter != 0, LoseCounter, 0, 0, 0)
	add(r.birth != 0, LoseBirth, 0, 0, 0)
	add(r.acks != 0, LoseAcks, 0, 0, 0)
	add(r.epoch != 0, FlushAll, 0, 0, 0)
	for k := range x.Keys {
		add(r.values[k].version != 0, LoseValue, 0, k, 0)
		add(r.leases[k] != lease{}, LoseLease, 0, k, 0)
		add(r.leases[k].nonce != 0, LeaseEnds, 0, k, 0)
	}
	for i, f := range s.fills {
		add(f.nonce != 0, Fill, 0, i, 0)
		add(f.nonce != 0, FillLost, 0, i, 0)
	}
	add(s.imaged == 0 && int(s.faults) < x.Budget, Image, 0, 0, 0)
	add(s.imaged == 1, Failover, 0, 0, 0)
	return x.steps
}

func (x *explorer) enabledOf(s *state, p int, add func(ok bool, e Events, p, a, b int)) {
	proc := &s.procs[p]
	knows := x.knows(proc)

	renews := has(x.Renewers, p)
	add(renews && proc.renewal.stage == 0, RenewSend, p, 0, 0)
	add(has(x.Writers, p) && x.recs.all[proc.number()].rec.Seen != name(s.redis.epoch), Ask, p, 0, 0)
	add(proc.renewal.stage == 1, RenewExecuted, p, 0, 0)
	add(proc.renewal.stage == 2, RenewAnswered, p, 0, 0)
	add(proc.renewal.stage != 0, RenewFailed, p, 0, 0)
	add(proc.renewal.stage == 0 && s.redis.regs[p].on != 0, Leave, p, 0, 0)
	add(knows.due, GapClosed, p, 0, 0)
	add(proc.reset != 0, Reset, p, 0, 0)
	for i := range s.log[:s.logged] {
		add(renews, Message, p, i, 0)
		add(renews, Pure, p, i, 0)
	}
	add(x.flaw == MessageSetsEpoch && s.redis.epoch != 0, Pure, p, maxLog, 0)
	add(proc.deferred != 0, Evicts, p, 0, 0)
	add(knows.epoch != 0, Crash, p, 0, 0)

	if has(x.Readers, p) {
		x.enabledLoads(s, p, add)
	}

	c := &proc.change
	if has(x.Writers, p) && c.stage == 0 && int(s.version) < x.Versions {
		for k := range x.Keys {
			add(true, Commit, p, k, 0)
			add(true, CommitMany, p, k, 0)
		}
		add(true, CommitAll, p, 0, 0)
	}
	room := s.logged < maxLog
	add((c.stage == sending || c.stage == sendingAgain) && room, Invalidate, p, 0, 0)
	add(c.stage == answering || c.stage == answeringAgain, Invalidated, p, 0, 0)
	add(c.stage != 0 && c.stage != waiting, InvalidateFails, p, 0, 0)
	idle := c.stage == waiting && c.poll == 0
	add(idle, Abandon, p, 0, 0)
	add(idle && c.kind != everything, Poll, p, 0, 0)
	add(c.stage == waiting && c.poll == 1, Polled, p, 0, 0)
	add(idle && x.wait(c).Expired(0), SatOut, p, 0, 0)

	add(proc.polling == 0 && proc.polled < s.version, PollLog, p, 0, 0)
	add(proc.polling != 0, PolledLog, p, 0, 0)
}

func (x *explorer) enabledLoads(s *state, p int, add func(ok bool, e Events, p, a, b int)) {
	proc := &s.procs[p]
	l := &proc.load
	switch l.stage {
	case 0:
		for k := range x.Keys {
			past := x.pendingFor(s, p, k)
			add(!past, Look, p, k, 0)
			add(x.Events&ReadBehind == 0, LoadPast, p, k, 0) // an authority that is behind is held to a token then, and to nothing else
			add(true, LoadAtOnce, p, k, 0)
			if x.Tokens && s.version > 1 {
				add(!past, Look, p, k, int(s.version))
				add(true, LoadPast, p, k, int(s.version))
			}
		}
	case lookAnswering:
		add(true, Looked, p, 0, 0)
		add(l.reply.outcome == busy, Looked, p, 1, 0)
		add(true, LookFailed, p, 0, 0)
	case lookingAgain, lookingRefresh:
		add(true, LookAgain, p, 0, 0)
	case reading:
		add(true, Read, p, 0, 0)
		add(s.version > 1, ReadBehind, p, 0, 0)
	case readAnswering:
		room := !l.fills
		for _, f := range s.fills {
			room = room || f.nonce == 0
		}
		add(room, Loaded, p, 0, 0)
	}
	if l.stage != 0 && x.Events&Join != 0 {
		add(x.floor(s, int(l.key)) > l.floor && x.joinable(proc), Join, p, 0, 0)
	}
	for k := range x.Keys {
		e := proc.entries[k]
		if x.flaw == LeaseReadAfterGuard {
			add(proc.hit.stage == 0 && e.sound, HitBegins, p, k, 0)
		} else {
			add(proc.hit.stage == 0 && proc.lease > 0, HitBegins, p, k, 0)
		}
	}
	add(proc.hit.stage != 0, HitEnds, p, 0, 0)
}
