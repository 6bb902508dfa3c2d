package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

const limit = 1 << 20

func TestTheOriginalLayoutStaysPlainUnlessAskedOtherwise(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		plain, packed := open(t, checkpoint.Config{Backend: b}), open(t, checkpoint.Config{Backend: b, CompressAbove: 1000})
		big, small := strings.Repeat(`{"todos":[]} `, 1000), `{"todos":[]}`
		raw := func() string { return client.Get(t.Context(), "agents:thread:t").Val() }
		save(t, plain, "t", big)
		if raw() != big {
			t.Error("it was not asked to compress")
		}
		want(t, packed, "t", big)
		save(t, packed, "t", small)
		if raw() != small {
			t.Error("it was compressed below the threshold")
		}
		save(t, packed, "t", big)
		if n := len(raw()); n > len(big)/10 {
			t.Errorf("%d bytes of %d", n, len(big))
		}
		want(t, plain, "t", big) // whoever does not compress reads what others compressed
		want(t, packed, "t", big)
		noise := make([]byte, 10000)
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		save(t, packed, "t", string(noise))
		if raw() != string(noise) {
			t.Error("what does not become smaller was compressed")
		}
	})
}

func TestNoStateIsTakenForAFrame(t *testing.T) {
	s := open(t, checkpoint.Config{Backend: &checkpoint.Memory{}})
	frame := checkpoint.Seal([]byte(strings.Repeat("x", 1000)), 1)
	for _, state := range []string{"\x00", "\x00L", "\x00LC", "\x00LC\x01", "\x00LC\x01\x00", "\x00LC\x02", string(frame), string(checkpoint.Seal(frame, 0))} {
		save(t, s, "t", state)
		want(t, s, "t", state)
	}
}

func TestACutOrFlippedFrameIsCorruptAndNotAbsent(t *testing.T) {
	state := []byte(strings.Repeat("the state of a thread. ", 50))
	frame := checkpoint.Seal(state, 1)
	for cut := 1; cut < len(frame); cut++ {
		if got, err := checkpoint.Unseal(frame[:cut], limit); !errors.Is(err, checkpoint.ErrCorrupt) ||
			errors.Is(err, readthrough.ErrNotFound) {
			t.Fatalf("cut to %d: %d bytes, %v", cut, len(got), err)
		}
	}
	for bit := 4 * 8; bit < 8*len(frame); bit++ {
		flipped := bytes.Clone(frame)
		flipped[bit/8] ^= 1 << (bit % 8)
		got, err := checkpoint.Unseal(flipped, limit)
		if _, large := errors.AsType[*checkpoint.TooLargeError](err); !large && !errors.Is(err, checkpoint.ErrCorrupt) &&
			!bytes.Equal(got, state) {
			t.Fatalf("bit %d flipped: %d bytes, %v", bit, len(got), err)
		}
	}
	m := &checkpoint.Memory{}
	s := open(t, checkpoint.Config{Backend: m})
	if _, err := m.Save(t.Context(), "t", checkpoint.Write{Value: frame[:len(frame)-1]}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Load(t.Context(), "t")
	if !errors.Is(err, checkpoint.ErrCorrupt) || !errors.Is(err, readthrough.ErrUnavailable) ||
		errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("%v", err)
	}
	save(t, s, "t", "new")
	want(t, s, "t", "new")
}

func TestABombIsRefusedByItsDeclaredSizeBeforeAnythingIsAllocated(t *testing.T) {
	frame := checkpoint.Seal(bytes.Repeat([]byte{0}, 200<<20), 1)
	t.Logf("%d bytes for 200 MiB", len(frame))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := checkpoint.Unseal(frame, limit)
	runtime.ReadMemStats(&after)
	large, ok := errors.AsType[*checkpoint.TooLargeError](err)
	if !ok || large.Size != 200<<20 || large.Limit != limit {
		t.Errorf("%v", err)
	}
	// One that lies about its size.
	binary.BigEndian.PutUint32(frame[5:], limit)
	if _, err := checkpoint.Unseal(frame, limit); !errors.Is(err, checkpoint.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > limit {
		t.Errorf("%d bytes allocated", n)
	}
}

// The frame is on the wire: a change of it needs another magic.
func TestTheFrameIsTheGoldenOne(t *testing.T) {
	golden, err := os.ReadFile("testdata/frame.hex")
	if err != nil {
		t.Fatal(err)
	}
	frame, err := hex.DecodeString(strings.TrimSpace(string(golden)))
	if err != nil {
		t.Fatal(err)
	}
	state := strings.Repeat("0123456789", 10)
	got, err := checkpoint.Unseal(frame, limit)
	if err != nil || string(got) != state {
		t.Fatalf("%q, %v", got, err)
	}
	if sealed := checkpoint.Seal([]byte(state), 1); !bytes.Equal(sealed[:17], frame[:17]) { // s2 may pack otherwise
		t.Errorf("%x", sealed)
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add([]byte(`{"todos":[]}`))
	f.Add(checkpoint.Seal([]byte(strings.Repeat("x", 1000)), 1))
	f.Add(checkpoint.Seal([]byte("\x00LC\x01"), 0))
	f.Fuzz(func(t *testing.T, value []byte) {
		const limit = 1 << 16
		if state, err := checkpoint.Unseal(value, limit); err == nil && len(state) > limit {
			t.Fatalf("%d bytes", len(state))
		}
		if len(value) > limit {
			return
		}
		for _, above := range []int{0, 1} {
			if state, err := checkpoint.Unseal(checkpoint.Seal(value, above), limit); err != nil || !bytes.Equal(state, value) {
				t.Fatalf("%q of %q, %v", state, value, err)
			}
		}
	})
}
