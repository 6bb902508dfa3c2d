package checkpoint

import "encoding/json"

// Status is how far a todo is.
type Status string

// The states of a todo; there are no others.
const (
	Pending    Status = "pending"
	InProgress Status = "in_progress"
	Completed  Status = "completed"
)

func (s Status) valid() bool { return s == Pending || s == InProgress || s == Completed }

// Todo is something that an agent has to do.
type Todo struct {
	Content string
	Status  Status
	// Unknown are fields that this library does not know. They travel along.
	Unknown map[string]json.RawMessage
}

func parseTodo(at string, data []byte) (t Todo, err error) {
	o, err := parseObject(at, data)
	if err != nil {
		return t, err
	}
	o.required("content", &t.Content)
	o.required("status", &t.Status)
	if o.err == nil && !t.Status.valid() {
		o.fail("status", "must be pending, in_progress or completed")
	}
	t.Unknown = o.rest()
	return t, o.err
}

func (t Todo) write(w *writer, at string) {
	if !t.Status.valid() {
		w.fail(at+".status", "must be pending, in_progress or completed")
	}
	w.object(at, t.Unknown, func() {
		w.text("content", t.Content)
		w.text("status", string(t.Status))
	})
}
