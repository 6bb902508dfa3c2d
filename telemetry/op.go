package telemetry

// Op describes a call that is timed.
type Op struct {
	Name      OpName
	Namespace string // without the tenant
	Keys      int    // how many keys the call is about; 0: not about keys
}

// OpName is the kind of a timed call. Its String is the span's name without the "layercache." in front.
type OpName uint8

// The timed calls. Each names the Measure that the end of its Span records.
const (
	OpL2Get      OpName = iota // get, one key or a pipeline: L2Duration
	OpL2Fill                   // fill, one key or a pipeline: L2Duration
	OpInvalidate               // invalidate, as far as the answer of Redis: L2Duration
	OpRenew                    // renewal of the serving leases, one pipeline: L2Duration
	OpAcks                     // question who has acknowledged: L2Duration
	OpReset                    // replacement of an epoch: L2Duration
	OpDiscard                  // deletion of an undecodable value: L2Duration
	OpLeave                    // deletion of this process's registration: L2Duration
	OpLoad                     // a load from the authority: LoadDuration
	OpJoin                     // a caller's wait for a load that another caller began: JoinDuration; link it to that load
	OpInForce                  // a wait until an invalidation is in force everywhere: AckDuration

	opNames // how many there are
)

var opTable = [opNames]struct {
	name    string
	measure Measure
}{
	OpL2Get:      {"l2.get", L2Duration},
	OpL2Fill:     {"l2.fill", L2Duration},
	OpInvalidate: {"l2.invalidate", L2Duration},
	OpRenew:      {"l2.renew", L2Duration},
	OpAcks:       {"l2.acks", L2Duration},
	OpReset:      {"l2.reset", L2Duration},
	OpDiscard:    {"l2.discard", L2Duration},
	OpLeave:      {"l2.leave", L2Duration},
	OpLoad:       {"load", LoadDuration},
	OpJoin:       {"load.join", JoinDuration},
	OpInForce:    {"invalidation.wait", AckDuration},
}

// String is the name of the call, such as "l2.get".
func (o OpName) String() string {
	if o < opNames {
		return opTable[o].name
	}
	return nameOf(nil, uint8(o), "op")
}

// measure is what the end of the call records; none of them for an unknown name.
func (o OpName) measure() Measure {
	if o < opNames {
		return opTable[o].measure
	}
	return measures
}

// Outcome is how a timed call ended.
type Outcome uint8

// The outcomes. A call uses those that fit it.
const (
	OK      Outcome = iota // done; for a call that has nothing more to say
	Hit                    // L2 answered with a value or a remembered absence
	Leased                 // L2 had none and gave the right to fill it
	Busy                   // L2 had none and somebody else is filling it
	Bare                   // L2 had none and gave no right to fill it
	Found                  // the authority has a value
	Absent                 // the authority has none
	Stored                 // L2 keeps the value
	Refused                // L2 does not keep the value
	Pending                // not in force yet
	Failed                 // an error; the tier could not answer

	outcomes // how many there are
)

var outcomeNames = [outcomes]string{
	OK:      "ok",
	Hit:     "hit",
	Leased:  "leased",
	Busy:    "busy",
	Bare:    "bare",
	Found:   "found",
	Absent:  "absent",
	Stored:  "stored",
	Refused: "refused",
	Pending: "pending",
	Failed:  "failed",
}

// String names the outcome in lower case.
func (o Outcome) String() string { return nameOf(outcomeNames[:], uint8(o), "outcome") }
