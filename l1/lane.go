package l1

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

const (
	laneBits = 6
	// golden is 2^64 divided by the golden ratio: multiples of it spread evenly over the 64-bit numbers.
	golden = 0x9E3779B97F4A7C15
	// One hit in 2^sampleBits is told to ristretto.
	sampleBits = 5
)

// lane is one of the counters that readers spread over, so that two cores do not write the same line.
type lane struct {
	hits   atomic.Uint64
	misses atomic.Uint64
	inside atomic.Int64 // readers that are in ristretto now
	_      [104]byte    // two lines: neighbours are fetched in pairs
}

type lanes [1 << laneBits]lane

// pick answers the lane of the calling goroutine, by the address of its stack: a goroutine stays in its lane, goroutines
// that run at the same time are in different ones most of the time. It is a choice of counter and nothing else.
func (ls *lanes) pick() *lane {
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // the smallest stack is 2 KiB
	return &ls[stack*golden>>(64-laneBits)]
}

// sampled picks about one of 2^sampleBits numbers, without a pattern: keys that are read in turn all have theirs.
func sampled(n uint64) bool {
	n *= golden
	n = (n ^ n>>32) * golden
	return n>>(64-sampleBits) == 0
}

func (ls *lanes) counts() (hits, misses uint64) {
	for i := range ls {
		hits += ls[i].hits.Load()
		misses += ls[i].misses.Load()
	}
	return hits, misses
}

// drain waits until no reader is inside. A reader that enters later has to see by itself that it must not stay, so what
// it looks at is stored before drain. Nobody blocks inside; a reader is out within a microsecond of running.
func (ls *lanes) drain() {
	for i := range ls {
		for ls[i].inside.Load() != 0 {
			runtime.Gosched()
		}
	}
}
