package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/registry"
)

var seeds = []string{
	`{}`, `{"id":"a"}`, `{"id":"a","name":"n","capabilities":["go"],"status":"offline","last_heartbeat":"2026-01-02T03:04:05Z","current_load":0,"max_load":0}`,
	` { "status" : "off\u006cine" , "x":{"status":"no"},"y":[{"last_heartbeat":1}], "n":18446744073709551615,"e":[],"o":{}} `,
	`{"status":"a","status":"b"}`, `{"sta\u0074us":"a"}`, `{"a":"}\",\"status\":\"x"}`, `{"a":"\\"}`, `{"a":"\\\\","status":null}`, `{"a":1e999}`,
	`[]`, `"x"`, `{"a":1,}`, `{"a" 1}`, `{"a":1}{`, `{"":""}`, "{\"\x00\":\"\xff\"}", `{"last_heartbeat":"0001-01-01T00:00:00Z"}`, `{"a":"<&>"}`,
	`{"last_heartbeat":"0000-01-01T00:00:00+01:00"}`, `{"last_heartbeat":"9999-12-31T23:59:59-01:00"}`, `{"a":[}]}`, `{"a":tru}`,
	`{"current_load":01}`, `{"current_load":-0}`, `{"current_load":1.0}`, `{"capabilities":["a",]}`, `{"capabilities":[1]}`, `{"capabilities":null,"name":null}`,
}

// FuzzDecodeAgreesWithEncodingJSON compares what is read with what Go's own decoder reads, member by member.
func FuzzDecodeAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		var a registry.Agent
		err := a.UnmarshalJSON([]byte(doc))
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(doc), &members) != nil || members == nil {
			if err == nil {
				t.Fatalf("%q is no object and was read", doc)
			}
			return
		}
		if err != nil {
			var known struct {
				ID, Name, Status string
				Capabilities     []string
				Heartbeat        time.Time
				Load, Max        int
			}
			ok := true
			for name, into := range map[string]any{
				"id": &known.ID, "name": &known.Name, "status": &known.Status, "capabilities": &known.Capabilities,
				"last_heartbeat": &known.Heartbeat, "current_load": &known.Load, "max_load": &known.Max,
			} {
				if raw, there := members[name]; there && json.Unmarshal(raw, into) != nil {
					ok = false
				}
			}
			scripts := !strings.Contains(strings.ToLower(doc), `\ud`) && strings.Count(doc, "[")+strings.Count(doc, "{") < 1000
			if ok && scripts && strings.Count(doc, "last_heartbeat") < 2 && !duplicate(doc) {
				t.Fatalf("%q was refused: %v", doc, err)
			}
			return
		}
		text, err := a.MarshalJSON() // json.Marshal would escape <, > and & in the members that are kept as they are
		if err != nil {
			return // a time that has no JSON
		}
		var again map[string]json.RawMessage
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("%q was written as %q: %v", doc, text, err)
		}
		var back registry.Agent
		if err := back.UnmarshalJSON(text); err != nil || !back.LastHeartbeat.Equal(a.LastHeartbeat) {
			t.Fatalf("%q was written as %q, which is read as %+v, %v", doc, text, back, err)
		}
		for name, raw := range members {
			switch name {
			case "id", "name", "status", "capabilities", "last_heartbeat", "current_load", "max_load":
				continue
			}
			var want, got bytes.Buffer
			_, _ = json.Compact(&want, raw), json.Compact(&got, again[name])
			if want.String() != got.String() && utf8.ValidString(doc) {
				t.Fatalf("%q: member %q became %q", doc, name, again[name])
			}
		}
		var id string
		if raw, ok := members["id"]; ok && json.Unmarshal(raw, &id) == nil && id != a.ID {
			t.Fatalf("%q: id %q, want %q", doc, a.ID, id)
		}
	})
}

// duplicate says whether an object names a member twice: then a fault in the first is no fault to a decoder of maps.
func duplicate(doc string) bool {
	dec := json.NewDecoder(strings.NewReader(doc))
	seen := map[string]bool{}
	if _, err := dec.Token(); err != nil {
		return false
	}
	for dec.More() {
		key, err := dec.Token()
		var skip json.RawMessage
		if err != nil || dec.Decode(&skip) != nil {
			return false
		}
		if name, _ := key.(string); seen[name] {
			return true
		} else {
			seen[name] = true
		}
	}
	return false
}

// FuzzEditChangesOneMemberAndNothingElse runs document.lua on a server and compares it with Go's reading of the document.
func FuzzEditChangesOneMemberAndNothingElse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, "status", "available")
		f.Add(s, "last_heartbeat", "2026-11-21T00:00:00.000001Z")
	}
	client := redistest.Start(f).Client()
	f.Fuzz(func(t *testing.T, doc, name, value string) {
		var before map[string]json.RawMessage
		if name != "status" && name != "last_heartbeat" || json.Unmarshal([]byte(doc), &before) != nil || before == nil {
			return
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out, err := registry.Edit.Run(t.Context(), client, nil, doc, name, text)
		if err != nil {
			t.Fatal(err)
		}
		answer := out.([]any)
		if len(answer) == 0 {
			return // cjson refuses what Go reads, such as a nesting of a thousand: an error to the caller, not a change
		}
		edited := answer[0].(string)
		var after map[string]json.RawMessage
		if err := json.Unmarshal([]byte(edited), &after); err != nil {
			t.Fatalf("%q became %q: %v", doc, edited, err)
		}
		var now string
		if err := json.Unmarshal(after[name], &now); err != nil || now != strings.ToValidUTF8(value, "\ufffd") && utf8.ValidString(value) {
			t.Fatalf("%q became %q", doc, edited)
		}
		for member, raw := range before {
			if member != name && !bytes.Equal(raw, after[member]) {
				t.Fatalf("%q became %q: %q changed", doc, edited, member)
			}
		}
		if len(after) > len(before)+1 || after[name] == nil {
			t.Fatalf("%q became %q", doc, edited)
		}
		if raw, ok := before[name]; ok && answer[1] != string(raw) {
			t.Fatalf("%q: %q is %q, not %q", doc, name, raw, answer[1])
		}
	})
}

func TestTheServersClockIsWrittenAsGoWritesIt(t *testing.T) {
	client := redistest.Start(t).Client()
	times := []time.Time{time.Unix(0, 0), time.Unix(951782400, 1000), time.Date(2100, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 2, 29, 23, 59, 59, 999999000, time.UTC)}
	for day := range 3000 {
		times = append(times, time.Unix(int64(day)*86400*11+int64(day)*37, int64(day)*1000))
	}
	for _, at := range times {
		out, err := registry.Clock.Run(t.Context(), client, nil, at.Unix(), at.Nanosecond()/1000)
		if want := at.UTC().Format("2006-01-02T15:04:05.000000Z"); err != nil || out != want {
			t.Fatalf("%v, %v, want %s", out, err, want)
		}
	}
	if _, err := registry.Edit.Run(t.Context(), client, nil, "", "", ""); errors.Is(err, nil) != true {
		t.Error(err)
	}
}
