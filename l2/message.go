package l2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Message is what a partition's channel carries. ParseMessage documents its form.
type Message struct {
	Epoch Epoch
	// Seq is the partition's counter: after this invalidation, or as it stands if NoInvalidation is set.
	Seq uint64
	// All says that too many ids changed to name them: drop everything.
	All bool
	// AckRequest asks for a renewal that registers what the receiver has applied.
	AckRequest bool
	// NoInvalidation says that the message only asks for an ack, or tells of a new epoch.
	NoInvalidation bool
	// Sent is when the sender asked for the invalidation, by its wall clock: for showing the lag, not for deciding. Zero if the
	// message does not say.
	Sent time.Time
	// Hashes are Hash of the ids that changed. Empty with All and with NoInvalidation, else not.
	Hashes []uint64
}

// MaxNamed is how many ids a message names at most; above it, it says All.
const MaxNamed = 64

const (
	messageVersion = 1
	messageHeader  = 1 + 1 + epochLen + 20

	flagAll            = 1 << 0
	flagAckRequest     = 1 << 1
	flagNoInvalidation = 1 << 2
	flagSent           = 1 << 3 // a time comes before the hashes
	flagsKnown         = flagAll | flagAckRequest | flagNoInvalidation | flagSent
)

var errMessage = errors.New("l2: malformed bus message")

// ParseMessage decodes what the scripts publish: a version byte, a flags byte, the epoch's 32 digits, the seq in 20
// decimal digits, with its flag the time of sending as 8 big-endian bytes of Unix microseconds, then 8 big-endian bytes per
// hash. Anything else, also another version, is an error, and a receiver
// treats it as a flush.
func ParseMessage(b []byte) (Message, error) {
	if len(b) == 0 || b[0] != messageVersion {
		return Message{}, fmt.Errorf("%w: unknown version", errMessage)
	}
	if len(b) < messageHeader {
		return Message{}, fmt.Errorf("%w: cut short", errMessage)
	}
	flags := b[1]
	if flags&^flagsKnown != 0 {
		return Message{}, fmt.Errorf("%w: unknown flags", errMessage)
	}
	epoch := string(b[2 : 2+epochLen])
	if !validEpoch(epoch) {
		return Message{}, fmt.Errorf("%w: not an epoch", errMessage)
	}
	seq, err := parseDigits(string(b[2+epochLen : messageHeader]))
	if err != nil {
		return Message{}, fmt.Errorf("%w: not a seq", errMessage)
	}
	m := Message{
		Epoch:          Epoch(epoch),
		Seq:            seq,
		All:            flags&flagAll != 0,
		AckRequest:     flags&flagAckRequest != 0,
		NoInvalidation: flags&flagNoInvalidation != 0,
	}
	rest := b[messageHeader:]
	if flags&flagSent != 0 {
		if len(rest) < 8 {
			return Message{}, fmt.Errorf("%w: cut short", errMessage)
		}
		m.Sent = time.UnixMicro(int64(binary.BigEndian.Uint64(rest)))
		rest = rest[8:]
	}
	named := !m.All && !m.NoInvalidation
	if m.All && m.NoInvalidation || len(rest)%8 != 0 || len(rest) > 8*MaxNamed || named != (len(rest) > 0) {
		return Message{}, fmt.Errorf("%w: flags and hashes do not fit", errMessage)
	}
	if named {
		m.Hashes = make([]uint64, 0, len(rest)/8)
		for ; len(rest) > 0; rest = rest[8:] {
			m.Hashes = append(m.Hashes, binary.BigEndian.Uint64(rest))
		}
	}
	return m, nil
}

// flagByte is the flags of a message as the script's argument.
func flagByte(flags byte) string { return string([]byte{flags}) }
