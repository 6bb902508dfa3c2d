package explore

import (
	"fmt"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

// loads are the protocol.Loads met so far, each once.
type loads struct {
	all   []protocol.Load
	index map[protocol.Load]uint8
}

func newLoads() loads {
	l := loads{index: map[protocol.Load]uint8{}}
	l.intern(protocol.Load{}) // 0 has been told nothing
	return l
}

func (l *loads) intern(rules protocol.Load) uint8 {
	i, ok := l.index[rules]
	if !ok {
		i = uint8(len(l.all))
		if int(i) != len(l.all) {
			panic("explore: more loads than a state can name")
		}
		l.index[rules] = i
		l.all = append(l.all, rules)
	}
	return i
}

// Stages of a load.
const (
	lookAnswering  uint8 = iota + 1 // the server has executed get
	lookingAgain                    // get is to be executed once more
	lookingRefresh                  // the same, taking the lease although a value is there
	reading                         // the authority is to be read
	readAnswering                   // it was read
)

// begin takes the guard of a load. past: it does not ask L2.
func (x *explorer) begin(s *state, p, key int, token uint8, past bool) {
	proc := &s.procs[p]
	l := loading{key: uint8(key), sound: true, token: token, floor: max(proc.known[key], x.current(s, key, past))}
	if past {
		l.stage, l.need = reading, x.need(proc, token, key)
		rules := protocol.Load{}
		rules.Looked(protocol.Lookup{}, uint64(l.need), false)
		l.rules = x.loads.intern(rules)
		proc.load = l
		return
	}
	proc.load = l
	x.look(s, p, false)
}

// current is what a load that begins now, and asks L2 or the authority, must be answered at least. An authority that answers from
// behind can only be held to the fences that the load is told of.
func (x *explorer) current(s *state, key int, past bool) uint8 {
	switch {
	case x.Weak:
		return 0
	case x.Events&ReadBehind != 0 && past:
		return 0
	}
	return s.executed(key)
}

// need is the version below which nothing may be answered, as the process knows now.
func (x *explorer) need(p *process, token uint8, key int) uint8 {
	if x.flaw == TokenIgnored {
		token = 0
	}
	return max(token, x.asOf(p.fence[key]))
}

// look lets the server execute get.
func (x *explorer) look(s *state, p int, refresh bool) {
	l := &s.procs[p].load
	nonce := s.nonce(p, x.flaw)
	l.reply = x.server(s).get(int(l.key), nonce, refresh)
	if l.reply.outcome == leased {
		l.nonce = nonce
	}
	l.stage = lookAnswering
	s.settle()
}

// looked lets the rules judge the answer of get. failed: there is none.
func (x *explorer) looked(s *state, p int, waited, failed bool) string {
	proc := &s.procs[p]
	l := &proc.load
	if failed {
		l.reply, l.nonce = answer{}, 0
	} else if wrong := x.learn(s, p, l.reply.epoch); wrong != "" {
		return wrong
	}
	rules := x.loads.all[l.rules]
	a := protocol.Lookup{Fence: uint64(l.reply.fence)}
	switch l.reply.outcome {
	case hit:
		a.Outcome, a.AsOf = protocol.Hit, uint64(x.asOf(l.reply.version))
	case leased:
		a.Outcome = protocol.Leased
	case busy:
		a.Outcome = protocol.Busy
	case bare:
		a.Outcome = protocol.Bare
	}
	next := rules.Looked(a, uint64(x.need(proc, l.token, int(l.key))), waited)
	l.rules = x.loads.intern(rules)
	if next == protocol.AnswerL2 {
		return x.land(s, p, l.reply.version)
	}
	x.follow(proc, next)
	return ""
}

// follow goes on to what the rules decided.
func (x *explorer) follow(p *process, next protocol.Step) {
	l := &p.load
	switch next {
	case protocol.AskAgain:
		l.stage = lookingRefresh
	case protocol.AwaitOther:
		l.stage = lookingAgain
	case protocol.AskAuthority, protocol.AskAuthorityAndFill:
		l.stage, l.fills, l.need = reading, next == protocol.AskAuthorityAndFill, x.need(p, l.token, int(l.key))
	default: // ErrUnavailable; its fill lease runs out
		p.load = loading{}
	}
}

// loaded lets the rules judge the authority's answer.
func (x *explorer) loaded(s *state, p int) string {
	proc := &s.procs[p]
	l := &proc.load
	rules := x.loads.all[l.rules]
	need := l.need
	if x.Unversioned {
		need = x.asOf(l.token)
	}
	next := rules.Loaded(uint64(x.asOf(l.loaded)), uint64(need))
	if x.flaw == ValueBelowFenceReturned && l.loaded >= l.need {
		next = protocol.AnswerLoaded
	}
	l.rules = x.loads.intern(rules)
	if next != protocol.AnswerLoaded {
		x.follow(proc, next)
		return ""
	}
	if l.fills {
		for i := range s.fills {
			if s.fills[i].nonce == 0 {
				s.fills[i] = filling{key: l.key, epoch: l.reply.epoch, nonce: l.nonce, version: l.loaded}
				break
			}
		}
	}
	return x.land(s, p, l.loaded)
}

// land keeps the value in L1 under the load's guard, answers those who wait for it, and ends the load.
func (x *explorer) land(s *state, p int, version uint8) string {
	proc := &s.procs[p]
	l := proc.load
	proc.load = loading{}
	other := l.reply.epoch != 0 && l.reply.epoch != x.knows(proc).epoch
	if (l.sound || x.flaw == NoGuardAtInstall) && !other {
		proc.entries[l.key] = entry{version: version, sound: true}
	}
	if version < l.token {
		return fmt.Sprintf("I6: p%d is answered version %d of %s to a token of version %d", p, version, keyName(int(l.key)), l.token)
	}
	if version < l.floor {
		return x.judge(s, p, int(l.key), version, l.floor, "L2 or L3")
	}
	return x.checkHits(s, p)
}

// joinable asks the rules whether a caller that begins now may be answered by the load under way.
func (x *explorer) joinable(p *process) bool {
	if p.load.stage == 0 || p.load.token != 0 {
		return false
	}
	f := protocol.Flight{Begun: true, Sound: p.load.sound || x.flaw == FlightNotForgotten}
	f.Started = -protocol.Instant(time.Duration(p.load.age) * tick)
	until := protocol.Never
	if p.lease > 0 || x.flaw == FlightJoinedWithoutLease {
		until = 1
	}
	return protocol.Joinable(f, 0, until, x.recs.bound)
}

// atOnce is a load that nothing comes between.
func (x *explorer) atOnce(s *state, p, key int) string {
	x.begin(s, p, key, 0, x.pendingFor(s, p, key))
	for s.procs[p].load.stage != 0 {
		var wrong string
		switch l := &s.procs[p].load; l.stage {
		case lookAnswering:
			wrong = x.looked(s, p, true, false)
		case lookingAgain, lookingRefresh:
			x.look(s, p, l.stage == lookingRefresh)
		case reading:
			l.loaded, l.stage = s.version, readAnswering
		case readAnswering:
			wrong = x.loaded(s, p)
		}
		if wrong != "" {
			return wrong
		}
	}
	for i := range s.fills {
		x.fill(s, i)
	}
	return ""
}

func (x *explorer) fill(s *state, i int) {
	if f := s.fills[i]; f.nonce != 0 {
		x.server(s).fill(int(f.key), f.epoch, f.nonce, f.version, x.asOf(f.version))
		s.fills[i] = filling{}
		s.settle()
	}
}

func (x *explorer) pendingFor(s *state, p, key int) bool {
	c := &s.procs[p].change
	return c.pending && c.keys.has(key)
}

// half is the age from which a load is too old to be joined.
func (x *explorer) half() uint8 { return ticks(time.Duration(x.Bound) * tick / 2) }
