package policy

import (
	"encoding"
	"encoding/json"
	"errors"
	"strconv"
)

const (
	// MaxDocument is the longest document accepted, in bytes of JSON.
	MaxDocument = 1 << 20
	// MaxRules is the largest number of rules of a document.
	MaxRules = 10_000
	// MaxPattern is the longest action pattern, in bytes.
	MaxPattern = 1 << 10
	// MaxAction is the longest action that is matched, in bytes. A longer one gets no decision.
	MaxAction = 4 << 10
)

// ErrActionTooLong says that an action is longer than MaxAction and was therefore not matched against anything.
var ErrActionTooLong = errors.New("policy: action is longer than " + strconv.Itoa(MaxAction) + " bytes")

// DocumentError says why something is not a policy document.
type DocumentError struct {
	// Field is the path of the field at fault, such as rules[3].decision, or document for the whole.
	Field string
	// Problem says what is wrong with it, without repeating its value.
	Problem string
}

// Error returns the path of the field and its problem.
func (e *DocumentError) Error() string { return "policy: " + e.Field + " " + e.Problem }

// Document is a policy: the JSON it was made from, and its rules compiled. It is immutable once ParseDocument or
// NewDocument returned it and is then safe for concurrent use. The zero Document, and a nil one, decide nothing.
type Document struct {
	source   string // the JSON, exactly as given; empty in the zero Document only
	name     string
	version  uint32
	mode     Mode
	rules    []matcher
	patterns []string // patterns[i] is the action pattern of rules[i]; apart, because only a match reads it
}

var (
	_ encoding.BinaryAppender    = (*Document)(nil)
	_ encoding.BinaryMarshaler   = (*Document)(nil)
	_ encoding.BinaryUnmarshaler = (*Document)(nil)
	_ json.Marshaler             = (*Document)(nil)
	_ json.Unmarshaler           = (*Document)(nil)
)

// ParseDocument reads a policy document and compiles its patterns. It keeps a copy of data, byte for byte.
//
// version, name and rules are required; rules may be empty, which denies everything, but not null. A missing
// enforcement_mode is enforce; null is an error. Names of fields, decisions and modes are matched exactly. Fields this
// package does not know are kept. Refused, with a *DocumentError: more or other than one JSON object in valid UTF-8, a
// field given twice, a wrong type, an unknown decision or mode, a version that is no uint32, a faulty pattern, and
// whatever exceeds a limit.
func ParseDocument(data []byte) (*Document, error) {
	if len(data) > MaxDocument {
		problem := "is longer than " + strconv.Itoa(MaxDocument) + " bytes"
		return nil, &DocumentError{Field: top.String(), Problem: problem}
	}
	if err := checkSyntax(data); err != nil {
		return nil, err
	}
	source := string(data)
	draft, err := decodeDraft(source)
	if err != nil {
		return nil, err
	}
	return build(source, draft)
}

// NewDocument makes a document from a draft. Its JSON is compact: the known fields in the order version, name, rules,
// enforcement_mode, then the unknown ones the draft carries. It refuses what ParseDocument refuses. The draft is not
// kept.
func NewDocument(draft Draft) (*Document, error) {
	data, err := draft.appendJSON(nil)
	if err != nil {
		return nil, err
	}
	return ParseDocument(data) // so that every string points into the new JSON, and there is one set of checks
}

func build(source string, draft Draft) (*Document, error) {
	d := &Document{
		source:   source,
		name:     draft.Name,
		version:  draft.Version,
		mode:     draft.Mode,
		rules:    make([]matcher, len(draft.Rules)),
		patterns: make([]string, len(draft.Rules)),
	}
	for i, rule := range draft.Rules {
		m, problem := compile(rule.ActionPattern)
		if problem != "" {
			return nil, &DocumentError{Field: place(i).field("action_pattern"), Problem: problem}
		}
		m.verdict = rule.Decision
		d.rules[i], d.patterns[i] = m, rule.ActionPattern
	}
	return d, nil
}

// Decide matches action against the rules in order; the first whose pattern matches decides, and when none does the
// verdict is Deny. It allocates nothing. The time is bounded by the length of the patterns times the length of the
// action. An action longer than MaxAction gets the zero Decision: denied, whatever the mode.
func (d *Document) Decide(action string) Decision {
	if d == nil || d.source == "" || len(action) > MaxAction {
		return Decision{}
	}
	for i := range d.rules {
		if m := &d.rules[i]; m.match(action) {
			return Decision{
				pattern: d.patterns[i],
				rule:    int32(i) + 1,
				verdict: m.verdict,
				mode:    d.mode,
				decided: true,
			}
		}
	}
	return Decision{mode: d.mode, decided: true}
}

// Version returns the author's version number of the policy.
func (d *Document) Version() uint32 { return d.version }

// Name returns the name of the policy.
func (d *Document) Name() string { return d.name }

// Mode returns the enforcement mode.
func (d *Document) Mode() Mode { return d.mode }

// Draft returns the document's fields for editing, the unknown ones included. It reads the JSON again; what is done to
// the draft does not touch the document.
func (d *Document) Draft() Draft {
	if d.source == "" {
		return Draft{}
	}
	draft, err := decodeDraft(d.source)
	if err != nil {
		panic("policy: a document no longer parses: " + err.Error()) // it did when it was made, and is immutable
	}
	return draft
}

// AppendBinary appends the document's JSON: what ParseDocument was given, or what NewDocument made. The zero Document
// is an error.
func (d *Document) AppendBinary(b []byte) ([]byte, error) {
	if d.source == "" {
		return nil, &DocumentError{Field: top.String(), Problem: "is empty"}
	}
	return append(b, d.source...), nil
}

// MarshalBinary returns what AppendBinary appends.
func (d *Document) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalBinary makes d what ParseDocument(data) returns; on an error d is left as it was. It is for a new Document
// only: one that others can see must not change.
func (d *Document) UnmarshalBinary(data []byte) error {
	parsed, err := ParseDocument(data)
	if err != nil {
		return err
	}
	*d = *parsed
	return nil
}

// MarshalJSON returns what AppendBinary appends. encoding/json removes the white space from it.
func (d *Document) MarshalJSON() ([]byte, error) { return d.AppendBinary(nil) }

// UnmarshalJSON does what UnmarshalBinary does; null is an error.
func (d *Document) UnmarshalJSON(data []byte) error { return d.UnmarshalBinary(data) }
