package runlog

import (
	"errors"
	"strconv"
	"strings"
)

// Cursor is a position in a run: after the event with this sequence number. The zero Cursor is the beginning.
//
// Life names one life of the run. A run that was deleted or lost, and begun anew under its id, has another one, and a Cursor
// of the life before is answered with ErrRestarted or ErrGone instead of with other events under the same numbers. Envelope,
// Page and TrimmedError make cursors that have it. "": any life.
type Cursor struct {
	Seq  uint64
	Life string
}

// String is the text form of a cursor, such as 17@5f0c9ad1e1c0ffee, or 17 without a life.
func (c Cursor) String() string {
	seq := strconv.FormatUint(c.Seq, 10)
	if c.Life == "" {
		return seq
	}
	return seq + "@" + c.Life
}

// ParseCursor reads the text form of a cursor.
func ParseCursor(text string) (Cursor, error) {
	digits, life, has := strings.Cut(text, "@")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || has == (life == "") || len(life) > 64 {
		return Cursor{}, errors.New("runlog: a cursor is a sequence number, or one with '@' and the life of a run")
	}
	return Cursor{Seq: seq, Life: life}, nil
}

// MarshalText implements encoding.TextMarshaler.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Cursor) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCursor(string(text))
	return err
}
