package session

import (
	"encoding"
	"encoding/hex"
	"fmt"
)

// ID names a session: 16 bytes, written as 32 lower-case hex digits in keys, text and JSON. It is comparable. Every value of
// 16 bytes is an id, the zero one included.
type ID [16]byte

// AgentID names the agent that a session belongs to, in the same form.
type AgentID [16]byte

var (
	_ encoding.TextAppender    = ID{}
	_ encoding.TextMarshaler   = ID{}
	_ encoding.TextUnmarshaler = (*ID)(nil)
	_ fmt.Stringer             = ID{}
	_ encoding.TextAppender    = AgentID{}
	_ encoding.TextMarshaler   = AgentID{}
	_ encoding.TextUnmarshaler = (*AgentID)(nil)
	_ fmt.Stringer             = AgentID{}
)

// ParseID reads 32 hex digits of either case. Anything else is an error that names the fault and not the input.
func ParseID(s string) (ID, error) { return parse("session", s) }

// ParseAgentID is ParseID for agents.
func ParseAgentID(s string) (AgentID, error) {
	id, err := parse("agent", s)
	return AgentID(id), err
}

func parse(kind, s string) (id [16]byte, err error) {
	if len(s) != hex.EncodedLen(len(id)) {
		return [16]byte{}, fmt.Errorf("session: %s id must be 32 hex digits, got %d bytes", kind, len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return [16]byte{}, fmt.Errorf("session: %s id must be 32 hex digits, got another character", kind)
	}
	return id, nil
}

// String returns the id as 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// AppendText appends the form String returns. It never fails.
func (id ID) AppendText(b []byte) ([]byte, error) { return hex.AppendEncode(b, id[:]), nil }

// MarshalText returns the form String returns. It never fails.
func (id ID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText reads what ParseID reads; on an error id is left as it was.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// String returns the id as 32 lower-case hex digits.
func (id AgentID) String() string { return ID(id).String() }

// AppendText appends the form String returns. It never fails.
func (id AgentID) AppendText(b []byte) ([]byte, error) { return ID(id).AppendText(b) }

// MarshalText returns the form String returns. It never fails.
func (id AgentID) MarshalText() ([]byte, error) { return ID(id).AppendText(nil) }

// UnmarshalText reads what ParseAgentID reads; on an error id is left as it was.
func (id *AgentID) UnmarshalText(text []byte) error {
	parsed, err := ParseAgentID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}
