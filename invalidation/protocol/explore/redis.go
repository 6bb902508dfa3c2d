package explore

// redis is the state of one partition, as small numbers: epochs are 1, 2, 3 in the order of their birth, 0 is none. What the
// scripts keep beside it never decides: expiry is an event of its own here, and the longest B is one constant.
type redis struct {
	epoch   uint8 // e; 0: the key is missing
	counter uint8 // s, plus 1; 0: the key is missing
	birth   uint8 // b: replication id plus 1; 0: the key is missing
	acks    uint8 // a: its sentinel; 0: the key is missing
	regs    [processes]registration
	values  [maxKeys]value
	leases  [maxKeys]lease
}

// registration is a process's field of a. count tells two alike apart.
type registration struct{ on, epoch, seq, count uint8 }

// value is d:<id>. version is the authority's; 0: the key is missing.
type value struct{ epoch, version uint8 }

// lease is l:<id>: fill lease (nonce 0: none) and fence.
type lease struct{ epoch, nonce, fence uint8 }

// server runs the scripts: redis, and what a script is told.
type server struct {
	*redis
	replid uint8 // replication id; hidden means that INFO is refused
	fresh  uint8 // an epoch never used before
	flaw   Flaw
}

const hidden = 255

func (r *redis) seq() uint8 { return r.counter - 1 }

func (r *redis) born(replid, epoch uint8) {
	r.epoch, r.counter, r.birth, r.acks = epoch, 1, replid+1, epoch
	r.regs = [processes]registration{}
}

// ensure is ensure.lua. It answers whether this call made the epoch.
func (x server) ensure() (made bool) {
	replid := x.replid
	if replid == hidden {
		replid = x.birth - 1
	}
	switch x.flaw {
	case LossOfCounterUnnoticed:
		if x.counter == 0 {
			x.counter = 1
		}
	case LossOfAcksUnnoticed:
		if x.acks == 0 {
			x.acks = x.epoch
		}
	case LossOfBirthUnnoticed:
		if x.birth == 0 {
			x.birth = replid + 1
		}
	case FailoverUnnoticed:
		if x.birth != 0 {
			replid = x.birth - 1
		}
	}
	if x.epoch != 0 && x.counter != 0 && x.acks == x.epoch && x.birth != 0 && x.birth == replid+1 {
		return false
	}
	if x.replid == hidden {
		replid = 0
	}
	x.born(replid, x.fresh)
	return true
}

// outcome of a get, as the script numbers it; 0: no answer.
type outcome = uint8

const (
	hit outcome = iota + 1
	leased
	busy
	bare
)

// answer is what get answers.
type answer struct{ outcome, version, fence, epoch, seq uint8 }

// get is get.lua. nonce 0 asks for no lease.
func (x server) get(key int, nonce uint8, refresh bool) answer {
	x.ensure()
	a := answer{epoch: x.epoch, seq: x.seq()}
	v, l := x.values[key], &x.leases[key]
	if !refresh && v.version != 0 && (v.epoch == x.epoch || x.flaw == NoEpochInValue) {
		a.outcome, a.version = hit, v.version
		return a
	}
	a.fence = l.fence
	switch {
	case nonce == 0:
		a.outcome = bare
	case l.nonce != 0 && (l.epoch == x.epoch || x.flaw == LeaseAndFillOfCurrentEpoch):
		a.outcome = busy
		if x.flaw == BusyWithoutFence {
			a.fence = 0
		}
	default:
		a.outcome = leased
		l.epoch, l.nonce = x.epoch, nonce
		if x.flaw == FenceShortenedByLease {
			l.fence = 0
		}
	}
	return a
}

// What fill answers.
const (
	stored uint8 = iota + 1
	refusedEpoch
	refusedLease
	refusedFence
)

// fill is fill.lua. version is the value's, asOf what the loader says of it (0: nothing).
func (x server) fill(key int, epoch, nonce, version, asOf uint8) uint8 {
	x.ensure()
	l := &x.leases[key]
	if x.flaw == LeaseAndFillOfCurrentEpoch {
		epoch = x.epoch
	}
	switch {
	case epoch != x.epoch:
		return refusedEpoch
	case x.flaw == NoNonceCheck:
	case l.nonce == 0 || l.nonce != nonce || l.epoch != epoch && x.flaw != LeaseAndFillOfCurrentEpoch:
		return refusedLease
	}
	l.nonce, l.epoch = 0, 0
	if asOf < l.fence {
		return refusedFence
	}
	x.values[key] = value{epoch, version}
	return stored
}

// release is release.lua.
func (x server) release(key int, nonce uint8) bool {
	l := &x.leases[key]
	if l.nonce == 0 || l.nonce != nonce {
		return false
	}
	l.nonce, l.epoch = 0, 0
	return true
}

// invalidate is invalidate.lua. It answers where the partition stands after.
func (x server) invalidate(keys mask, asOf uint8) (epoch, seq uint8) {
	for k := range maxKeys {
		if keys.has(k) {
			x.values[k] = value{}
		}
	}
	x.ensure()
	for k := range maxKeys {
		if keys.has(k) {
			x.leases[k] = lease{fence: max(x.leases[k].fence, asOf)}
		}
	}
	x.counter++
	return x.epoch, x.seq()
}

// renew is renew.lua.
func (x server) renew(process int, r registration) (epoch, seq uint8) {
	x.regs[process] = registration{}
	x.ensure()
	if x.flaw == AckForServerEpoch {
		r.epoch = x.epoch
	}
	x.regs[process] = r
	return x.epoch, x.seq()
}

// leave is leave.lua.
func (x server) leave(process int, r registration) {
	if x.regs[process] == r {
		x.regs[process] = registration{}
	}
}

// laggards is acks.lua: who but self has not registered epoch and seq. drop are deleted first, if unchanged.
func (x server) laggards(epoch, seq uint8, self int, drop [processes]registration) (late [processes]registration) {
	x.ensure()
	for p, r := range x.regs {
		if drop[p].on != 0 && drop[p] == r {
			x.regs[p] = registration{}
		}
	}
	if x.epoch != epoch {
		return late
	}
	for p, r := range x.regs {
		if p != self && r.on != 0 && (r.epoch != epoch || r.seq < seq) {
			late[p] = r
		}
	}
	return late
}

// reset is reset.lua. old 0 replaces whichever epoch it is.
func (x server) reset(old uint8) (epoch, seq uint8) {
	if made := x.ensure(); !made && (old == 0 || old == x.epoch) {
		replid := x.replid
		if replid == hidden {
			replid = x.birth - 1
		}
		x.born(replid, x.fresh)
	}
	return x.epoch, x.seq()
}
