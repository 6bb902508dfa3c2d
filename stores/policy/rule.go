package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Rule is one line of a policy: what to say about the actions its pattern matches. The zero Decision of a rule is Deny.
type Rule struct {
	// ActionPattern is the glob the action is matched against; see the package comment. At most MaxPattern bytes.
	ActionPattern string
	// Decision is what the document says about a matching action.
	Decision Verdict

	extra []member // the fields of the JSON rule this package does not know
}

var ruleFields = []string{"action_pattern", "decision"}

func decodeRule(object string, at place) (Rule, error) {
	var values [2]string
	extra, err := split(object, at, ruleFields, values[:])
	if err != nil {
		return Rule{}, err
	}
	pattern, err := decodeText(values[0], at, "action_pattern")
	if err != nil {
		return Rule{}, err
	}
	verdict, err := decodeName(values[1], at, "decision", verdictNames[:], "must be Allow, Deny or RequireApproval")
	if err != nil {
		return Rule{}, err
	}
	return Rule{ActionPattern: pattern, Decision: Verdict(verdict), extra: extra}, nil
}

// appendJSON appends the rule, its known fields first.
func (r Rule) appendJSON(b []byte, at place) ([]byte, error) {
	if !utf8.ValidString(r.ActionPattern) {
		return nil, &DocumentError{Field: at.field("action_pattern"), Problem: "is not valid UTF-8"}
	}
	if int(r.Decision) >= len(verdictNames) {
		return nil, &DocumentError{Field: at.field("decision"), Problem: "must be Allow, Deny or RequireApproval"}
	}
	b = append(b, `{"action_pattern":`...)
	b = appendText(b, r.ActionPattern)
	b = append(b, `,"decision":"`...)
	b = append(b, r.Decision.String()...)
	b = append(b, '"')
	return append(appendMembers(b, r.extra), '}'), nil
}

// decodeText reads a required string.
func decodeText(value string, at place, name string) (string, error) {
	if value == "" {
		return "", &DocumentError{Field: at.field(name), Problem: "is required"}
	}
	if value[0] != '"' {
		return "", &DocumentError{Field: at.field(name), Problem: "must be a string"}
	}
	text, ok := unquote(value)
	if !ok {
		return "", &DocumentError{Field: at.field(name), Problem: "has half a surrogate pair"}
	}
	return text, nil
}

// decodeName reads a required string that must be one of names, and returns which.
func decodeName(value string, at place, name string, names []string, otherwise string) (int, error) {
	if value == "" {
		return 0, &DocumentError{Field: at.field(name), Problem: "is required"}
	}
	if value[0] == '"' {
		if text, ok := unquote(value); ok {
			if i := slices.Index(names, text); i >= 0 {
				return i, nil
			}
		}
	}
	return 0, &DocumentError{Field: at.field(name), Problem: otherwise}
}

// decodeUint32 reads a required whole number.
func decodeUint32(value string, at place, name string) (uint32, error) {
	if value == "" {
		return 0, &DocumentError{Field: at.field(name), Problem: "is required"}
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return 0, &DocumentError{Field: at.field(name), Problem: "must be a whole number from 0 to 4294967295"}
	}
	return uint32(n), nil
}

func appendMembers(b []byte, members []member) []byte {
	for _, m := range members {
		b = append(b, ',')
		b = append(b, m.name...)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return b
}

// appendText appends s, which is valid UTF-8, as a JSON string. Only what JSON requires to be escaped is.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for {
		i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' })
		if i < 0 {
			return append(append(b, s...), '"')
		}
		b = append(b, s[:i]...)
		if s[i] < ' ' {
			b = fmt.Appendf(b, `\u%04x`, s[i])
		} else {
			b = append(b, '\\', s[i])
		}
		s = s[i+1:]
	}
}
