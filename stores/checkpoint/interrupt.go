package checkpoint

import (
	"encoding/json"
	"time"
)

// HumanInLoop is the type of an Interrupt that waits for a person.
const HumanInLoop = "human_in_loop"

// Interrupt is a call of a tool that waits for a decision.
type Interrupt struct {
	// Type is HumanInLoop. Others are kept as they are.
	Type     string
	ToolName string
	// ToolArgs is any JSON; empty means null.
	ToolArgs json.RawMessage
	// PolicyNote says why; "" is not written.
	PolicyNote string
	// CreatedAt travels as RFC 3339, with its offset and its nanoseconds.
	CreatedAt time.Time
	CallID    string
	// Unknown are fields that this library does not know. They travel along.
	Unknown map[string]json.RawMessage
}

func parseInterrupt(at string, data []byte) (i Interrupt, err error) {
	o, err := parseObject(at, data)
	if err != nil {
		return i, err
	}
	o.required("type", &i.Type)
	o.required("tool_name", &i.ToolName)
	i.ToolArgs = o.take("tool_args")
	o.optional("policy_note", &i.PolicyNote)
	o.required("created_at", &i.CreatedAt)
	o.required("call_id", &i.CallID)
	i.Unknown = o.rest()
	return i, o.err
}

func (i Interrupt) write(w *writer, at string) {
	created, err := i.CreatedAt.MarshalText() // RFC 3339, or an error
	if err != nil {
		w.fail(at+".created_at", "is not a time that RFC 3339 can write")
	}
	w.object(at, i.Unknown, func() {
		w.text("type", i.Type)
		w.text("tool_name", i.ToolName)
		w.raw("tool_args", i.ToolArgs)
		if i.PolicyNote != "" {
			w.text("policy_note", i.PolicyNote)
		}
		w.text("created_at", string(created))
		w.text("call_id", i.CallID)
	})
}
