package l2

import (
	"errors"
	"strconv"
	"time"
)

// errReply says that a script answered what it never answers: another program's script, or a proxy in between.
var errReply = errors.New("unexpected answer from Redis")

// refusal decodes what ensure answers instead of a state.
func (c call) refusal(values []any) error {
	switch values[0] {
	case int64(-1):
		r := reader{values: values[1:]}
		e := &ConfigMismatchError{Field: r.text(), Stored: r.text()}
		if r.bad {
			return errReply
		}
		switch e.Field {
		case "protocol":
			e.Ours = protocolVersion
		case "partitions":
			e.Ours = strconv.Itoa(len(c.store.parts))
		case "encoding":
			e.Ours = idEncoding
		case "mirror":
			e.Ours = "this one"
		case "lease":
			e.Ours = strconv.FormatInt(millis(c.store.lease), 10)
		}
		return e
	case int64(-2):
		return ErrReplica
	}
	return nil
}

// reader takes an answer apart value by value and remembers whether one was not what it should be.
type reader struct {
	values []any
	bad    bool
}

func (r *reader) next() any {
	if len(r.values) == 0 {
		r.bad = true
		return nil
	}
	v := r.values[0]
	r.values = r.values[1:]
	return v
}

func (r *reader) text() string {
	s, ok := r.next().(string)
	r.bad = r.bad || !ok
	return s
}

func (r *reader) number() int64 {
	n, ok := r.next().(int64)
	r.bad = r.bad || !ok
	return n
}

func (r *reader) epoch() Epoch {
	s := r.text()
	r.bad = r.bad || !validEpoch(s)
	return Epoch(s)
}

// uint reads a decimal number that travelled as text; an empty one is 0.
func (r *reader) uint() uint64 {
	s := r.text()
	if s == "" {
		return 0
	}
	n, err := parseDigits(s)
	r.bad = r.bad || err != nil
	return n
}

func (r *reader) position() Position { return Position{Epoch: r.epoch(), Seq: r.uint()} }

// envelope reads a stored value and leaves out its epoch, which the script has compared.
func (r *reader) envelope() []byte {
	s := r.text()
	if len(s) < epochLen {
		r.bad = true
		return nil
	}
	return []byte(s[epochLen:])
}

// millis reads a duration; PTTL's negative answers count as none left.
func (r *reader) millis() time.Duration { return time.Duration(max(0, r.number())) * time.Millisecond }

// lease reads a duration that travelled as text.
func (r *reader) lease() time.Duration { return time.Duration(r.uint()) * time.Millisecond }

func (r *reader) list() *reader {
	l, ok := r.next().([]any)
	r.bad = r.bad || !ok
	return &reader{values: l}
}

// parseDigits reads an unsigned decimal number without sign, space or underscore.
func parseDigits(s string) (uint64, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.ParseUint(s, 10, 64)
}
