package l2

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// Epoch is the random id of one life of a partition's Redis state: 32 lower-case hex digits, or "" for none known.
type Epoch string

// Position is a point in a partition's history: how many invalidations it has executed in which life.
type Position struct {
	Epoch Epoch
	Seq   uint64
}

// Nonce names one acquisition of a fill lease. Two acquisitions never share one, not even by the same process.
type Nonce string

// NewNonce makes a nonce that was never used before.
func NewNonce() Nonce { return Nonce(random()) }

// random makes 128 random bits in hex. An epoch or nonce that came twice would let a void value through.
func random() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// epochLen is the length of an epoch, and of the prefix it forms in a stored value.
const epochLen = 32

func validEpoch(s string) bool {
	if len(s) != epochLen {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// digits writes a version as 20 digits: wide enough for any uint64, ordered as text, and safe from Lua's numbers.
func digits(n uint64) string { return fmt.Sprintf("%020d", n) }
