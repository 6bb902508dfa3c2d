package explore

import (
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

// Stages of a change.
const (
	sending      uint8 = iota + 1 // the script is on its way
	answering                     // it was executed
	waiting                       // and answered
	sendingAgain                  // in a new epoch
	answeringAgain
)

// Kinds of a change.
const (
	named      uint8 = iota
	many             // the message names no ids
	everything       // the epoch is replaced
)

func (x *explorer) commit(s *state, p int, kind uint8, keys mask) {
	s.version++
	s.changes[s.version] = change{keys: keys}
	s.procs[p].change = changing{stage: sending, kind: kind, keys: keys, version: s.version}
}

// execute lets the server execute the invalidation.
func (x *explorer) execute(s *state, p int) {
	c := &s.procs[p].change
	srv := x.server(s)
	if c.kind == everything {
		c.epoch, c.seq = srv.reset(0)
	} else {
		c.epoch, c.seq = srv.invalidate(c.keys, x.asOf(c.version))
		names := c.keys
		if c.kind == many {
			names = everyKey
		}
		s.log[s.logged] = logged{c.epoch, c.seq, names, c.version}
		s.logged++
	}
	s.settle()
	if s.changes[c.version].age == 0 {
		s.changes[c.version].age = 1
	}
	c.stage++
}

// voidOwn drops what the process holds of its change: after the script, and before anybody is told.
func (x *explorer) voidOwn(s *state, p int) {
	proc := &s.procs[p]
	c := &proc.change
	for k := range maxKeys {
		if c.keys.has(k) {
			proc.known[k] = max(proc.known[k], c.version)
			if x.flaw != NoOwnVoid {
				proc.fence[k] = max(proc.fence[k], c.version)
			}
		}
	}
	if x.flaw != NoOwnVoid {
		proc.void(c.keys)
	}
}

// executed is the server's answer to an invalidation.
func (x *explorer) answered(s *state, p int) string {
	c := &s.procs[p].change
	if wrong := x.learn(s, p, c.epoch); wrong != "" {
		return wrong
	}
	x.voidOwn(s, p)
	c.stage, c.pending = waiting, false
	if c.answered == 0 {
		c.answered = 1
	}
	return x.checkHits(s, p)
}

// failed is an attempt that got no answer. The server may have executed it.
func (x *explorer) failed(s *state, p int) {
	c := &s.procs[p].change
	if c.stage >= sendingAgain {
		c.stage = waiting // the next poll says moved again
		return
	}
	c.stage, c.pending = sending, true
	x.voidOwn(s, p)
}

// wait is what the process waits for, with now at instant 0.
func (x *explorer) wait(c *changing) protocol.Wait {
	w := protocol.Wait{
		Epoch: name(c.epoch), Seq: uint64(c.seq), Longest: x.recs.bound, Everything: c.kind == everything,
		Answered: -protocol.Instant(time.Duration(c.answered-1) * tick),
	}
	if x.flaw == WaitShorterThanLease {
		w.Longest = 0
	}
	return w
}

// other is the process that is not p.
func other(p int) int { return 1 - p }

// poll lets the server say who has not acknowledged.
func (x *explorer) poll(s *state, p int) {
	proc := &s.procs[p]
	c := &proc.change
	q := other(p)
	var drop [processes]registration
	if proc.suspect > x.sat { // known for a lease and its margin
		drop[q] = s.redis.regs[q]
	}
	late := x.server(s).laggards(c.epoch, c.seq, p, drop)
	s.settle()
	c.poll, c.found, c.late, c.same = 1, s.redis.epoch, late[q], true
	c.asked = logged{epoch: c.epoch, seq: c.seq}
	if s.redis.regs[q].on == 0 {
		proc.suspect = 0
	}
}

// polled judges the answer.
func (x *explorer) polled(s *state, p int) string {
	proc := &s.procs[p]
	c := &proc.change
	if wrong := x.learn(s, p, c.found); wrong != "" {
		return wrong
	}
	switch {
	case c.late.on == 0:
		proc.suspect = 0
	case c.same && proc.suspect == 0:
		proc.suspect = 1
	}
	poll := protocol.Poll{Asked: name(c.asked.epoch), AskedSeq: uint64(c.asked.seq), Epoch: name(c.found)}
	if c.late.on != 0 {
		poll.Laggards = []protocol.Ack{{Epoch: name(c.late.epoch), Seq: uint64(c.late.seq)}}
	}
	rec := x.knows(proc).rec
	seen, since := rec.Seen, rec.SeenSince
	switch x.flaw {
	case WaitWithoutYoungEpoch:
		since = protocol.Never
	case AcksUnread:
		poll.Laggards = nil
	}
	verdict := x.wait(c).Judge(0, poll, seen, since)
	if verdict == protocol.Moved && x.flaw == WaitNotMoved {
		verdict = protocol.InForce
	}
	c.poll, c.found, c.late, c.same, c.asked = 0, 0, registration{}, false, logged{}
	switch verdict {
	case protocol.InForce:
		return x.inForce(s, p)
	case protocol.Moved:
		c.stage = sendingAgain
	case protocol.Waiting:
	}
	return ""
}

// inForce ends the Wait: from now on every read, in any process, is held to it.
func (x *explorer) inForce(s *state, p int) string {
	c := s.procs[p].change
	s.procs[p].change = changing{}
	for k := range maxKeys {
		if c.keys.has(k) {
			s.inForce[k] = max(s.inForce[k], c.version)
		}
	}
	return ""
}

// applyLog carries out what a poll of the authority's log has found.
func (x *explorer) applyLog(s *state, p int) string {
	proc := &s.procs[p]
	to := proc.polling
	proc.polling = 0
	for v := proc.polled + 1; v <= to; v++ {
		c := s.changes[v]
		for k := range maxKeys {
			if !c.keys.has(k) {
				continue
			}
			proc.known[k] = max(proc.known[k], v)
			if x.flaw != PollWithoutFence {
				proc.fence[k] = max(proc.fence[k], v)
			}
			kept := proc.entries[k]
			if x.flaw == PollKeepsOlder {
				continue
			}
			proc.void(1 << k)
			if kept.sound && kept.version >= v && c.keys != everyKey {
				proc.entries[k] = kept
			}
		}
	}
	proc.polled = to
	return x.checkHits(s, p)
}
