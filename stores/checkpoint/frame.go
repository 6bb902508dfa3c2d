package checkpoint

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"
)

// A stored value is the state's own bytes, or a frame: magic, kind, size of the state (4 bytes, big endian), XXH64 of the
// state (8 bytes), and the payload. JSON cannot begin as the magic does; a state of other bytes that does is put into a
// frame, so that no state is taken for one.
const (
	magic    = "\x00LC\x01"
	overhead = len(magic) + 1 + 4 + 8

	plainKind = 0
	s2Kind    = 1
)

// seal makes the value of a state. above is from which size on it is compressed, 0: never. What compression does not make
// smaller stays as it is. The result may be the state itself.
func seal(state []byte, above int) []byte {
	if above > 0 && len(state) >= above {
		frame := make([]byte, overhead+s2.MaxEncodedLen(len(state)))
		packed := s2.Encode(frame[overhead:], state)
		if len(packed)+overhead < len(state) {
			header(frame, s2Kind, state)
			return frame[:overhead+len(packed)]
		}
	}
	if !framed(state) {
		return state
	}
	frame := append(make([]byte, overhead, overhead+len(state)), state...)
	header(frame, plainKind, state)
	return frame
}

func header(frame []byte, kind byte, state []byte) {
	n := copy(frame, magic)
	frame[n] = kind
	binary.BigEndian.PutUint32(frame[n+1:], uint32(len(state)))
	binary.BigEndian.PutUint64(frame[n+5:], xxhash.Sum64(state))
}

// framed says whether bytes are a frame, or the beginning of one that was cut.
func framed(b []byte) bool {
	return len(b) > 0 && bytes.HasPrefix(b[:min(len(b), len(magic))], []byte(magic)[:min(len(b), len(magic))])
}

// unseal is the inverse of seal. It allocates nothing beyond limit. The result may share memory with value.
func unseal(value []byte, limit int) ([]byte, error) {
	if !framed(value) {
		return within(value, limit)
	}
	if len(value) < overhead {
		return nil, corrupt("the frame is cut")
	}
	kind, payload := value[len(magic)], value[overhead:]
	size := int64(binary.BigEndian.Uint32(value[len(magic)+1:]))
	if size > int64(limit) {
		return nil, &TooLargeError{Size: size, Limit: int64(limit)}
	}
	state := payload
	switch kind {
	case plainKind:
	case s2Kind:
		if n, err := s2.DecodedLen(payload); err != nil || int64(n) != size {
			return nil, corrupt("the compressed size is not the declared one")
		}
		var err error
		if state, err = s2.Decode(make([]byte, 0, size), payload); err != nil {
			return nil, corrupt("it does not decompress")
		}
	default:
		return nil, corrupt("the frame is of an unknown kind")
	}
	if int64(len(state)) != size || xxhash.Sum64(state) != binary.BigEndian.Uint64(value[len(magic)+5:]) {
		return nil, corrupt("the checksum is wrong")
	}
	return state, nil
}

func within(state []byte, limit int) ([]byte, error) {
	if len(state) > limit {
		return nil, &TooLargeError{Size: int64(len(state)), Limit: int64(limit)}
	}
	return state, nil
}
