package session_test

import (
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/session"
)

// FuzzDecode reads fields that anybody may have written: a session that encodes to the same, or a *DecodeError.
func FuzzDecode(f *testing.F) {
	f.Add(strings.Repeat("a", 16), "1700000000123456789")
	f.Add("", "")
	f.Add(strings.Repeat("\x00", 16), "-9223372036854775808")
	f.Add(strings.Repeat("\xff", 17), "1_000")
	f.Add(strings.Repeat("a", 16), "+0007")
	f.Fuzz(func(t *testing.T, agent, started string) {
		v, fault := session.Decode(session.ID{1}, session.Record{AgentID: agent, StartedAtNS: started})
		if fault != nil {
			if fault.Field == "" || v != (session.Session{}) {
				t.Fatalf("%+v, %v", v, fault)
			}
			return
		}
		if v.ID != (session.ID{1}) || string(v.AgentID[:]) != agent {
			t.Fatalf("%+v", v)
		}
		rec, err := session.Encode(v)
		if err != nil { // the first and the last moments of 64 bits
			return
		}
		if again, fault := session.Decode(session.ID{1}, rec); fault != nil || again != v {
			t.Fatalf("%+v, %v; want %+v", again, fault, v)
		}
	})
}

// FuzzParseID: what is read is what is written.
func FuzzParseID(f *testing.F) {
	f.Add("00112233445566778899aabbccddeeff")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := session.ParseID(s); err == nil && id.String() != strings.ToLower(s) {
			t.Fatalf("%q is %s", s, id)
		}
	})
}
