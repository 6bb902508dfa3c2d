package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MarshalJSON is the original system's document.
func (a Agent) MarshalJSON() ([]byte, error) {
	if y := a.LastHeartbeat.UTC().Year(); y < 0 || y > 9999 {
		return nil, errors.New("registry: last_heartbeat must be in the years 0 to 9999")
	}
	return a.encode(), nil
}

// UnmarshalJSON reads the original system's document. Names of members are matched exactly; of one that is there twice, the
// last counts.
func (a *Agent) UnmarshalJSON(data []byte) error {
	out, err := decode(string(data))
	if err == nil {
		*a = out
	}
	return err
}

func (a Agent) encode() []byte {
	b := make([]byte, 0, 192+len(a.unknown))
	b = append(b, `{"id":`...)
	b = appendString(b, a.ID)
	b = append(b, `,"name":`...)
	b = appendString(b, a.Name)
	for i, name := range a.Capabilities.names {
		if i == 0 {
			b = append(b, `,"capabilities":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	if len(a.Capabilities.names) > 0 {
		b = append(b, ']')
	}
	b = append(b, `,"status":`...)
	b = appendString(b, string(a.Status))
	b = append(b, `,"last_heartbeat":"`...)
	b = a.LastHeartbeat.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","current_load":`...)
	b = strconv.AppendInt(b, int64(a.CurrentLoad), 10)
	b = append(b, `,"max_load":`...)
	b = strconv.AppendInt(b, int64(a.MaxLoad), 10)
	b = append(b, a.unknown...)
	return append(b, '}')
}

// appendString writes a string as encoding/json does, which is what the original system's readers and writers are.
func appendString(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string always has a form
	return append(b, text...)
}

// decode reads a document.
func decode(doc string) (a Agent, err error) {
	err = a.decode(doc)
	return a, err
}

// decode reads a document into a zero Agent. The strings of the answer are parts of doc where they can be. It reads no more
// than the scripts do: what they refuse could neither beat nor be marked.
func (a *Agent) decode(doc string) error {
	if halves(doc) {
		return errJSON
	}
	var unknown strings.Builder
	err := members(doc, func(raw, name, value, text string) (err error) {
		switch name {
		case "id":
			a.ID, err = stringOf(value, text)
		case "name":
			a.Name, err = stringOf(value, text)
		case "capabilities":
			a.Capabilities.names, err = stringsOf(value)
		case "status":
			text, err = stringOf(value, text)
			a.Status = Status(text)
		case "last_heartbeat":
			a.LastHeartbeat, err = timeOf(value, text)
		case "current_load":
			a.CurrentLoad, err = intOf(value)
		case "max_load":
			a.MaxLoad, err = intOf(value)
		default:
			if !json.Valid([]byte(value)) {
				return errJSON
			}
			unknown.WriteByte(',')
			unknown.WriteString(raw)
		}
		if err != nil {
			return fmt.Errorf("member %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("registry: not the document of an agent: %w", err)
	}
	a.unknown = unknown.String()
	return nil
}

// maxDepth is one more than the scripts read of lists and objects in a value.
const maxDepth = 1000

// The errors hold nothing of the document: they go to logs.
var (
	errJSON  = errors.New("not valid JSON")
	errDepth = errors.New("nested too deeply")
)

func stringOf(value, text string) (string, error) {
	if value[0] == '"' || value == "null" {
		return text, nil
	}
	return "", errors.New("not a string")
}

func stringsOf(value string) (list []string, err error) {
	if value == "null" {
		return nil, nil
	}
	if value[0] != '[' {
		return nil, errors.New("not a list")
	}
	p := space(value, 1)
	if p < len(value) && value[p] == ']' {
		return nil, end(value, p+1)
	}
	list = make([]string, 0, strings.Count(value, ",")+1)
	for {
		var s string
		if strings.HasPrefix(value[p:], "null") { // "" to encoding/json
			p += len("null")
		} else if s, p, err = quoted(value, p); err != nil {
			return nil, errors.New("not a list of strings")
		}
		list = append(list, s)
		if p = space(value, p); p == len(value) {
			return nil, errJSON
		}
		switch value[p] {
		case ',':
			p = space(value, p+1)
		case ']':
			return list, end(value, p+1)
		default:
			return nil, errJSON
		}
	}
}

func timeOf(value, text string) (time.Time, error) {
	if value == "null" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || value[0] != '"' {
		return time.Time{}, errors.New("not a time of RFC 3339")
	}
	return t, nil
}

func intOf(value string) (int, error) {
	if value == "null" {
		return 0, nil
	}
	digits := strings.TrimPrefix(value, "-")
	n, err := strconv.Atoi(value)
	if err != nil || value[0] == '+' || len(digits) > 1 && digits[0] == '0' {
		return 0, errors.New("not an integer, or too large a one")
	}
	return n, nil
}

// members calls visit for each member of a JSON object: as it stands, its name, its value, and the text of a value that is
// a string. Values that are none are not checked.
func members(doc string, visit func(raw, name, value, text string) error) error {
	p := space(doc, 0)
	if p == len(doc) || doc[p] != '{' {
		return errors.New("not a JSON object")
	}
	if p = space(doc, p+1); p < len(doc) && doc[p] == '}' {
		return end(doc, p+1)
	}
	for {
		from := p
		name, p2, err := quoted(doc, p)
		if err != nil {
			return err
		}
		if p = space(doc, p2); p == len(doc) || doc[p] != ':' {
			return errJSON
		}
		p = space(doc, p+1)
		text, to, err := extent(doc, p)
		if err != nil {
			return err
		}
		if err := visit(doc[from:to], name, doc[p:to], text); err != nil {
			return err
		}
		switch p = space(doc, to); {
		case p < len(doc) && doc[p] == ',':
			p = space(doc, p+1)
		case p < len(doc) && doc[p] == '}':
			return end(doc, p+1)
		default:
			return errJSON
		}
	}
}

func end(doc string, p int) error {
	if space(doc, p) != len(doc) {
		return errJSON
	}
	return nil
}

func space(doc string, p int) int {
	for p < len(doc) && (doc[p] == ' ' || doc[p] == '\t' || doc[p] == '\n' || doc[p] == '\r') {
		p++
	}
	return p
}

// quoted reads the string that begins at p and answers where it ends. Only an odd one is copied.
func quoted(doc string, p int) (s string, next int, err error) {
	if p >= len(doc) || doc[p] != '"' {
		return "", 0, errJSON
	}
	odd := false
	for i := p + 1; i < len(doc); i++ {
		switch c := doc[i]; {
		case c == '"':
			raw := doc[p+1 : i]
			if odd && (strings.IndexByte(raw, '\\') >= 0 || !utf8.ValidString(raw)) {
				s, err = unescaped(doc[p : i+1])
				return s, i + 1, err
			}
			return raw, i + 1, nil
		case c == '\\':
			odd = true
			i++
		case c < ' ':
			return "", 0, errJSON
		case c >= utf8.RuneSelf:
			odd = true
		}
	}
	return "", 0, errJSON
}

// halves says whether the escapes of a document hold half a pair of UTF-16, which is no character.
func halves(doc string) bool {
	for {
		i := strings.IndexByte(doc, '\\')
		if i < 0 || i+2 > len(doc) {
			return false
		}
		first, pair := unit(doc[i:]), false
		if doc = doc[i+2:]; first < 0xd800 || first > 0xdfff {
			continue
		}
		if doc = doc[4:]; first < 0xdc00 {
			second := unit(doc)
			pair = second >= 0xdc00 && second <= 0xdfff
		}
		if !pair {
			return true
		}
		doc = doc[6:]
	}
}

// unit is the number of an escape of the form \uXXXX at the begin of s; 0: there is none.
func unit(s string) uint64 {
	if len(s) < 6 || s[:2] != `\u` {
		return 0
	}
	n, _ := strconv.ParseUint(s[2:6], 16, 16) // 0: no number, which others refuse
	return n
}

// unescaped reads a string that has escapes, or bytes that are no text.
func unescaped(literal string) (s string, err error) {
	if json.Unmarshal([]byte(literal), &s) != nil {
		return "", errJSON
	}
	return s, nil
}

// extent answers where the value that begins at p ends, and the text of a string. Only brackets and strings are looked at.
func extent(doc string, p int) (text string, next int, err error) {
	if p >= len(doc) {
		return "", 0, errJSON
	}
	i := p
	switch doc[p] {
	case '"':
		return quoted(doc, p)
	case '{', '[':
		for depth := 0; i < len(doc); i++ {
			switch doc[i] {
			case '{', '[':
				if depth++; depth == maxDepth {
					return "", 0, errDepth
				}
			case '}', ']':
				if depth--; depth == 0 {
					return "", i + 1, nil
				}
			case '"':
				_, next, err := quoted(doc, i)
				if err != nil {
					return "", 0, err
				}
				i = next - 1
			}
		}
		return "", 0, errJSON
	}
	for i < len(doc) && doc[i] != ',' && doc[i] != '}' && doc[i] > ' ' {
		i++
	}
	if i == p {
		return "", 0, errJSON
	}
	return "", i, nil
}
