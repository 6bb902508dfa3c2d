package runlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Envelope is an event as a run keeps it. Its slices are shared with nobody else, and it is a plain value of its owner.
type Envelope struct {
	EventID   EventID
	Seq       uint64 // 1 for the run's first event; the next one has the next number
	RunID     string
	SessionID string          // "": the run was not started yet when this was appended
	Event     json.RawMessage // externally tagged, byte for byte as it was appended
	EmittedAt time.Time       // UTC

	life string // of the run; "": made from JSON alone
}

// MaxSeq is the highest sequence number a run can reach, 2^53−1: the highest one up to which every system that reads JSON
// counts exactly.
const MaxSeq = 1<<53 - 1

// Kind is the tag of the event, "" if it is not a tagged one.
func (e Envelope) Kind() string {
	kind, _, _ := tagged(e.Event)
	return kind
}

// Terminal says whether the run ends with this event.
func (e Envelope) Terminal() bool { return IsTerminal(e.Kind()) }

// Cursor is the position after this event.
func (e Envelope) Cursor() Cursor { return Cursor{Seq: e.Seq, Life: e.life} }

// AppendJSON appends the envelope as a run stores it. The event is in it byte for byte, which json.Marshal does not promise.
func (e Envelope) AppendJSON(dst []byte) []byte {
	d := Draft{ID: e.EventID, Body: e.Event, EmittedAt: e.EmittedAt}
	dst = strconv.AppendUint(d.head(dst), e.Seq, 10)
	dst = append(between(dst, e.RunID), quotedSession(e.SessionID)...)
	return d.tail(dst)
}

// MarshalJSON implements json.Marshaler.
func (e Envelope) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// The parts of an envelope around what only the backend knows: head, the seq, between, the session id, tail.

const eventIDBefore, seqBefore = `{"event_id":"`, `","seq":`

func (d Draft) head(dst []byte) []byte {
	dst = append(dst, eventIDBefore...)
	return append(d.ID.append(dst), seqBefore...)
}

func between(dst []byte, run string) []byte {
	dst = append(dst, `,"run_id":`...)
	dst = append(dst, quoted(run)...)
	return append(dst, `,"session_id":`...)
}

func (d Draft) tail(dst []byte) []byte {
	dst = append(dst, `,"event":`...)
	dst = append(dst, d.Body...)
	dst = append(dst, `,"emitted_at":"`...)
	dst = d.EmittedAt.AppendFormat(dst, time.RFC3339Nano)
	return append(dst, `"}`...)
}

func quoted(s string) []byte {
	text, _ := json.Marshal(s) // a string always can
	return text
}

// quotedSession is null while there is none.
func quotedSession(id string) []byte {
	if id == "" {
		return []byte("null")
	}
	return quoted(id)
}

// UnmarshalJSON implements json.Unmarshaler. Unknown fields are ignored; a null or missing session_id is none.
func (e *Envelope) UnmarshalJSON(data []byte) error {
	var wire struct {
		EventID   EventID         `json:"event_id"`
		Seq       uint64          `json:"seq"`
		RunID     string          `json:"run_id"`
		SessionID *string         `json:"session_id"`
		Event     json.RawMessage `json:"event"`
		EmittedAt *time.Time      `json:"emitted_at"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return notEnvelope(err)
	}
	switch {
	case wire.EventID == (EventID{}):
		return errors.New("an envelope without event_id")
	case wire.Seq == 0 || wire.Seq > MaxSeq:
		return fmt.Errorf("the seq of an envelope must be from 1 to %d", uint64(MaxSeq))
	case wire.RunID == "":
		return errors.New("an envelope without run_id")
	case wire.EmittedAt == nil:
		return errors.New("an envelope without emitted_at")
	case !written(wire.EmittedAt.UTC()):
		return errors.New("the emitted_at of an envelope must be from year 0 to 9999 in UTC")
	}
	if _, _, err := tagged(wire.Event); err != nil {
		return err
	}
	*e = Envelope{EventID: wire.EventID, Seq: wire.Seq, RunID: wire.RunID, Event: wire.Event, EmittedAt: wire.EmittedAt.UTC()}
	if wire.SessionID != nil {
		e.SessionID = *wire.SessionID
		return checkSession(e.SessionID)
	}
	return nil
}

// written says whether RFC 3339 has a form for a time in UTC.
func written(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

// notEnvelope says why in words of its own: those of encoding/json and time quote what they could not read.
func notEnvelope(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return fmt.Errorf("not an envelope: its %s has another type or range than it must", wrong.Field)
	}
	return errors.New("not an envelope: not a JSON object, or its event_id or emitted_at is none")
}

// ParseEnvelope reads the JSON of an envelope.
func ParseEnvelope(data []byte) (Envelope, error) {
	if e, ok := stored(data); ok {
		return e, nil
	}
	var e Envelope
	err := e.UnmarshalJSON(data)
	return e, err
}
