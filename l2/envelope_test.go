package l2_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
)

func TestEnvelopesComeBackAsTheyWere(t *testing.T) {
	id := newID(t, "k")
	for name, e := range map[string]l2.Envelope{
		"value":  {Codec: 1, Schema: 1<<32 - 1, AsOf: 1<<64 - 1, Created: time.Unix(1, 2), Payload: []byte("payload")},
		"empty":  {Codec: 255, Created: time.Unix(-5, 0)},
		"absent": {Absent: true, AsOf: 3, Created: time.Unix(0, 0)},
	} {
		b := l2.AppendEnvelope([]byte("before"), "ns", id, e)
		if !bytes.HasPrefix(b, []byte("before")) || len(b) != 6+l2.EnvelopeOverhead+len(e.Payload) {
			t.Errorf("%s: %q", name, b)
		}
		got, err := l2.ParseEnvelope(b[6:], "ns", id, l2.Limits{})
		if err != nil || got.Codec != e.Codec || got.Schema != e.Schema || got.AsOf != e.AsOf ||
			!got.Created.Equal(e.Created) || got.Absent != e.Absent || !bytes.Equal(got.Payload, e.Payload) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, e)
		}
	}
}

func TestAbsentEnvelopesCarryNoPayload(t *testing.T) {
	id := newID(t, "k")
	b := l2.AppendEnvelope(nil, "ns", id, l2.Envelope{Absent: true, Payload: []byte("x")})
	if e, err := l2.ParseEnvelope(b, "ns", id, l2.Limits{}); err != nil || len(e.Payload) != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
}

func TestEveryFlippedBitAndEveryCutIsRejected(t *testing.T) {
	id := newID(t, "k")
	good := l2.AppendEnvelope(nil, "ns", id, l2.Envelope{Codec: 1, AsOf: 9, Created: time.Now(), Payload: []byte("payload")})
	for i := range good {
		if _, err := l2.ParseEnvelope(good[:i], "ns", id, l2.Limits{}); !errors.Is(err, l2.ErrRejected) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
		for bit := range 8 {
			flipped := bytes.Clone(good)
			flipped[i] ^= 1 << bit
			if _, err := l2.ParseEnvelope(flipped, "ns", id, l2.Limits{}); !errors.Is(err, l2.ErrRejected) {
				t.Errorf("byte %d, bit %d flipped: %v", i, bit, err)
			}
		}
	}
	if _, err := l2.ParseEnvelope(append(good, 0), "ns", id, l2.Limits{}); !errors.Is(err, l2.ErrRejected) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestRejectionsNameTheirReason(t *testing.T) {
	id := newID(t, "k")
	good := l2.AppendEnvelope(nil, "ns", id, l2.Envelope{Payload: []byte("payload")})
	version := bytes.Clone(good)
	version[2] = 2
	for name, c := range map[string]struct {
		b      []byte
		ns     string
		id     l2.ID
		limits l2.Limits
		want   l2.Reason
	}{
		"not ours":        {[]byte("{}"), "ns", id, l2.Limits{}, l2.Corrupt},
		"cut":             {good[:20], "ns", id, l2.Limits{}, l2.Corrupt},
		"another id":      {good, "ns", newID(t, "l"), l2.Limits{}, l2.Foreign},
		"another tenant":  {good, "ns@t", id, l2.Limits{}, l2.Foreign},
		"another version": {version, "ns", id, l2.Limits{}, l2.UnknownVersion},
		"long":            {good, "ns", id, l2.Limits{MaxWire: len(good) - 1}, l2.Oversize},
		"long decoded":    {good, "ns", id, l2.Limits{MaxDecoded: 6}, l2.Oversize},
	} {
		_, err := l2.ParseEnvelope(c.b, c.ns, c.id, c.limits)
		var reject *l2.RejectError
		if !errors.As(err, &reject) || reject.Reason != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzParseEnvelope(f *testing.F) {
	id, err := l2.NewID("k")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l2.AppendEnvelope(nil, "ns", id, l2.Envelope{Payload: []byte("payload")}))
	f.Add(l2.AppendEnvelope(nil, "ns", id, l2.Envelope{Absent: true}))
	f.Add([]byte("LC\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := l2.ParseEnvelope(b, "ns", id, l2.Limits{})
		if err != nil {
			return
		}
		if again := l2.AppendEnvelope(nil, "ns", id, e); !bytes.Equal(again, b) {
			t.Fatalf("%x became %+v and that %x", b, e, again)
		}
	})
}
