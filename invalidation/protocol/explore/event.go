package explore

import (
	"fmt"
	"math/bits"
)

// Events are kinds of events, as a set.
type Events uint64

// The events. Each is one atomic step of one process, of the server or of the world; between any two of them anything else
// that is enabled may happen.
const (
	// Tick lets one tick pass on every clock.
	Tick Events = 1 << iota
	// RenewSend, RenewExecuted, RenewAnswered and RenewFailed are a renewal.
	RenewSend
	RenewExecuted
	RenewAnswered
	RenewFailed
	// Message delivers the message of any executed invalidation, once more or out of order too.
	Message
	// Pure delivers a message that tells of a counter and invalidates nothing.
	Pure
	// GapClosed gives a missing message up.
	GapClosed
	// Leave gives the lease up and deletes the registration.
	Leave
	// Reset executes a request to replace an epoch whose counter went back.
	Reset
	// Ask is any other script that a process runs, which teaches it the epoch.
	Ask
	// Look begins a load: the guard is taken and the server executes get.
	Look
	// LookAgain executes a further get of a load.
	LookAgain
	// Looked is the answer of get; LookFailed is that there is none.
	Looked
	LookFailed
	// LoadPast begins a load that does not ask L2.
	LoadPast
	// Read reads the authority; ReadBehind reads an older version of it.
	Read
	ReadBehind
	// Loaded is the authority's answer, with which the load ends.
	Loaded
	// Join lets another caller wait for the load under way.
	Join
	// LoadAtOnce is a whole load as one step, its fill included.
	LoadAtOnce
	// Fill executes a fill; FillLost loses it.
	Fill
	FillLost
	// LeaseEnds ends a fill lease by time.
	LeaseEnds
	// HitBegins and HitEnds are the two reads of an L1 hit. (Without them each state is checked for a hit in one step.)
	HitBegins
	HitEnds
	// Commit changes a record in the authority and sends its invalidation. CommitMany sends one that names no ids, CommitAll one that replaces
	// the epoch.
	Commit
	CommitMany
	CommitAll
	// Invalidate executes it; Invalidated is its answer; InvalidateFails is that there is none, and another attempt follows.
	Invalidate
	Invalidated
	InvalidateFails
	// Abandon stops waiting.
	Abandon
	// Poll asks the server who has not acknowledged; Polled is its answer.
	Poll
	Polled
	// SatOut ends a Wait by the clock.
	SatOut
	// PollLog and PolledLog are a poll of the authority's log.
	PollLog
	PolledLog
	// Crash is a process that forgets everything and begins anew.
	Crash
	// LoseEpoch to LoseLease are the loss of one key of Redis.
	LoseEpoch
	LoseCounter
	LoseBirth
	LoseAcks
	LoseValue
	LoseLease
	// FlushAll is the loss of all of them.
	FlushAll
	// Image is the moment from which on writes do not reach the replica, or the last save. Failover brings it back on another server.
	Image
	Failover
	// Evicts carries out what the flaw AckBeforeEvict has put off.
	Evicts

	events = iota
)

// The groups that worlds are made of.
const (
	Renewing    = RenewSend | RenewExecuted | RenewAnswered
	Receiving   = Message | GapClosed
	Loading     = Look | LookAgain | Looked | Read | Loaded | Fill
	Changing    = Commit | Invalidate | Invalidated
	Waiting     = Poll | Polled | SatOut
	PollingLog  = PollLog | PolledLog
	LosingState = LoseEpoch | LoseCounter | LoseBirth | LoseAcks
	LosingIDs   = LoseValue | LoseLease
	// Faults are those that the fault budget pays for.
	Faults = LosingState | LosingIDs | FlushAll | Failover | Crash | RenewFailed | LookFailed | InvalidateFails | ReadBehind
)

var eventNames = [events]string{
	"tick", "renew sent", "renew executed", "renew answered", "renew failed", "message", "pure message", "gap closed", "leave", "reset", "ask",
	"look", "look again", "looked", "look failed", "load past L2", "read", "read behind", "loaded", "join", "load at once", "fill",
	"fill lost", "fill lease ends", "hit begins", "hit ends", "commit", "commit of many", "commit of all", "invalidate", "invalidated",
	"invalidate failed", "wait abandoned", "acks polled", "acks answered", "lease sat out", "log polled", "log applied", "crash", "lose e",
	"lose s", "lose b", "lose a", "lose d", "lose l", "flushall", "image taken", "failover", "late evict",
}

// String names a single event, or how many there are.
func (e Events) String() string {
	if bits.OnesCount64(uint64(e)) == 1 {
		return eventNames[bits.TrailingZeros64(uint64(e))]
	}
	return fmt.Sprint(bits.OnesCount64(uint64(e)), " kinds of events")
}

// Each yields the events of a set one by one.
func (e Events) Each() (all []Events) {
	for ; e != 0; e &= e - 1 {
		all = append(all, e&-e)
	}
	return all
}

// step is one event with what it happens to.
type step struct {
	kind uint8 // the bit of its Events
	p    uint8 // process
	x    uint8 // key, fill, message, or choice
	y    uint8
}

func (st step) event() Events { return 1 << st.kind }
