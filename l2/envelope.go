package l2

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
)

// CodecID names the codec of a payload. Those below 128 belong to this package.
type CodecID uint8

// Envelope is a value as it is kept in Redis: a payload, and what is needed to decide whether it may be used.
type Envelope struct {
	// Codec says how the payload is decoded and Schema which version of the type it holds; the reader compares both.
	Codec  CodecID
	Schema uint32
	// AsOf is the authority's version at which the value was read. 0 means that the loader knows none.
	AsOf uint64
	// Created is when the value was loaded, by the loading process's clock: for showing, not for deciding.
	Created time.Time
	// Absent says that the authority has no such record. There is no payload then.
	Absent bool
	// Payload is the encoded value.
	Payload []byte
}

// The caps that Limits' zero fields mean, in bytes.
const (
	DefaultMaxWire    = 1 << 20
	DefaultMaxDecoded = 8 << 20
)

// EnvelopeOverhead is how many bytes an envelope takes beside its payload.
const EnvelopeOverhead = 48

// Limits are the caps checked before anything is allocated. The zero Limits mean the defaults.
type Limits struct {
	// MaxWire is the longest envelope, MaxDecoded the longest payload after decompression, in bytes.
	MaxWire, MaxDecoded int
}

// Reason is why an envelope was rejected.
type Reason uint8

// The reasons.
const (
	// Corrupt means cut, flipped or otherwise not what was written.
	Corrupt Reason = iota + 1
	// Foreign means written for another namespace, tenant or id.
	Foreign
	// UnknownVersion means written by another version of this library, in a form this one does not read.
	UnknownVersion
	// Oversize means above the Limits.
	Oversize
)

var reasonNames = [...]string{"none", "corrupt", "foreign", "unknown version", "oversize"}

// String names the reason in lower case.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// RejectError says why an envelope was rejected. It is ErrRejected.
type RejectError struct{ Reason Reason }

// Error names the reason and nothing of the bytes.
func (e *RejectError) Error() string { return ErrRejected.Error() + ": " + e.Reason.String() }

// Is reports that this is an ErrRejected.
func (e *RejectError) Is(target error) bool { return target == ErrRejected }

// The layout, big-endian. An envelope whose bytes 2 to 6 this version does not know is not read any further.
//
//	0  'L' 'C'              20  created, Unix nanoseconds
//	2  version              28  XXH64 of namespace, 0, encoded id
//	3  flags                36  length of the payload once decompressed
//	4  compression (0)      40  XXH64 of bytes 0 to 39 and the payload
//	5  encryption (0)       48  payload
//	6  reserved (0)
//	7  codec
//	8  schema
//	12 as-of
const (
	envelopeVersion = 1
	envelopeAbsent  = 1 << 0
	envelopeSum     = 40
)

// AppendEnvelope appends e, bound to an id of a namespace (Store.Scope), to dst.
func AppendEnvelope(dst []byte, ns string, id ID, e Envelope) []byte {
	start := len(dst)
	var flags byte
	payload := e.Payload
	if e.Absent {
		flags, payload = envelopeAbsent, nil
	}
	dst = append(dst, 'L', 'C', envelopeVersion, flags, 0, 0, 0, byte(e.Codec))
	dst = binary.BigEndian.AppendUint32(dst, e.Schema)
	dst = binary.BigEndian.AppendUint64(dst, e.AsOf)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Created.UnixNano()))
	dst = binary.BigEndian.AppendUint64(dst, owner(ns, id))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.BigEndian.AppendUint64(dst, checksum(dst[start:], payload))
	return append(dst, payload...)
}

// ParseEnvelope reads an envelope that must be bound to this id of this namespace. The Payload is part of b, not a copy.
// Errors are *RejectError.
func ParseEnvelope(b []byte, ns string, id ID, limits Limits) (Envelope, error) {
	if limits.MaxWire == 0 {
		limits.MaxWire = DefaultMaxWire
	}
	if limits.MaxDecoded == 0 {
		limits.MaxDecoded = DefaultMaxDecoded
	}
	switch {
	case len(b) > limits.MaxWire:
		return Envelope{}, &RejectError{Oversize}
	case len(b) < 3 || b[0] != 'L' || b[1] != 'C':
		return Envelope{}, &RejectError{Corrupt}
	case b[2] != envelopeVersion:
		return Envelope{}, &RejectError{UnknownVersion}
	case len(b) < EnvelopeOverhead:
		return Envelope{}, &RejectError{Corrupt}
	}
	payload := b[EnvelopeOverhead:]
	decoded := binary.BigEndian.Uint32(b[36:])
	switch {
	case binary.BigEndian.Uint64(b[envelopeSum:]) != checksum(b[:envelopeSum], payload):
		return Envelope{}, &RejectError{Corrupt}
	case binary.BigEndian.Uint64(b[28:]) != owner(ns, id):
		return Envelope{}, &RejectError{Foreign}
	case b[3]&^envelopeAbsent != 0 || b[4] != 0 || b[5] != 0 || b[6] != 0:
		return Envelope{}, &RejectError{UnknownVersion}
	case uint64(decoded) > uint64(limits.MaxDecoded):
		return Envelope{}, &RejectError{Oversize}
	case int(decoded) != len(payload):
		return Envelope{}, &RejectError{Corrupt}
	}
	e := Envelope{
		Codec:   CodecID(b[7]),
		Schema:  binary.BigEndian.Uint32(b[8:]),
		AsOf:    binary.BigEndian.Uint64(b[12:]),
		Created: time.Unix(0, int64(binary.BigEndian.Uint64(b[20:]))),
		Absent:  b[3]&envelopeAbsent != 0,
		Payload: payload,
	}
	if e.Absent && len(payload) > 0 {
		return Envelope{}, &RejectError{Corrupt}
	}
	return e, nil
}

// owner binds an envelope to its key. A namespace holds no zero byte, so that no two pairs are joined to the same text.
func owner(ns string, id ID) uint64 {
	d := xxhash.New()
	_, _ = d.WriteString(ns)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(id.text)
	return d.Sum64()
}

func checksum(header, payload []byte) uint64 {
	d := xxhash.New()
	_, _ = d.Write(header)
	_, _ = d.Write(payload)
	return d.Sum64()
}
