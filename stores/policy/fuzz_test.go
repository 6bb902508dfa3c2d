package policy_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/policy"
)

type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, seed))} }

// join returns up to most of the pieces in a row.
func (r random) join(pieces []string, most int) string {
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// generic reads JSON the way a program that knows nothing of policies does.
func generic(t *testing.T, data []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v map[string]any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("an accepted document is not a JSON object: %v", err)
	}
	return v
}

func FuzzParseDocument(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"name":"n","rules":[{"action_pattern":"*","decision":"Deny"}],"enforcement_mode":"enforce"}`,
		` {"x":[{"a":"\""}],"rules":[{"decision":"Allow","y":-1e-5,"action_pattern":"t:[a-z]\\*?"}],"name":"\ud83d\ude00","version":4294967295} `,
		`{"version":1,"name":"\ud83d","rules":[]}`,
		`{"version":1,"name":"n","rules":null,"rules":[]}`,
		`{"version":1,"name":"\u001f\\","rules":[],"enforcement_mode":"observe","":{},"z":[]}`,
		`[`, `{}`, `null`, `{"version":`, "{\"version\":1,\"name\":\"\xff\",\"rules\":[]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := policy.ParseDocument(data)
		if err != nil {
			return
		}
		if kept, err := doc.AppendBinary(nil); err != nil || !bytes.Equal(kept, data) {
			t.Fatalf("AppendBinary = %q, %v, want the input", kept, err)
		}
		again, err := policy.NewDocument(doc.Draft())
		if err != nil {
			t.Fatalf("NewDocument of an accepted document's draft: %v", err)
		}
		encoded, err := again.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		want, got := generic(t, data), generic(t, encoded)
		if _, ok := want["enforcement_mode"]; !ok {
			want["enforcement_mode"] = "enforce"
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("re-encoding changed the document\n%s\n%s", data, encoded)
		}
		third, err := policy.NewDocument(again.Draft())
		if err != nil || jsonOf(t, third) != string(encoded) {
			t.Fatalf("encoding is not stable: %v", err)
		}
		for _, action := range []string{"", "tool:shell", "\xff"} {
			if doc.Decide(action) != again.Decide(action) {
				t.Fatalf("re-encoding changed the decision on %q", action)
			}
		}
	})
}

func FuzzParseAgentID(f *testing.F) {
	f.Add("00112233445566778899aabbccddeeff")
	f.Add("00112233445566778899AABBCCDDEEFF")
	f.Add("")
	f.Fuzz(func(t *testing.T, in string) {
		id, err := policy.ParseAgentID(in)
		if err == nil && id.String() != strings.ToLower(in) {
			t.Fatalf("ParseAgentID(%q).String() = %q", in, id)
		}
	})
}
