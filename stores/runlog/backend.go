package runlog

import (
	"context"
	"encoding/json"
	"time"
)

// Backend keeps runs. Memory and Redis are the ones here; storetest.RunLogs says whether another one keeps the contract.
//
// Every method is atomic, safe for concurrent use, and takes ids that were checked. A failure is readthrough.ErrUnavailable
// with its cause and never an answer; after one of a write it is unknown whether it happened. A run some of whose parts are
// lost is ErrDamaged.
type Backend interface {
	// Append adds drafts to a run in their order, all of them or none. Each gets the next sequence number, from 1, and the
	// run's session id: that of the first Draft that has one, from that Draft on. A draft whose id the run has, or has earlier
	// in the batch, is not added but answered with the event that is there. A draft that is added after a terminal one is
	// ErrEnded; a number above MaxSeq is ErrFull. What is added expires as keep says, and who watches is woken.
	Append(ctx context.Context, run string, drafts []Draft, keep Retention) (Appended, error)
	// List answers what is known of a run and its records after a sequence number, in order, at most limit and at least one if
	// there is one; fewer where many bytes would come together. Its cost does not depend on the position. A run that is not
	// there is the zero Slice.
	List(ctx context.Context, run string, after uint64, limit int) (Slice, error)
	// Tail is List of the last record.
	Tail(ctx context.Context, run string) (Slice, error)
	// Delete removes a run; one that is not there is no error. Who watches is woken.
	Delete(ctx context.Context, run string) error
	// Restore adds records of an original run, in the order of their sequence numbers, all of them or none. after is the last
	// number that the caller has restored, 0 if none: a run that has not reached it, or is gone, is ErrRestarted. A record that is
	// there already, or was trimmed, is passed over; another one under its number, or under a number the run has passed, is
	// ErrConflict. An id that occurs again is kept under both numbers, and Append finds the first. session is the run's
	// session id ("": not known), counter the last number the original has spent (0: not known): it is the run's last one
	// afterwards. A run that is new begins with these. It expires as keep says and is not cut to MaxEvents.
	Restore(ctx context.Context, run string, after uint64, records []Restored, session string, counter uint64, keep Retention) (Slice, error)
	// Watch calls wake, which does not block, after changes of a run, once or several times for each, until stop is called. It
	// may be late or miss some: who watches looks now and then anyway. After stop has returned, wake is not called any more.
	Watch(run string, wake func()) (stop func(), err error)
}

// Draft is an event to be added.
type Draft struct {
	ID        EventID
	Body      json.RawMessage
	EmittedAt time.Time // UTC
	Session   string    // of a RunStarted; "": none
	Terminal  bool
}

// Record is the JSON that is stored for it. Of what is stored, nothing but seq and session is the backend's to choose.
func (d Draft) Record(run string, seq uint64, session string) []byte {
	e := Envelope{EventID: d.ID, Seq: seq, RunID: run, SessionID: session, Event: d.Body, EmittedAt: d.EmittedAt}
	return e.AppendJSON(nil)
}

// Retention is how long events are kept. A Store never leaves one of its fields zero.
type Retention struct {
	// MaxEvents of a run are kept at least, and at most a few more (see Slack): of events that were appended under other
	// MaxEvents as many more as came together. Where many thousands have to go, each append may take out a part of them.
	MaxEvents int64
	// MaxAge after which events go, in such parts too, with an append an eighth of it later at most, and a run that nobody
	// appends to goes.
	MaxAge time.Duration
	// KeepAfterEnd is when a run goes after its terminal event.
	KeepAfterEnd time.Duration
}

// Slack is how many events more than MaxEvents a run may hold, so that not every append has to cut: a 64th, at least 1.
func (r Retention) Slack() int64 { return max(1, r.MaxEvents/64) }

// Appended is the answer of Backend.Append.
type Appended struct {
	// Life of the run: random, another one when a run is begun anew.
	Life string
	// Session is the session id from before these events; "": not known.
	Session string
	// Events are one for each draft.
	Events []Added
}

// Added is what became of a draft.
type Added struct {
	// Seq is the number of the event.
	Seq uint64
	// Stored is the JSON of the event that was there already; nil: the draft was added.
	Stored []byte
}

// Slice is a part of a run. The zero Slice is that of a run that is not there.
type Slice struct {
	Life    string
	Seq     uint64 // the last number that was spent
	Session string
	Ended   bool          // there is a terminal event
	Left    time.Duration // until the run goes; 0 or less: not known, and nothing of it is kept in memory
	Records []Record
}

// Record is one stored event.
type Record struct {
	Seq  uint64
	Data []byte // the JSON of its envelope; empty: there is something else
}

// Restored is a record of an original run.
type Restored struct {
	Record
	ID       EventID
	Terminal bool
}
