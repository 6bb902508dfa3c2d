package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/policy"
)

func TestAgentIDTakesEitherCaseAndWritesLowerCase(t *testing.T) {
	const lower = "00112233445566778899aabbccddeeff"
	for _, in := range []string{lower, strings.ToUpper(lower), "00112233445566778899aaBBccDDeeff"} {
		id, err := policy.ParseAgentID(in)
		if err != nil {
			t.Fatalf("ParseAgentID(%q): %v", in, err)
		}
		if got := id.String(); got != lower {
			t.Errorf("String() = %q, want %q", got, lower)
		}
	}
}

func TestAgentIDRefusesWhatIsNot32HexDigits(t *testing.T) {
	for name, in := range map[string]string{
		"empty":      "",
		"short":      strings.Repeat("a", 31),
		"long":       strings.Repeat("a", 33),
		"no hex":     strings.Repeat("g", 32),
		"UUID":       "00112233-4455-6677-8899-aabbccddeeff",
		"space":      " 0112233445566778899aabbccddeeff",
		"multi-byte": strings.Repeat("é", 16),
	} {
		t.Run(name, func(t *testing.T) {
			id, err := policy.ParseAgentID(in)
			if err == nil {
				t.Fatalf("ParseAgentID(%q) = %v, want an error", in, id)
			}
			if in != "" && strings.Contains(err.Error(), in) {
				t.Errorf("error repeats the input: %v", err)
			}
		})
	}
}

func TestAgentIDAcceptsTheZeroID(t *testing.T) {
	id, err := policy.ParseAgentID(strings.Repeat("0", 32))
	if err != nil || id != (policy.AgentID{}) {
		t.Fatalf("ParseAgentID(zeroes) = %v, %v", id, err)
	}
}

func TestAgentIDGoesThroughJSONAsValueAndAsMapKey(t *testing.T) {
	in := map[policy.AgentID]policy.AgentID{{1: 2}: {15: 255}}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"00020000000000000000000000000000":"000000000000000000000000000000ff"}`
	if string(data) != want {
		t.Fatalf("Marshal = %s, want %s", data, want)
	}
	var out map[policy.AgentID]policy.AgentID
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	if out[policy.AgentID{1: 2}] != (policy.AgentID{15: 255}) {
		t.Fatalf("Unmarshal = %v", out)
	}
}

func TestAgentIDKeepsItsValueWhenTextIsRefused(t *testing.T) {
	id := policy.AgentID{7: 7}
	if err := id.UnmarshalText([]byte("nonsense")); err == nil {
		t.Fatal("UnmarshalText(nonsense) succeeded")
	}
	if id != (policy.AgentID{7: 7}) {
		t.Fatalf("id changed to %v", id)
	}
}
