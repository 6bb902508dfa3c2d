package explore

import (
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// The sizes that a state has room for.
const (
	processes   = 2
	maxKeys     = 2
	maxVersions = 3
	maxLog      = 6
	maxFills    = 2
)

// state is the whole world at one moment. Every field is a byte, so that two states are the same when their bytes are, and a copy
// shares nothing. Ages are in ticks and stop where no decision tells them apart.
type state struct {
	redis   redis
	replid  uint8
	epochs  uint8 // epochs born so far
	image   redis // what a failover brings back
	imaged  uint8
	version uint8 // of the authority: commits so far, from 1
	changes [maxVersions + 1]change
	log     [maxLog]logged // invalidations executed; every message may arrive at any time, any number of times, or never
	logged  uint8
	inForce [maxKeys]uint8 // version of the newest invalidation whose Wait has returned
	faults  uint8
	procs   [processes]process
	fills   [maxFills]filling
}

// change is what a version changed. age is 1 plus the time since its invalidation was first executed; 0: not executed.
type change struct {
	keys mask
	age  uint8
}

// logged is an executed invalidation, and so a message.
type logged struct {
	epoch, seq uint8
	keys       mask
	version    uint8
}

// filling is a fill on its way to the server.
type filling struct{ key, epoch, nonce, version uint8 } // nonce 0: none

// process is one process.
type process struct {
	rec      [2]uint8 // number of its receiver
	lease    uint8    // ticks left of the serving lease
	renewal  renewing
	entries  [maxKeys]entry
	fence    [maxKeys]uint8 // local fences
	known    [maxKeys]uint8 // newest version that this process invalidated itself or read in the authority's log: for the checks
	polled   uint8          // version of the last authority poll
	polling  uint8          // version read by the poll under way; 0: none
	load     loading
	change   changing
	hit      hitting
	reset    uint8 // epoch it asks to be replaced
	deferred mask  // of AckBeforeEvict
	suspect  uint8 // 1 plus how long the other's registration has been known to be late and unchanged
}

// renewing is a renewal under way.
type renewing struct{ stage, epoch, seq, atEpoch, atSeq uint8 }

// entry is what L1 holds. version 0: nothing.
type entry struct {
	version uint8
	sound   bool // the guard holds
}

// loading is a flight.
type loading struct {
	stage  uint8
	key    uint8
	sound  bool  // the guard holds
	age    uint8 // ticks since it began, as far as joining is concerned
	floor  uint8 // what any of those who wait for it must be answered at least
	token  uint8
	rules  uint8 // number of its protocol.Load
	reply  answer
	nonce  uint8
	need   uint8
	fills  bool
	loaded uint8
}

// changing is a write of this process: from its commit until its Wait has ended.
type changing struct {
	stage      uint8
	kind       uint8
	keys       mask
	version    uint8
	pending    bool // an attempt has failed; L2 is not asked for its keys
	epoch, seq uint8
	answered   uint8 // 1 plus the time since the first answer
	poll       uint8 // 1: answered by the server
	asked      logged
	found      uint8 // epoch at the poll
	late       registration
	same       bool // the registration is unchanged since the poll
}

// hitting is an L1 hit between its two reads.
type hitting struct{ stage, key, floor, version uint8 }

func (p *process) number() uint16     { return uint16(p.rec[0]) | uint16(p.rec[1])<<8 }
func (p *process) setNumber(n uint16) { p.rec = [2]uint8{uint8(n), uint8(n >> 8)} }

// bytes are the state's own.
func (s *state) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)) // one-byte fields only: no padding
}

func (s *state) hash() uint64 { return xxhash.Sum64(s.bytes()) }
