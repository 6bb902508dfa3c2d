package session

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Session is one session of an agent.
type Session struct {
	// ID names it.
	ID ID
	// AgentID names the agent it belongs to.
	AgentID AgentID
	// StartedAt is when it began, to the nanosecond, in the years 1678 to 2261. What Load answers is in UTC.
	StartedAt time.Time
}

// Record is a session as a Backend keeps it: its fields as somebody wrote them, byte for byte.
type Record struct {
	// AgentID is 16 raw bytes, if its writer kept the contract.
	AgentID string
	// StartedAtNS is decimal Unix nanoseconds, if its writer kept the contract.
	StartedAtNS string
}

// DecodeError says that there is something under a session's id that is no session: neither an absence nor an outage. It is
// not cached. A Save puts a session in its place. It shows no value.
type DecodeError struct {
	// Field is agent_id or started_at_ns, or hash where there is something else than a hash.
	Field string
	// Reason is what the field had to be.
	Reason string
}

// Error names the field and the rule.
func (e *DecodeError) Error() string { return "session: " + e.Field + " " + e.Reason }

var (
	errAgentID = &DecodeError{Field: "agent_id", Reason: "must be 16 bytes"}
	errStarted = &DecodeError{Field: "started_at_ns", Reason: "must be decimal nanoseconds of 64 bits"}
	errNoHash  = &DecodeError{Field: "hash", Reason: "must be what the key holds"}
)

const second = int64(time.Second)

// record is the session's form in a backend.
func (s Session) record() (Record, error) {
	// Whole seconds that leave room for the nanoseconds: outside of them UnixNano is undefined.
	if sec := s.StartedAt.Unix(); sec <= math.MinInt64/second || sec >= math.MaxInt64/second {
		return Record{}, fmt.Errorf("session: StartedAt must be in the years 1678 to 2261, got year %d", s.StartedAt.Year())
	}
	return Record{AgentID: string(s.AgentID[:]), StartedAtNS: strconv.FormatInt(s.StartedAt.UnixNano(), 10)}, nil
}

// maxStarted is the length of the longest number of 64 bits with its sign.
const maxStarted = 20

// decode reads a record that somebody wrote, perhaps another program.
func decode(id ID, rec Record) (Session, *DecodeError) {
	s := Session{ID: id}
	if len(rec.AgentID) != len(s.AgentID) {
		return Session{}, errAgentID
	}
	copy(s.AgentID[:], rec.AgentID)
	ns, err := strconv.ParseInt(rec.StartedAtNS, 10, 64)
	if err != nil || len(rec.StartedAtNS) > maxStarted {
		return Session{}, errStarted
	}
	s.StartedAt = time.Unix(0, ns).UTC()
	return s, nil
}

// faultOf is the *DecodeError in err, if there is one.
func faultOf(err error) *DecodeError {
	fault, _ := errors.AsType[*DecodeError](err)
	return fault
}
