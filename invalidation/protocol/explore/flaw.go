package explore

// Flaw is one rule broken on purpose: an exploration that finds nothing wrong with it proves nothing without it.
type Flaw uint8

// The flaws. Those named in the protocol's list of mutants keep their names there.
const (
	None Flaw = iota
	NoNonceCheck
	NoncePerClient
	LeaseAndFillOfCurrentEpoch
	NoEpochInValue
	FenceShortenedByLease
	BusyWithoutFence
	ValueBelowFenceReturned
	LossOfCounterUnnoticed
	LossOfAcksUnnoticed
	LossOfBirthUnnoticed
	FailoverUnnoticed
	NoGuardAtHit
	LeaseReadAfterGuard
	NoServingLease
	TickerClock
	NoGuardAtInstall
	FlightNotForgotten
	FlightJoinedWithoutLease
	NoGapCheck
	GapWithoutFlush
	GrantWithoutMessages
	EpochWithoutFlush
	MessageSetsEpoch
	LeaseBeforeFlush
	T0AtAnswer
	AckForServerEpoch
	AckBeforeEvict
	AckOfLeftProcess
	AcksUnread
	WaitWithoutYoungEpoch
	WaitShorterThanLease
	WaitNotMoved
	NoOwnVoid
	PollKeepsOlder
	PollWithoutFence
	TokenIgnored
	flaws
)

var flawNames = [flaws]string{
	None:                       "none",
	NoNonceCheck:               "no nonce check",
	NoncePerClient:             "nonce per client instead of per acquisition",
	LeaseAndFillOfCurrentEpoch: "lease and fill of the current epoch",
	NoEpochInValue:             "no epoch in the value",
	FenceShortenedByLease:      "fence shortened by a lease",
	BusyWithoutFence:           "busy without fence",
	ValueBelowFenceReturned:    "value below the fence returned",
	LossOfCounterUnnoticed:     "loss of s unnoticed",
	LossOfAcksUnnoticed:        "loss of a unnoticed",
	LossOfBirthUnnoticed:       "loss of b unnoticed",
	FailoverUnnoticed:          "replication id not compared",
	NoGuardAtHit:               "no guard at the hit",
	LeaseReadAfterGuard:        "lease read after the guard",
	NoServingLease:             "no serving lease",
	TickerClock:                "ticker clock",
	NoGuardAtInstall:           "guard taken at the end of the load",
	FlightNotForgotten:         "flight not forgotten",
	FlightJoinedWithoutLease:   "flight joined without a lease",
	NoGapCheck:                 "no gap check",
	GapWithoutFlush:            "gap given up without a flush",
	GrantWithoutMessages:       "lease granted before its messages",
	EpochWithoutFlush:          "epoch adopted without a flush",
	MessageSetsEpoch:           "message sets the epoch without a flush",
	LeaseBeforeFlush:           "validUntil published before the flush",
	T0AtAnswer:                 "t0 taken at the answer",
	AckForServerEpoch:          "ack registered for the server's epoch",
	AckBeforeEvict:             "ack before evict",
	AckOfLeftProcess:           "registration deleted while the lease lasts",
	AcksUnread:                 "wait does not ask for acks",
	WaitWithoutYoungEpoch:      "wait that does not sit out B after a new epoch",
	WaitShorterThanLease:       "wait shorter than a lease",
	WaitNotMoved:               "wait ends when the epoch moves",
	NoOwnVoid:                  "own invalidation not applied here",
	PollKeepsOlder:             "authority poll trusts the bus",
	PollWithoutFence:           "authority poll raises no fence",
	TokenIgnored:               "token not compared with the answer",
}

// String is the flaw in words.
func (f Flaw) String() string { return flawNames[f] }

// Flaws are all flaws but None.
func Flaws() []Flaw {
	all := make([]Flaw, 0, flaws)
	for f := None + 1; f < flaws; f++ {
		all = append(all, f)
	}
	return all
}
