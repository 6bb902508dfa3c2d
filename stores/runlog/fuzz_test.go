package runlog_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/runlog"
)

const golden = `{"event_id":"0197a4b2-1111-7000-8000-0123456789ab","seq":7,"run_id":"r1","session_id":"s1",` +
	`"event":{"TextDelta":{"run_id":"r1","delta":"<hi>","timestamp":"2026-11-21T12:00:00Z"}},"emitted_at":"2026-11-21T12:00:00.123456789Z"}`

// FuzzEnvelope looks for bytes that make the decoder panic, that the fast way reads in another way than encoding/json, or
// that do not come back.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte(`{"event_id":"0197A4B2-1111-7000-8000-0123456789ab","seq":7,"run_id":"r1","session_id":null,"event":"Unit","emitted_at":"2026-11-21T14:00:00+02:00"}`))
	f.Add([]byte(`{"event_id":"0197a4b2-1111-7000-8000-0123456789ab","seq":1,"run_id":"r","session_id":null,"event":{"A":1},"event":{"B":2},"emitted_at":"2026-11-21T12:00:00Z"}`))
	f.Add([]byte(`{"event_id":"0197a4b2-1111-7000-8000-0123456789ab","seq":1,"run_id":"r","session_id":null,"event":{"A":",\"emitted_at\":\""},"emitted_at":"2026-11-21T12:00:00Z","seq":2}`))
	for _, at := range []string{"0000-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"} { // not of years that can be written in UTC
		f.Add([]byte(`{"event_id":"0197a4b2-1111-7000-8000-0123456789ab","seq":1,"run_id":"r","session_id":null,"event":"U","emitted_at":"` + at + `"}`))
	}
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var slow runlog.Envelope
		slowErr := slow.UnmarshalJSON(data)
		if fast, ok := runlog.Stored(data); ok && (slowErr != nil || !reflect.DeepEqual(fast, slow)) {
			t.Fatalf("fast %+v, slow %+v, %v", fast, slow, slowErr)
		}
		e, err := runlog.ParseEnvelope(data)
		if (err == nil) != (slowErr == nil) {
			t.Fatalf("%v, %v", err, slowErr)
		}
		if err != nil {
			return
		}
		again, err := runlog.ParseEnvelope(e.AppendJSON(nil))
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}

// FuzzEvent compares the way events are split with encoding/json, and looks for an event that is not kept byte for byte.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{`{"A":1}`, `"Unit"`, `{"A":{"B":["}",{"c":"\"]"}]} }`, `{"A":1,"B":2}`, `{"A" : null }`, `[]`, `{}`, `{"":1}`, `{"\u0041":tru}`, ` {"A":-1.5e3} `} {
		f.Add([]byte(s))
	}
	s, err := runlog.New(runlog.Config{Backend: &runlog.Memory{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close(f.Context()) })
	f.Fuzz(func(t *testing.T, body []byte) {
		kind, payload, err := runlog.Tagged(body)
		var tags map[string]json.RawMessage
		var unit string
		switch {
		case json.Unmarshal(body, &unit) == nil && unit != "":
			if err != nil || kind != unit || payload != nil {
				t.Fatalf("%q, %s, %v", kind, payload, err)
			}
		case json.Unmarshal(body, &tags) != nil || len(tags) != 1:
			if err == nil && len(body) == len(bytes.TrimSpace(body)) {
				t.Fatalf("%q, %s is accepted", kind, payload)
			}
		case err == nil && (!bytes.Equal(bytes.TrimSpace(tags[kind]), payload)):
			if _, valid := tags[kind]; valid { // a kind that is not UTF-8 is replaced there
				t.Fatalf("%q: %s, want %s", kind, payload, tags[kind])
			}
		}
		e, err := s.Append(t.Context(), runlog.NewEventID().String(), runlog.Event{Body: body})
		if err != nil {
			return
		}
		got, err := s.ListAfter(t.Context(), e.RunID, runlog.Cursor{}, 1)
		if err != nil || !bytes.Equal(got.Events[0].Event, bytes.TrimSpace(body)) {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

// FuzzCursor looks for a cursor that does not come back.
func FuzzCursor(f *testing.F) {
	f.Add("17@5f0c9ad1e1c0ffee")
	f.Add("0")
	f.Add("@")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := runlog.ParseCursor(text)
		if err != nil {
			return
		}
		if again, err := runlog.ParseCursor(c.String()); err != nil || again != c {
			t.Fatalf("%q is %v, %v", text, again, err)
		}
	})
}

func TestEventIDsAreUUIDsOfVersion7InOrderOfTime(t *testing.T) {
	before := time.Now().UnixMilli()
	id := runlog.NewEventID()
	after := time.Now().UnixMilli()
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	if ms < before || ms > after || id[6]>>4 != 7 || id[8]>>6 != 2 || runlog.NewEventID() == id {
		t.Errorf("%s between %d and %d", id, before, after)
	}
	if again, err := runlog.ParseEventID(id.String()); again != id || err != nil {
		t.Errorf("%s, %v", again, err)
	}
	for _, bad := range []string{"", "0197a4b2111170008000-0123456789ab", "0197a4b2-1111-7000-8000-0123456789ag", "00000000-0000-0000-0000-000000000000"} {
		if _, err := runlog.ParseEventID(bad); err == nil {
			t.Errorf("%q is an id", bad)
		}
	}
}
