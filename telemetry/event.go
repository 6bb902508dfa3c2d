package telemetry

import "strconv"

// Event is something that happened and is counted. Its String is stable and is what tests and logs show.
type Event uint8

// The events, with the metric and the attribute each one counts under.
const (
	// FillStored and the five after it are layercache.fill{result}: what became of a value offered to L2.
	FillStored       Event = iota // stored
	FillRefusedEpoch              // the partition's Redis state was replaced since the read
	FillRefusedLease              // another holder has the fill lease, or nobody has
	FillRefusedFence              // the value is older than an invalidation of its key
	FillRefusedFull               // Redis is out of memory
	FillFailed                    // the call failed; whether the value is stored is unknown

	// InvalidationSent and the four after it are layercache.invalidation{dir,mode}. Keys are counted, not calls,
	// except where all keys are meant, which counts once.
	InvalidationSent        // keys whose invalidation Redis has executed at our request
	InvalidationSentAll     // requests for all keys that Redis has executed
	InvalidationReceived    // keys invalidated here because a message said so
	InvalidationReceivedAll // messages that said all keys
	InvalidationPending     // keys committed but not deliverable yet; counted as sent too once they are

	// Flush is layercache.invalidation{dir="local",mode="flush"}: L1 dropped whole, for whatever reason.
	Flush

	// BusGap is layercache.bus.gap: a missing sequence number that did not arrive in time.
	BusGap
	// BusReconnect is layercache.bus.reconnect: the subscription was lost and taken again.
	BusReconnect

	// EpochChangeStart and the three after it are layercache.bus.epoch_change{reason}.
	EpochChangeStart    // the first epoch this process learned
	EpochChangeLost     // Redis state was lost, evicted, flushed or failed over
	EpochChangeReset    // a sequence number went back, so the epoch was replaced
	EpochChangeExplicit // InvalidateAll

	// LeaseLapsed is layercache.lease.lapse: a read found no valid serving lease.
	LeaseLapsed
	// RenewFailed is layercache.failure{reason="renew"}: a renewal of the serving lease failed.
	RenewFailed
	// PollFailed is layercache.failure{reason="poll"}: the authority could not be polled for changes.
	PollFailed

	// PayloadRejectedCorrupt and the five after it are layercache.payload.rejected{reason}: bytes from Redis that
	// were not used. Each is a miss, except an unknown message, which is a flush.
	PayloadRejectedCorrupt  // cut, flipped or not decodable
	PayloadRejectedForeign  // the value of another key
	PayloadRejectedSchema   // another schema or codec than this process reads
	PayloadRejectedOversize // larger than the caps
	PayloadRejectedVersion  // an envelope of an unknown version
	PayloadRejectedMessage  // a bus message of an unknown version or form

	// LoadPanic is layercache.failure{reason="load_panic"}: a loader panicked or ended its goroutine.
	LoadPanic
	// LoadTimeout is layercache.failure{reason="load_timeout"}: a loader outlived its deadline.
	LoadTimeout
	// LoadBehind is layercache.failure{reason="load_behind"}: the authority answered older than a fence or token allows.
	LoadBehind

	// OutboxDelivered and the two after it are layercache.outbox{result}: rows of the authority's outbox.
	OutboxDelivered // delivered by the relay
	OutboxResent    // delivered again, since the epoch it was sent in did not last
	OutboxTakenOver // taken over from a relay that claimed it and did not finish

	// StateSaved and the two after it are layercache.state{result}: states of threads, which may be large.
	StateSaved    // saved
	StateLoaded   // read from the backend, which a hit in L1 is not
	StateConflict // not saved, since somebody else had saved meanwhile
	// StateSavedBytes and the two after it are layercache.state.bytes{form}: the sizes of those.
	StateSavedBytes  // of states as they were given
	StateStoredBytes // of the same as they are stored, which is less where they are compressed
	StateLoadedBytes // of states as they were stored

	// AuditFresh and the two after it are layercache.audit{result}: hits of L1 that were compared with the authority.
	AuditFresh   // as fresh as it has to be
	AuditStale   // older than the bound allows
	AuditUnknown // not decided: the authority failed, or has no versions and changed meanwhile

	events // how many there are
)

var eventNames = [events]string{
	FillStored:       "fill_stored",
	FillRefusedEpoch: "fill_refused_epoch",
	FillRefusedLease: "fill_refused_lease",
	FillRefusedFence: "fill_refused_fence",
	FillRefusedFull:  "fill_refused_full",
	FillFailed:       "fill_failed",

	InvalidationSent:        "invalidation_sent",
	InvalidationSentAll:     "invalidation_sent_all",
	InvalidationReceived:    "invalidation_received",
	InvalidationReceivedAll: "invalidation_received_all",
	InvalidationPending:     "invalidation_pending",

	Flush:        "flush",
	BusGap:       "bus_gap",
	BusReconnect: "bus_reconnect",

	EpochChangeStart:    "epoch_change_start",
	EpochChangeLost:     "epoch_change_lost",
	EpochChangeReset:    "epoch_change_reset",
	EpochChangeExplicit: "epoch_change_explicit",

	LeaseLapsed: "lease_lapsed",
	RenewFailed: "renew_failed",
	PollFailed:  "poll_failed",

	PayloadRejectedCorrupt:  "payload_rejected_corrupt",
	PayloadRejectedForeign:  "payload_rejected_foreign",
	PayloadRejectedSchema:   "payload_rejected_schema",
	PayloadRejectedOversize: "payload_rejected_oversize",
	PayloadRejectedVersion:  "payload_rejected_version",
	PayloadRejectedMessage:  "payload_rejected_message",

	LoadPanic:   "load_panic",
	LoadTimeout: "load_timeout",
	LoadBehind:  "load_behind",

	OutboxDelivered: "outbox_delivered",
	OutboxResent:    "outbox_resent",
	OutboxTakenOver: "outbox_taken_over",

	AuditFresh:   "audit_fresh",
	AuditStale:   "audit_stale",
	AuditUnknown: "audit_unknown",

	StateSaved:       "state_saved",
	StateLoaded:      "state_loaded",
	StateConflict:    "state_conflict",
	StateSavedBytes:  "state_saved_bytes",
	StateStoredBytes: "state_stored_bytes",
	StateLoadedBytes: "state_loaded_bytes",
}

// String names the event in lower case with underscores.
func (e Event) String() string { return nameOf(eventNames[:], uint8(e), "event") }

// nameOf reads a table of names and stays printable for a number outside it.
func nameOf(names []string, i uint8, kind string) string {
	if int(i) < len(names) {
		return names[i]
	}
	return kind + "(" + strconv.Itoa(int(i)) + ")"
}
