package runlog

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"
)

// EventID names one event for ever: a UUID, of version 7 where this package draws it. The zero EventID is none.
type EventID [16]byte

// NewEventID draws a UUID of version 7 (RFC 9562 §5.7): the time in milliseconds, then 74 random bits.
func NewEventID() EventID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	return eventIDAt(time.Now(), random)
}

func eventIDAt(now time.Time, random [10]byte) EventID {
	var id EventID
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	copy(id[6:], random[:])
	id[6] = 0x70 | id[6]&0x0f
	id[8] = 0x80 | id[8]&0x3f
	return id
}

var errEventID = errors.New("an event id is a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12, not all 0")

// ParseEventID reads the text form of an id, in either case.
func ParseEventID(text string) (EventID, error) {
	var id EventID
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, errEventID
	}
	digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil || id == (EventID{}) {
		return EventID{}, errEventID
	}
	return id, nil
}

// String is the text form: 32 lower-case hexadecimal digits in groups of 8-4-4-4-12.
func (id EventID) String() string { return string(id.append(nil)) }

func (id EventID) append(dst []byte) []byte {
	var text [36]byte
	hex.Encode(text[:], id[:4])
	text[8] = '-'
	hex.Encode(text[9:], id[4:6])
	text[13] = '-'
	hex.Encode(text[14:], id[6:8])
	text[18] = '-'
	hex.Encode(text[19:], id[8:10])
	text[23] = '-'
	hex.Encode(text[24:], id[10:])
	return append(dst, text[:]...)
}

// MarshalText implements encoding.TextMarshaler.
func (id EventID) MarshalText() ([]byte, error) { return id.append(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *EventID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseEventID(string(text))
	return err
}
