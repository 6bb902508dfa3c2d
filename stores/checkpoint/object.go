package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// SnapshotError says what is wrong with a Snapshot or its JSON. It shows no value.
type SnapshotError struct {
	// Field is where, such as todos[1].status; "": the whole.
	Field string
	// Reason says what it must be.
	Reason string
}

// Error names the field and the reason.
func (e *SnapshotError) Error() string {
	if e.Field == "" {
		return "checkpoint: the snapshot " + e.Reason
	}
	return fmt.Sprintf("checkpoint: %s of the snapshot %s", e.Field, e.Reason)
}

// object is a JSON object being read. What is not taken is unknown, and kept. encoding/json would drop that, and take a
// field whose name differs in case.
type object struct {
	at     string
	fields map[string]json.RawMessage
	err    error // the first
}

func parseObject(at string, data []byte) (*object, error) {
	o := &object{at: at}
	if err := json.Unmarshal(data, &o.fields); err != nil || o.fields == nil {
		return nil, &SnapshotError{Field: at, Reason: "must be a JSON object"}
	}
	if halfNamed(o.fields, data) {
		return nil, &SnapshotError{Field: at, Reason: halfText}
	}
	return o, nil
}

func (o *object) fail(field, reason string) {
	if o.err == nil {
		o.err = &SnapshotError{Field: under(o.at, field), Reason: reason}
	}
}

// take answers a field's JSON and removes it; nil: there is none.
func (o *object) take(field string) json.RawMessage {
	raw := o.fields[field]
	delete(o.fields, field)
	return raw
}

func (o *object) required(field string, into any) {
	switch raw, ok := o.fields[field]; {
	case !ok:
		o.fail(field, "is missing")
	case string(raw) == "null": // json takes that for whatever into is
		o.fail(field, wrongType)
	}
	o.optional(field, into)
}

const wrongType = "has another type than it must"

func (o *object) optional(field string, into any) {
	raw := o.take(field)
	if raw == nil {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		o.fail(field, wrongType)
		return
	}
	switch into := into.(type) {
	case *[]json.RawMessage: // whose text is read later
	case *map[string]json.RawMessage:
		if halfNamed(*into, raw) {
			o.fail(field, halfText)
		}
	default:
		if half(raw) {
			o.fail(field, halfText)
		}
	}
}

// rest is what nobody has taken; nil: nothing.
func (o *object) rest() map[string]json.RawMessage {
	if len(o.fields) == 0 {
		return nil
	}
	return o.fields
}

// list reads a field that is an array of objects, or null.
func list[T any](o *object, field string, parse func(at string, data []byte) (T, error)) (all []T) {
	var raws []json.RawMessage
	o.optional(field, &raws)
	for i, raw := range raws {
		item, err := parse(fmt.Sprintf("%s[%d]", under(o.at, field), i), raw)
		if err != nil && o.err == nil {
			o.err = err
		}
		all = append(all, item)
	}
	return all
}

func under(at, field string) string {
	if at == "" {
		return field
	}
	return at + "." + field
}

// writer writes JSON with the fields in the order they are given, and text without the escapes of HTML.
type writer struct {
	buf   bytes.Buffer
	enc   *json.Encoder
	at    string   // the object that is being written
	names []string // its fields so far
	err   error    // the first
}

func newWriter() *writer {
	w := &writer{}
	w.enc = json.NewEncoder(&w.buf)
	w.enc.SetEscapeHTML(false)
	return w
}

func (w *writer) fail(at, reason string) {
	if w.err == nil {
		w.err = &SnapshotError{Field: at, Reason: reason}
	}
}

// object writes an object: what fields writes, then unknown ones.
func (w *writer) object(at string, unknown map[string]json.RawMessage, fields func()) {
	outer, names := w.at, w.names
	w.at, w.names = at, nil
	w.buf.WriteByte('{')
	fields()
	known := w.names
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		if slices.Contains(known, name) {
			w.fail(at, "has a field twice, as itself and as unknown")
		}
		w.raw(name, unknown[name])
	}
	w.buf.WriteByte('}')
	w.at, w.names = outer, names
}

func (w *writer) name(field string) {
	if len(w.names) > 0 {
		w.buf.WriteByte(',')
	}
	w.names = append(w.names, field)
	w.string(field)
	w.buf.WriteByte(':')
}

func (w *writer) text(field, s string) {
	w.name(field)
	w.string(s)
}

// string refuses what JSON cannot hold, which would be changed silently. The error names the object and not the field,
// whose name may be the user's.
func (w *writer) string(s string) {
	if !utf8.ValidString(s) {
		w.fail(w.at, "must be UTF-8")
		return
	}
	if err := w.enc.Encode(s); err != nil {
		w.fail(w.at, "cannot be written")
		return
	}
	w.buf.Truncate(w.buf.Len() - 1) // the newline
}

// raw writes JSON as it is, without its blanks.
func (w *writer) raw(field string, raw json.RawMessage) {
	w.name(field)
	if len(raw) == 0 {
		w.buf.WriteString("null")
		return
	}
	if !utf8.Valid(raw) || json.Compact(&w.buf, raw) != nil {
		w.fail(w.at, "holds something that is not JSON")
	}
}

// array writes n elements.
func (w *writer) array(field string, n int, element func(i int, at string)) {
	w.name(field)
	at := under(w.at, field)
	w.buf.WriteByte('[')
	for i := range n {
		if i > 0 {
			w.buf.WriteByte(',')
		}
		element(i, fmt.Sprintf("%s[%d]", at, i))
	}
	w.buf.WriteByte(']')
}
