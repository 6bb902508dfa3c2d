package policy

import (
	"encoding"
	"encoding/hex"
	"fmt"
)

// AgentID names the agent a policy is for: 16 bytes, written as 32 lower-case hex digits in keys, text and JSON.
// It is comparable, so it serves as a map or cache key as it is.
type AgentID [16]byte

var (
	_ encoding.TextAppender    = AgentID{}
	_ encoding.TextMarshaler   = AgentID{}
	_ encoding.TextUnmarshaler = (*AgentID)(nil)
	_ fmt.Stringer             = AgentID{}
)

// ParseAgentID reads 32 hex digits of either case. Anything else is an error that names the fault and not the input.
// Every value of 16 bytes is an id, the zero one included.
func ParseAgentID(s string) (AgentID, error) {
	var id AgentID
	if len(s) != hex.EncodedLen(len(id)) {
		return AgentID{}, fmt.Errorf("policy: agent id must be 32 hex digits, got %d bytes", len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return AgentID{}, fmt.Errorf("policy: agent id must be 32 hex digits, got another character")
	}
	return id, nil
}

// String returns the id as 32 lower-case hex digits.
func (id AgentID) String() string {
	return hex.EncodeToString(id[:])
}

// AppendText appends the form String returns. It never fails.
func (id AgentID) AppendText(b []byte) ([]byte, error) {
	return hex.AppendEncode(b, id[:]), nil
}

// MarshalText returns the form String returns. It never fails.
func (id AgentID) MarshalText() ([]byte, error) {
	return id.AppendText(nil)
}

// UnmarshalText reads what ParseAgentID reads; on an error id is left as it was.
func (id *AgentID) UnmarshalText(text []byte) error {
	parsed, err := ParseAgentID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
