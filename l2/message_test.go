package l2_test

import (
	"strings"
	"testing"

	"github.com/layercache/layercache/l2"
)

const someEpoch = "0123456789abcdef0123456789abcdef"

func TestMessagesOfAnotherFormAreErrors(t *testing.T) {
	good := "\x01\x00" + someEpoch + "00000000000000000007" + "12345678"
	if m, err := l2.ParseMessage([]byte(good)); err != nil || m.Seq != 7 || len(m.Hashes) != 1 || m.Hashes[0] != 0x3132333435363738 {
		t.Fatalf("%+v, %v", m, err)
	}
	head := good[:54]
	with := func(i int, c byte) string { return good[:i] + string([]byte{c}) + good[i+1:] }
	for name, b := range map[string]string{
		"empty":                   "",
		"another version":         with(0, 2),
		"an unknown flag":         with(1, 16),
		"a time and no name":      with(1, 8),
		"cut in the time":         head[:1] + "\x09" + head[2:] + "1234",
		"cut in the head":         good[:53],
		"cut in a hash":           good[:60],
		"an epoch in upper case":  with(12, 'A'),
		"a signed seq":            with(34, '+'),
		"a seq above 64 bits":     strings.Replace(good, "00000000000000000007", "99999999999999999999", 1),
		"nothing named":           head,
		"all and named":           with(1, 1),
		"an ack request that is":  with(1, 6),
		"all and no invalidation": "\x01\x05" + head[2:],
		"65 names":                head + strings.Repeat("12345678", 65),
	} {
		if m, err := l2.ParseMessage([]byte(b)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte("\x01\x00" + someEpoch + "00000000000000000007" + "12345678"))
	f.Add([]byte("\x01\x01" + someEpoch + "00000000000000000007"))
	f.Add([]byte("\x01\x06" + someEpoch + "18446744073709551615"))
	f.Add([]byte("\x01\x08" + someEpoch + "00000000000000000007" + "\x00\x06\x29\xfb\x8a\x56\x40\x00" + "12345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := l2.ParseMessage(b)
		if err != nil {
			return
		}
		size := 54 + 8*len(m.Hashes)
		if b[1]&8 != 0 { // says when it was sent
			size += 8
		}
		if len(m.Epoch) != 32 || m.All && m.NoInvalidation || (m.All || m.NoInvalidation) != (len(m.Hashes) == 0) ||
			len(m.Hashes) > l2.MaxNamed || len(b) != size {
			t.Fatalf("%q became %+v", b, m)
		}
	})
}
