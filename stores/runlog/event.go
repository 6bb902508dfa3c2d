package runlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The kinds of events that the original systems have. Any other kind is kept as it is.
const (
	RunStarted                = "RunStarted"
	ContextBuilt              = "ContextBuilt"
	ModelStarted              = "ModelStarted"
	TextDelta                 = "TextDelta"
	ToolCallStarted           = "ToolCallStarted"
	ToolCallDelta             = "ToolCallDelta"
	ToolCallCompleted         = "ToolCallCompleted"
	ToolExecutionStarted      = "ToolExecutionStarted"
	ToolExecutionFinished     = "ToolExecutionFinished"
	AssistantMessageCommitted = "AssistantMessageCommitted"
	ToolMessageCommitted      = "ToolMessageCommitted"
	UsageRecorded             = "UsageRecorded"
	CacheMetrics              = "CacheMetrics"
	RunCompleted              = "RunCompleted" // terminal
	RunFailed                 = "RunFailed"    // terminal
	RunCancelled              = "RunCancelled" // terminal
	DoomLoopDetected          = "DoomLoopDetected"
	CompactionCircuitOpened   = "CompactionCircuitOpened"
)

// IsTerminal says whether a run ends with an event of this kind.
func IsTerminal(kind string) bool {
	return kind == RunCompleted || kind == RunFailed || kind == RunCancelled
}

// MaxEvent is the longest Event.Body in bytes.
const MaxEvent = 1 << 20

// Event is what is appended to a run.
type Event struct {
	// ID makes appending again harmless: the same id again answers the first envelope. Zero: Append draws one, and an Append
	// whose outcome is unknown cannot be repeated.
	ID EventID
	// Body is the event as externally tagged JSON, {"Kind":payload}, or "Kind" for one without a payload. It is kept byte for
	// byte, unknown kinds too, but for white space around it. At most MaxEvent bytes.
	Body json.RawMessage
	// EmittedAt is when it happened. Zero: when it is appended, by this process's clock.
	EmittedAt time.Time
}

// NewEvent makes an event of a kind with an id of its own, so that the same Event can be appended again after a failure. The kind is
// UTF-8 and not empty.
func NewEvent(kind string, payload any) (Event, error) {
	if kind == "" || !utf8.ValidString(kind) {
		return Event{}, errors.New("runlog: the kind of an event must be UTF-8 and not empty")
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{kind: payload}); err != nil {
		return Event{}, fmt.Errorf("runlog: the payload of a %s: %w", kind, err)
	}
	return Event{ID: NewEventID(), Body: bytes.TrimSpace(body.Bytes())}, nil
}

// draft checks the event and makes it what a Backend takes.
func (e Event) draft(now time.Time) (Draft, error) {
	body := bytes.TrimSpace(e.Body)
	if len(body) > MaxEvent {
		return Draft{}, fmt.Errorf("runlog: Event.Body must have at most %d bytes, got %d", MaxEvent, len(body))
	}
	kind, payload, err := tagged(body)
	if err != nil {
		return Draft{}, fmt.Errorf("runlog: Event.Body: %w", err)
	}
	d := Draft{ID: e.ID, Body: body, EmittedAt: e.EmittedAt.UTC(), Terminal: IsTerminal(kind)}
	if e.EmittedAt.IsZero() {
		d.EmittedAt = now.UTC()
	}
	if !written(d.EmittedAt) {
		return Draft{}, errors.New("runlog: Event.EmittedAt must be from year 0 to 9999")
	}
	if kind == RunStarted {
		if d.Session, err = sessionOf(payload); err != nil {
			return Draft{}, fmt.Errorf("runlog: Event.Body: %w", err)
		}
	}
	return d, nil
}

var errNotTagged = errors.New(`an event is JSON with one tag, {"Kind":…} or "Kind"`)

// tagged splits externally tagged JSON. The payload is nil for a tag alone.
func tagged(body []byte) (kind string, payload json.RawMessage, err error) {
	body = bytes.TrimSpace(body)
	if len(body) < 3 || !json.Valid(body) || !fits(body) { // what follows may rely on it
		return "", nil, errNotTagged
	}
	quoted, payload := body, json.RawMessage(nil)
	if body[0] == '{' {
		inner := bytes.TrimSpace(body[1 : len(body)-1])
		if len(inner) == 0 {
			return "", nil, errNotTagged
		}
		n := valueLen(inner)
		quoted = inner[:n]
		payload = bytes.TrimSpace(inner[n:])
		payload = bytes.TrimSpace(payload[1:]) // after the colon
		if valueLen(payload) != len(payload) {
			return "", nil, errNotTagged // there is another tag
		}
	}
	if quoted[0] != '"' {
		return "", nil, errNotTagged
	}
	if kind = string(quoted[1 : len(quoted)-1]); strings.IndexByte(kind, '\\') >= 0 || !utf8.ValidString(kind) {
		if json.Unmarshal(quoted, &kind) != nil {
			return "", nil, errNotTagged
		}
	}
	if kind == "" {
		return "", nil, errNotTagged
	}
	return kind, payload, nil
}

// fits says whether an envelope can hold an event, which is one level deeper there: encoding/json reads no more than 10,000.
func fits(body []byte) bool {
	return bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) < 10_000 || json.Valid(slices.Concat([]byte("["), body, []byte("]")))
}

// valueLen is the length of the JSON value at the beginning of text, which is valid from there on.
func valueLen(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i // after a number, true, false or null
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1 // a string, an object or an array ends here
		}
	}
	return len(text)
}

// MaxSession is the longest session id in bytes.
const MaxSession = 1 << 10

// sessionOf is the session id in the payload of a RunStarted; "": there is none. It is exactly the member session_id: into a
// struct encoding/json would take one whose name differs in case too.
func sessionOf(payload json.RawMessage) (string, error) {
	if len(payload) == 0 || payload[0] != '{' {
		return "", nil
	}
	var members map[string]json.RawMessage
	var id string
	if json.Unmarshal(payload, &members) != nil {
		return "", errNotTagged
	}
	raw, ok := members["session_id"]
	if !ok {
		return "", nil
	}
	if json.Unmarshal(raw, &id) != nil {
		return "", errors.New("the session_id of a RunStarted is a string")
	}
	if strings.ContainsRune(id, utf8.RuneError) { // so encoding/json makes different ids the same
		return "", errors.New("the session_id of a RunStarted is UTF-8, without half a surrogate pair and U+FFFD")
	}
	return id, checkSession(id)
}

func checkSession(id string) error {
	if len(id) > MaxSession {
		return fmt.Errorf("a session id has at most %d bytes", MaxSession)
	}
	if !utf8.ValidString(id) {
		return errors.New("a session id is UTF-8")
	}
	return nil
}
