package l2

import (
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// MaxID is the longest raw id in bytes. Encoded it may take three times as much.
const MaxID = 1 << 10

// ID is a raw id made safe for a Redis key, with its stable hash. The zero ID is no id and every call refuses it.
// IDs are comparable and immutable.
type ID struct {
	text string
	hash uint64
}

// NewID encodes a raw id: A-Z a-z 0-9 . _ : - stay as they are, every other byte becomes %XX in upper-case hex. The
// encoding is injective and holds neither a brace nor a glob character. An empty id and one above MaxID are refused,
// the latter with an *OversizeError.
func NewID(raw string) (ID, error) {
	switch {
	case raw == "":
		return ID{}, fmt.Errorf("l2: an id must not be empty")
	case len(raw) > MaxID:
		return ID{}, &OversizeError{What: "id", Size: len(raw), Max: MaxID}
	}
	return ID{text: encode(raw), hash: Hash(raw)}, nil
}

// String is the encoded id, the last component of its Redis keys.
func (id ID) String() string { return id.text }

// Hash is Hash of the raw id.
func (id ID) Hash() uint64 { return id.hash }

// Hash is XXH64 with seed 0 of a raw id: the same in every process and version, since it travels in bus messages and
// decides the partition.
func Hash(raw string) uint64 { return xxhash.Sum64String(raw) }

func encode(raw string) string {
	escapes := 0
	for i := range len(raw) {
		if !plain(raw[i]) {
			escapes++
		}
	}
	if escapes == 0 {
		return raw
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(raw) + 2*escapes)
	for i := range len(raw) {
		c := raw[i]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func plain(c byte) bool { return word(c) || c == ':' }

// word reports whether c may stand in a namespace or a tenant.
func word(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}
