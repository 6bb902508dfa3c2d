package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// This file takes JSON apart without interpreting it, so that unknown members survive byte for byte. encoding/json alone
// would match names whatever their case, keep the last of two equal names, and replace what is not UTF-8.
// Everything but checkSyntax works on text that checkSyntax has passed.

// member is a name and a value of an object, both as written.
type member struct{ name, value string }

// place is where in a document something is: the index of a rule, or top.
type place int

const top place = -1

func (p place) String() string {
	if p == top {
		return "document"
	}
	return "rules[" + strconv.Itoa(int(p)) + "]"
}

// field returns the path of a field of p.
func (p place) field(name string) string {
	if p == top {
		return name
	}
	return p.String() + "." + name
}

// checkSyntax refuses what is not exactly one JSON value in UTF-8.
func checkSyntax(data []byte) error {
	if !utf8.Valid(data) {
		return &DocumentError{Field: top.String(), Problem: "is not valid UTF-8"}
	}
	if json.Valid(data) {
		return nil
	}
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var offset int64
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = syntax.Offset
	}
	return &DocumentError{Field: top.String(), Problem: fmt.Sprintf("is not valid JSON at byte %d: %v", offset, err)}
}

// split puts the values of an object's known fields into values, "" for a missing one, and returns the other members in
// their order. Names are compared after unescaping; a name that occurs twice is an error.
func split(object string, at place, known, values []string) ([]member, error) {
	if object == "" || object[0] != '{' {
		return nil, &DocumentError{Field: at.String(), Problem: "must be a JSON object"}
	}
	var rest []member
	for m := range members(object) {
		name, ok := unquote(m.name)
		if !ok {
			return nil, &DocumentError{Field: at.String(), Problem: "has a field name with half a surrogate pair"}
		}
		i := slices.Index(known, name)
		switch {
		case i < 0:
			rest = append(rest, m)
		case values[i] != "":
			return nil, &DocumentError{Field: at.field(name), Problem: "is given twice"}
		default:
			values[i] = m.value
		}
	}
	return rest, checkDistinct(rest, at)
}

// checkDistinct refuses two members of one name. It sorts, because comparing each with each would let a document of
// many short members cost minutes.
func checkDistinct(rest []member, at place) error {
	if len(rest) < 2 {
		return nil
	}
	names := make([]string, len(rest))
	for i, m := range rest {
		names[i], _ = unquote(m.name)
	}
	slices.Sort(names)
	for i, name := range names[1:] {
		if name == names[i] {
			const shown = 32
			return &DocumentError{Field: at.String(), Problem: fmt.Sprintf("has two fields named %.*q", shown, name)}
		}
	}
	return nil
}

// members yields the members of an object in their order.
func members(object string) iter.Seq[member] {
	return func(yield func(member) bool) {
		for i := skipSpace(object, 1); object[i] != '}'; {
			end := skipString(object, i)
			name := object[i:end]
			start := skipSpace(object, skipSpace(object, end)+1) // past the colon
			end = skipValue(object, start)
			if !yield(member{name, object[start:end]}) {
				return
			}
			i = skipComma(object, end)
		}
	}
}

// elements yields the elements of an array in their order.
func elements(array string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := skipSpace(array, 1); array[i] != ']'; {
			end := skipValue(array, i)
			if !yield(array[i:end]) {
				return
			}
			i = skipComma(array, end)
		}
	}
}

func skipSpace(s string, i int) int {
	for s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r' {
		i++
	}
	return i
}

// skipComma returns where the next member or the closing bracket is.
func skipComma(s string, i int) int {
	i = skipSpace(s, i)
	if s[i] == ',' {
		i = skipSpace(s, i+1)
	}
	return i
}

// skipString returns the index after the string that begins at s[i].
func skipString(s string, i int) int {
	for i++; s[i] != '"'; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipValue returns the index after the value that begins at s[i]. It does not recurse.
func skipValue(s string, i int) int {
	depth := 0
	for {
		switch s[i] {
		case '"':
			i = skipString(s, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ' ', '\t', '\n', '\r', ',', ':':
			i++
			continue
		default: // a number or a word
			for i < len(s) && strings.IndexByte(" \t\n\r,:}]", s[i]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
}

// unquote returns the text of a JSON string, without copying when nothing is escaped. It reports false for half a
// surrogate pair, which stands for no text and which encoding/json would replace.
func unquote(quoted string) (string, bool) {
	text := quoted[1 : len(quoted)-1]
	if strings.IndexByte(text, '\\') < 0 {
		return text, true
	}
	if hasLoneSurrogate(text) {
		return "", false
	}
	var plain string // apart from text, which would else be allocated on every call
	err := json.Unmarshal([]byte(quoted), &plain)
	return plain, err == nil
}

func hasLoneSurrogate(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		high, ok := escapedUnit(text, i)
		if !ok || !utf16.IsSurrogate(high) {
			i++ // past the escaped character; hex digits hold no backslash
			continue
		}
		low, ok := escapedUnit(text, i+6)
		if !ok || utf16.DecodeRune(high, low) == utf8.RuneError {
			return true
		}
		i += 11
	}
	return false
}

// escapedUnit reads the \uXXXX at text[i], if there is one.
func escapedUnit(text string, i int) (rune, bool) {
	if len(text) < i+6 || text[i] != '\\' || text[i+1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(text[i+2:i+6], 16, 16)
	return rune(unit), err == nil
}
