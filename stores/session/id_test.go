package session_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/session"
)

func TestIDsAre32HexDigitsOfEitherCase(t *testing.T) {
	const lower = "00112233445566778899aabbccddeeff"
	for _, in := range []string{lower, strings.ToUpper(lower), "00112233445566778899aaBBccDDeeff"} {
		id, err := session.ParseID(in)
		if err != nil || id.String() != lower {
			t.Errorf("ParseID(%q): %v, %v", in, id, err)
		}
		agent, err := session.ParseAgentID(in)
		if err != nil || agent.String() != lower {
			t.Errorf("ParseAgentID(%q): %v, %v", in, agent, err)
		}
	}
}

func TestWhatIsNoIDIsRefusedAndNotRepeated(t *testing.T) {
	for _, in := range []string{
		"", strings.Repeat("a", 31), strings.Repeat("a", 33), strings.Repeat("g", 32), "00112233-4455-6677-8899-aabbccddeeff",
		" 0112233445566778899aabbccddeeff", strings.Repeat("é", 16),
	} {
		id, err := session.ParseID(in)
		agent, errAgent := session.ParseAgentID(in)
		if err == nil || errAgent == nil || id != (session.ID{}) || agent != (session.AgentID{}) {
			t.Fatalf("%q: %v, %v", in, id, agent)
		}
		if in != "" && strings.Contains(err.Error()+errAgent.Error(), in) {
			t.Errorf("the error repeats the input: %v", err)
		}
		kept, keptAgent := session.ID{1}, session.AgentID{2}
		if kept.UnmarshalText([]byte(in)) == nil || keptAgent.UnmarshalText([]byte(in)) == nil ||
			kept != (session.ID{1}) || keptAgent != (session.AgentID{2}) {
			t.Errorf("%q: %v, %v", in, kept, keptAgent)
		}
	}
}

func TestIDsGoThroughJSONAsValuesAndAsMapKeys(t *testing.T) {
	in := map[session.ID]session.AgentID{{1: 2}: {15: 255}}
	data, err := json.Marshal(in)
	if err != nil || string(data) != `{"00020000000000000000000000000000":"000000000000000000000000000000ff"}` {
		t.Fatal(string(data), err)
	}
	var out map[session.ID]session.AgentID
	if err := json.Unmarshal(data, &out); err != nil || out[session.ID{1: 2}] != (session.AgentID{15: 255}) {
		t.Fatal(out, err)
	}
}
