package simulation_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// random stands for crypto/rand, and so decides epochs, nonces and jitter. What it answers follows from the seed, the
// instant and how much is asked for: how often it was asked before does not matter, as it would to testing/cryptotest.
type random struct {
	seed uint64

	mu    sync.Mutex // guards the fields below
	now   int64
	count map[int]uint64 // how often it was asked for so many bytes now
}

// seedRandom puts a random in the place of crypto/rand until the function it answers is called.
func seedRandom(seed uint64) (restore func()) {
	before := rand.Reader
	rand.Reader = &random{seed: seed}
	return func() { rand.Reader = before }
}

var _ io.Reader = (*random)(nil)

// Read implements io.Reader.
func (r *random) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now().UnixNano(); now != r.now {
		r.now, r.count = now, map[int]uint64{}
	}
	for n := 0; n < len(p); r.count[len(p)]++ {
		var in [32]byte
		binary.LittleEndian.PutUint64(in[:], r.seed)
		binary.LittleEndian.PutUint64(in[8:], uint64(r.now))
		binary.LittleEndian.PutUint64(in[16:], uint64(len(p)))
		binary.LittleEndian.PutUint64(in[24:], r.count[len(p)])
		out := sha256.Sum256(in[:])
		n += copy(p[n:], out[:])
	}
	return len(p), nil
}
