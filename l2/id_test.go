package l2_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/layercache/layercache/l2"
)

func TestIDsKeepOrdinaryLettersAndEscapeTheRest(t *testing.T) {
	for raw, want := range map[string]string{
		"agent:1.2_3-4": "agent:1.2_3-4",
		"a b":           "a%20b",
		"{x}*?[]":       "%7Bx%7D%2A%3F%5B%5D",
		"100%":          "100%25",
		"é\x00\xff":     "%C3%A9%00%FF",
	} {
		if got := newID(t, raw).String(); got != want {
			t.Errorf("%q: %s, want %s", raw, got, want)
		}
	}
}

func TestIDsOfEveryByteAreDifferentKeysWithinTheHashTag(t *testing.T) {
	each(t, func(b bundle) {
		for c := range 256 {
			b.put("x"+string([]byte{byte(c)})+"y", string([]byte{byte(c)}), 1)
		}
		for c := range 256 {
			hit, _ := b.expect("x"+string([]byte{byte(c)})+"y", l2.Hit)
			if string(hit.Envelope) != string([]byte{byte(c)}) {
				b.t.Fatalf("byte %d: got %x", c, hit.Envelope)
			}
		}
		for _, k := range b.client.Keys(b.t.Context(), "*").Val() {
			tag, rest, ok := strings.Cut(strings.TrimPrefix(k, "lc:{"), "}:")
			if !ok || tag != "ns@t1.0" || strings.ContainsAny(rest, "{}*?[]\\ ") {
				b.t.Errorf("key %q", k)
			}
		}
	})
}

func TestEmptyAndLongIDsAreRefused(t *testing.T) {
	if _, err := l2.NewID(""); err == nil {
		t.Error("empty: want an error")
	}
	if _, err := l2.NewID(strings.Repeat("é", l2.MaxID/2)); err != nil {
		t.Error(err)
	}
	_, err := l2.NewID(strings.Repeat("x", l2.MaxID+1))
	var oversize *l2.OversizeError
	if !errors.As(err, &oversize) || oversize.Size != l2.MaxID+1 || oversize.Max != l2.MaxID {
		t.Errorf("%v, want an OversizeError", err)
	}
}

// TestHashIsTheSameInEveryVersion pins values that travel between processes of different versions.
func TestHashIsTheSameInEveryVersion(t *testing.T) {
	for raw, want := range map[string]uint64{"": 0xef46db3751d8e999, "a": 0xd24ec4f1a98c6e5b, "agent:1": 0x836c54e3b51efad2} {
		if got := l2.Hash(raw); got != want {
			t.Errorf("%q: %x, want %x", raw, got, want)
		}
	}
}

func FuzzNewID(f *testing.F) {
	f.Add("agent:1")
	f.Add("100%{}")
	f.Add("\x00\xff")
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := l2.NewID(raw)
		if err != nil {
			if raw != "" && len(raw) <= l2.MaxID {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if back, err := url.PathUnescape(id.String()); err != nil || back != raw { // so it is injective
			t.Fatalf("%q became %q and that %q, %v", raw, id, back, err)
		}
		if strings.ContainsAny(id.String(), "{}*?[]^\\ \x00") {
			t.Fatalf("%q became %q", raw, id)
		}
	})
}
