package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"unicode/utf8"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

// Snapshot is a thread's state as the original system keeps it. It is a plain value of its owner: nothing here shares it.
type Snapshot struct {
	Todos []Todo
	// Files are contents by name. Both are UTF-8.
	Files map[string]string
	// Scratchpad is any JSON by key.
	Scratchpad map[string]json.RawMessage
	// Interrupts are pending; the JSON leaves them out when there are none.
	Interrupts []Interrupt
	// Unknown are fields that this library does not know. They travel along.
	Unknown map[string]json.RawMessage
}

// ParseSnapshot reads the JSON of a Snapshot. Fields may be missing, which is empty; one that is wrong is a *SnapshotError.
func ParseSnapshot(data []byte) (Snapshot, error) {
	if !utf8.Valid(data) {
		return Snapshot{}, &SnapshotError{Reason: "must be UTF-8"} // else it would be changed silently
	}
	o, err := parseObject("", data)
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Todos: list(o, "todos", parseTodo)}
	var files map[string]*string
	o.optional("files", &files)
	for name, text := range files {
		if text == nil {
			o.fail("files", wrongType)
			break
		}
		if s.Files == nil {
			s.Files = make(map[string]string, len(files))
		}
		s.Files[name] = *text
	}
	o.optional("scratchpad", &s.Scratchpad)
	s.Interrupts = list(o, "pending_interrupts", parseInterrupt)
	s.Unknown = o.rest()
	if o.err != nil {
		return Snapshot{}, o.err
	}
	return s, nil
}

// Encode writes the JSON of a Snapshot, on one line, or answers a *SnapshotError.
func (s Snapshot) Encode() ([]byte, error) {
	w := newWriter()
	w.object("", s.Unknown, func() {
		w.array("todos", len(s.Todos), func(i int, at string) { s.Todos[i].write(w, at) })
		w.name("files")
		texts(w, s.Files)
		w.name("scratchpad")
		w.object("scratchpad", s.Scratchpad, func() {})
		if len(s.Interrupts) > 0 {
			w.array("pending_interrupts", len(s.Interrupts), func(i int, at string) { s.Interrupts[i].write(w, at) })
		}
	})
	if w.err != nil {
		return nil, w.err
	}
	data := w.buf.Bytes()
	// encoding/json reads no more levels than that, which each part has kept to by itself.
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > 10_000 && !json.Valid(data) {
		return nil, &SnapshotError{Reason: "is nested too deep to be read again"}
	}
	return data, nil
}

// texts writes an object of strings, sorted.
func texts(w *writer, files map[string]string) {
	if files == nil {
		files = map[string]string{}
	}
	for name, content := range files {
		if !utf8.ValidString(name) || !utf8.ValidString(content) {
			w.fail("files", "must be UTF-8")
			return
		}
	}
	if w.enc.Encode(files) != nil { // sorts by itself
		w.fail("files", "cannot be written")
		return
	}
	w.buf.Truncate(w.buf.Len() - 1) // the newline
}

// MarshalJSON is Encode.
func (s Snapshot) MarshalJSON() ([]byte, error) { return s.Encode() }

// UnmarshalJSON is ParseSnapshot.
func (s *Snapshot) UnmarshalJSON(data []byte) (err error) {
	*s, err = ParseSnapshot(data)
	return err
}

// Merge answers s with what a later snapshot brings: of Files, Scratchpad and Unknown each key that it has, and its Todos and its
// Interrupts unless they are empty. It changes neither, and shares their slices.
func (s Snapshot) Merge(later Snapshot) Snapshot {
	merged := Snapshot{
		Todos: s.Todos, Interrupts: s.Interrupts,
		Files: merge(s.Files, later.Files), Scratchpad: merge(s.Scratchpad, later.Scratchpad), Unknown: merge(s.Unknown, later.Unknown),
	}
	if len(later.Todos) > 0 {
		merged.Todos = later.Todos
	}
	if len(later.Interrupts) > 0 {
		merged.Interrupts = later.Interrupts
	}
	return merged
}

func merge[V any](a, b map[string]V) map[string]V {
	if len(a)+len(b) == 0 {
		return nil
	}
	both := make(map[string]V, len(a)+len(b))
	maps.Copy(both, a)
	maps.Copy(both, b)
	return both
}

// SaveSnapshot is Save of a Snapshot's JSON. A snapshot that cannot be written is a *SnapshotError.
func (s *Store) SaveSnapshot(ctx context.Context, id string, snapshot Snapshot) (Saved, error) {
	state, err := snapshot.Encode()
	if err != nil {
		return Saved{}, err
	}
	return s.Save(ctx, id, state)
}

// SaveSnapshotIf is SaveIf of a Snapshot's JSON.
func (s *Store) SaveSnapshotIf(ctx context.Context, id string, snapshot Snapshot, version Version) (Saved, error) {
	state, err := snapshot.Encode()
	if err != nil {
		return Saved{}, err
	}
	return s.SaveIf(ctx, id, state, version)
}

// LoadSnapshot is Load of a thread whose state is a Snapshot, which is read anew and the caller's own. A state that is none is
// ErrCorrupt inside readthrough.ErrUnavailable, with a *SnapshotError.
func (s *Store) LoadSnapshot(ctx context.Context, id string, opts ...readthrough.Option) (Snapshot, Version, error) {
	state, err := s.Load(ctx, id, opts...)
	if err != nil {
		return Snapshot{}, 0, err
	}
	snapshot, err := ParseSnapshot(state.Data)
	if err != nil {
		return Snapshot{}, 0, fmt.Errorf("checkpoint: load: %w", layout.Unavailable(errors.Join(ErrCorrupt, err)))
	}
	return snapshot, state.Version, nil
}
