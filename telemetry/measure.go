package telemetry

// Measure is a duration that is recorded in a histogram, in seconds.
type Measure uint8

// The measures. Those marked "by Span" are recorded by the End of a Span; Observe is for the others, and for a
// duration that was taken without a Span.
const (
	LoadDuration    Measure = iota // layercache.load.duration: a load from the authority; by Span
	JoinDuration                   // layercache.load.join.duration: waiting for another caller's load; by Span
	L2Duration                     // layercache.l2.duration: a call of Redis; by Span
	InvalidationLag                // layercache.invalidation.lag: from the sending of an invalidation to its application here, by the wall clocks of both
	AckDuration                    // layercache.invalidation.ack.duration: from an executed invalidation until it is in force everywhere; by Span
	EntryAge                       // layercache.entry.age: age of an entry, since its creation, when it was answered from L2 or inspected
	AuditAge                       // layercache.audit.age: age of a hit of L1, since the authority was read, when it was audited

	measures // how many there are
)

var measureNames = [measures]string{
	LoadDuration:    "load.duration",
	JoinDuration:    "load.join.duration",
	L2Duration:      "l2.duration",
	InvalidationLag: "invalidation.lag",
	AckDuration:     "invalidation.ack.duration",
	EntryAge:        "entry.age",
	AuditAge:        "audit.age",
}

// String is the metric's name without the "layercache." in front.
func (m Measure) String() string { return nameOf(measureNames[:], uint8(m), "measure") }
