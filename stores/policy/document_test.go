package policy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/layercache/layercache/stores/policy"
)

func mustParse(tb testing.TB, data string) *policy.Document {
	tb.Helper()
	doc, err := policy.ParseDocument([]byte(data))
	if err != nil {
		tb.Fatalf("ParseDocument(%.200s): %v", data, err)
	}
	return doc
}

func mustNew(tb testing.TB, draft policy.Draft) *policy.Document {
	tb.Helper()
	doc, err := policy.NewDocument(draft)
	if err != nil {
		tb.Fatalf("NewDocument: %v", err)
	}
	return doc
}

func jsonOf(tb testing.TB, doc *policy.Document) string {
	tb.Helper()
	data, err := doc.AppendBinary(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestTheContractsDocumentParses(t *testing.T) {
	doc := mustParse(t, `{"version":1,"name":"n","rules":[{"action_pattern":"*","decision":"Deny"}],"enforcement_mode":"enforce"}`)
	if doc.Version() != 1 || doc.Name() != "n" || doc.Mode() != policy.Enforce {
		t.Errorf("version %d, name %q, mode %v", doc.Version(), doc.Name(), doc.Mode())
	}
	if d := doc.Decide("tool:shell"); d.Allowed() || d.Verdict() != policy.Deny || d.Rule() != 0 || d.Pattern() != "*" {
		t.Errorf("Decide = %v by rule %d %q", d.Verdict(), d.Rule(), d.Pattern())
	}
}

func TestFirstMatchWins(t *testing.T) {
	doc := mustParse(t, `{"version":1,"name":"","rules":[
		{"action_pattern":"tool:fs.read:/etc/*","decision":"Deny"},
		{"action_pattern":"tool:fs.*","decision":"Allow"},
		{"action_pattern":"tool:fs.write","decision":"Deny"},
		{"action_pattern":"tool:*","decision":"RequireApproval"}]}`)
	for action, want := range map[string]struct {
		rule    int
		verdict policy.Verdict
	}{
		"tool:fs.read:/etc/passwd": {0, policy.Deny},
		"tool:fs.read:/tmp/a":      {1, policy.Allow},
		"tool:fs.write":            {1, policy.Allow},
		"tool:shell":               {3, policy.RequireApproval},
		"TOOL:fs.read":             {-1, policy.Deny},
		"":                         {-1, policy.Deny},
	} {
		d := doc.Decide(action)
		if d.Rule() != want.rule || d.Verdict() != want.verdict || !d.Decided() {
			t.Errorf("Decide(%q) = %v by rule %d, want %v by rule %d", action, d.Verdict(), d.Rule(), want.verdict, want.rule)
		}
	}
}

func TestNoMatchDenies(t *testing.T) {
	d := mustParse(t, `{"version":1,"name":"n","rules":[]}`).Decide("tool:shell")
	if d.Allowed() || !d.Decided() || d.Rule() != -1 || d.Pattern() != "" {
		t.Errorf("Allowed() = %v, Decided() = %v, Rule() = %d, Pattern() = %q", d.Allowed(), d.Decided(), d.Rule(), d.Pattern())
	}
}

func TestMissingEnforcementModeIsEnforce(t *testing.T) {
	doc := mustParse(t, `{"version":1,"name":"n","rules":[]}`)
	if doc.Mode() != policy.Enforce {
		t.Errorf("Mode() = %v, want enforce", doc.Mode())
	}
}

func TestLongActionGetsNoDecisionWhateverTheMode(t *testing.T) {
	doc := mustNew(t, policy.Draft{Mode: policy.Disabled, Rules: []policy.Rule{{ActionPattern: "*", Decision: policy.Allow}}})
	if d := doc.Decide(strings.Repeat("a", policy.MaxAction)); !d.Allowed() {
		t.Error("an action of MaxAction bytes was refused")
	}
	if d := doc.Decide(strings.Repeat("a", policy.MaxAction+1)); d != (policy.Decision{}) || d.Allowed() {
		t.Errorf("an action of MaxAction+1 bytes got %+v", d)
	}
}

func TestNilAndZeroDocumentsDecideNothing(t *testing.T) {
	var zero policy.Document
	for name, doc := range map[string]*policy.Document{"nil": nil, "zero": &zero} {
		if d := doc.Decide("x"); d != (policy.Decision{}) {
			t.Errorf("%s document decided %+v", name, d)
		}
	}
	if _, err := zero.AppendBinary(nil); err == nil {
		t.Error("AppendBinary of the zero Document succeeded")
	}
	if draft := zero.Draft(); len(draft.Rules) != 0 {
		t.Error("the zero Document has a draft with rules")
	}
}

func TestFaultyDocumentsAreRefusedByField(t *testing.T) {
	const rule = `{"action_pattern":"a","decision":"Allow"}`
	document := func(rules string) string { return `{"version":1,"name":"n","rules":[` + rules + `]}` }
	for name, c := range map[string]struct{ in, want string }{
		"empty":                  {``, "policy: document is not valid JSON at byte "},
		"cut":                    {`{"version":1`, "policy: document is not valid JSON at byte "},
		"trailing data":          {document("") + `{}`, "policy: document is not valid JSON at byte "},
		"trailing comma":         {document(rule + ","), "policy: document is not valid JSON at byte "},
		"too deep":               {`{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "policy: document is not valid JSON at byte "},
		"invalid UTF-8":          {document(`{"action_pattern":"` + "\xff" + `","decision":"Allow"}`), "policy: document is not valid UTF-8"},
		"invalid UTF-8, unknown": {`{"x":"` + "\xc3" + `","version":1,"name":"n","rules":[]}`, "policy: document is not valid UTF-8"},
		"null":                   {`null`, "policy: document must be a JSON object"},
		"array":                  {`[]`, "policy: document must be a JSON object"},
		"padded number":          {` 5 `, "policy: document must be a JSON object"},
		"too long":               {`{"x":"` + strings.Repeat("a", policy.MaxDocument) + `"}`, "policy: document is longer than 1048576 bytes"},

		"version missing":      {`{"name":"n","rules":[]}`, "policy: version is required"},
		"version null":         {`{"version":null,"name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version string":       {`{"version":"1","name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version negative":     {`{"version":-1,"name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version minus zero":   {`{"version":-0,"name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version over u32":     {`{"version":4294967296,"name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version over u64":     {`{"version":18446744073709551617,"name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version fraction":     {`{"version":1.0,"name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version exponent":     {`{"version":1e0,"name":"n","rules":[]}`, "policy: version must be a whole number from 0 to 4294967295"},
		"version twice":        {`{"version":1,"name":"n","rules":[],"version":1}`, "policy: version is given twice"},
		"version, escaped":     {`{"version":1,"name":"n","rules":[],"v\u0065rsion":1}`, "policy: version is given twice"},
		"name missing":         {`{"version":1,"rules":[]}`, "policy: name is required"},
		"name null":            {`{"version":1,"name":null,"rules":[]}`, "policy: name must be a string"},
		"name surrogate":       {`{"version":1,"name":"\ud83d","rules":[]}`, "policy: name has half a surrogate pair"},
		"rules missing":        {`{"version":1,"name":"n"}`, "policy: rules is required"},
		"rules null":           {`{"version":1,"name":"n","rules":null}`, "policy: rules must be an array"},
		"rules object":         {`{"version":1,"name":"n","rules":{}}`, "policy: rules must be an array"},
		"rules, other case":    {`{"version":1,"name":"n","Rules":[]}`, "policy: rules is required"},
		"mode null":            {`{"version":1,"name":"n","rules":[],"enforcement_mode":null}`, "policy: enforcement_mode must be enforce, observe or disabled"},
		"mode unknown":         {`{"version":1,"name":"n","rules":[],"enforcement_mode":"off"}`, "policy: enforcement_mode must be enforce, observe or disabled"},
		"mode, other case":     {`{"version":1,"name":"n","rules":[],"enforcement_mode":"Observe"}`, "policy: enforcement_mode must be enforce, observe or disabled"},
		"mode twice":           {`{"version":1,"name":"n","rules":[],"enforcement_mode":"observe","enforcement_mode":"enforce"}`, "policy: enforcement_mode is given twice"},
		"unknown twice":        {`{"version":1,"owner":1,"name":"n","rules":[],"owner":2}`, `policy: document has two fields named "owner"`},
		"unknown twice, apart": {`{"z":1,"owner":1,"a":2,"version":1,"name":"n","rules":[],"z":2}`, `policy: document has two fields named "z"`},
		"unknown twice, long": {
			`{"version":1,"` + strings.Repeat("x", 99) + `":1,"name":"n","rules":[],"` + strings.Repeat("x", 99) + `":2}`,
			`policy: document has two fields named "` + strings.Repeat("x", 32) + `"`,
		},
		"name of a field": {`{"\udc00":1,"version":1,"name":"n","rules":[]}`, "policy: document has a field name with half a surrogate pair"},

		"rule null":             {document(rule + ",null"), "policy: rules[1] must be a JSON object"},
		"rule string":           {document(`"Allow"`), "policy: rules[0] must be a JSON object"},
		"pattern missing":       {document(rule + `,{"decision":"Allow"}`), "policy: rules[1].action_pattern is required"},
		"pattern number":        {document(`{"action_pattern":1,"decision":"Allow"}`), "policy: rules[0].action_pattern must be a string"},
		"pattern twice":         {document(`{"action_pattern":"a","decision":"Allow","action_pattern":"b"}`), "policy: rules[0].action_pattern is given twice"},
		"pattern surrogate":     {document(`{"action_pattern":"a\ud83d\u0041","decision":"Allow"}`), "policy: rules[0].action_pattern has half a surrogate pair"},
		"pattern too long":      {document(`{"action_pattern":"` + strings.Repeat("a", 1025) + `","decision":"Allow"}`), "policy: rules[0].action_pattern is longer than 1024 bytes"},
		"pattern at fault":      {document(rule + `,{"action_pattern":"tool:[a-z","decision":"Allow"}`), "policy: rules[1].action_pattern has a set at byte 5 that is not closed"},
		"decision missing":      {document(`{"action_pattern":"a"}`), "policy: rules[0].decision is required"},
		"decision null":         {document(`{"action_pattern":"a","decision":null}`), "policy: rules[0].decision must be Allow, Deny or RequireApproval"},
		"decision unknown":      {document(rule + "," + rule + "," + rule + `,{"action_pattern":"a","decision":"Maybe"}`), "policy: rules[3].decision must be Allow, Deny or RequireApproval"},
		"decision, other case":  {document(`{"action_pattern":"a","decision":"allow"}`), "policy: rules[0].decision must be Allow, Deny or RequireApproval"},
		"decision with a space": {document(`{"action_pattern":"a","decision":"Allow "}`), "policy: rules[0].decision must be Allow, Deny or RequireApproval"},
		"decision object":       {document(`{"action_pattern":"a","decision":{"Allow":1}}`), "policy: rules[0].decision must be Allow, Deny or RequireApproval"},
		"rule's unknown twice":  {document(`{"id":1,"action_pattern":"a","decision":"Allow","\u0069d":2}`), `policy: rules[0] has two fields named "id"`},
		"too many rules":        {document(strings.Repeat(rule+",", policy.MaxRules) + rule), "policy: rules has more than 10000 elements"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := policy.ParseDocument([]byte(c.in))
			// The rest of a syntax error is encoding/json's, so a want that ends in a space is a beginning.
			if err == nil || !strings.HasPrefix(err.Error(), c.want) ||
				(!strings.HasSuffix(c.want, " ") && err.Error() != c.want) {
				t.Fatalf("error = %v, want %s", err, c.want)
			}
			if doc != nil {
				t.Error("a document came with the error")
			}
			if _, ok := errors.AsType[*policy.DocumentError](err); !ok {
				t.Errorf("error is a %T, want *DocumentError", err)
			}
		})
	}
}

func TestEscapedTextIsRead(t *testing.T) {
	doc := mustParse(t, `{"version":1,"n\u0061me":"\ud83d\ude00\\ud83d\"\ufffd","rules":[{"action_pattern":"\u0074:\\*\ud83d\ude00","decision":"\u0041llow"}]}`)
	if want := "😀\\ud83d\"\ufffd"; doc.Name() != want {
		t.Errorf("Name() = %q, want %q", doc.Name(), want)
	}
	if d := doc.Decide("t:*😀"); !d.Allowed() || d.Pattern() != `t:\*😀` {
		t.Errorf("Decide = %v by %q", d.Verdict(), d.Pattern())
	}
}

func TestLimitsThemselvesAreAccepted(t *testing.T) {
	const rule = `{"action_pattern":"a","decision":"Allow"}`
	rules := strings.Repeat(rule+",", policy.MaxRules-1) + rule
	mustParse(t, `{"version":4294967295,"name":"n","rules":[`+rules+`]}`)
	mustParse(t, `{"version":0,"name":"","rules":[{"action_pattern":"`+strings.Repeat("a", policy.MaxPattern)+`","decision":"Allow"}]}`)
	padding := policy.MaxDocument - len(`{"version":0,"name":"","rules":[]}`)
	mustParse(t, `{"version":0,"name":"`+strings.Repeat("a", padding)+`","rules":[]}`)
}

func TestManyUnknownFieldsAreReadInReasonableTime(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"version":1,"name":"n","rules":[]`)
	for i := range 80_000 {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	b.WriteString("}")
	mustParse(t, b.String()) // comparing each name with each would take minutes and fail by the test's time limit
}

func TestParsedDocumentKeepsItsBytes(t *testing.T) {
	const in = "\n{ \"enforcement_mode\":\"observe\", \"rules\" : [ ],\t\"x\":[1, 2.50,{}],\"name\":\"a\\u0041\", \"version\":1 }\n"
	data := []byte(in)
	doc, err := policy.ParseDocument(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data) // the caller's bytes are the caller's
	if got := jsonOf(t, doc); got != in {
		t.Errorf("AppendBinary = %q, want %q", got, in)
	}
	if doc.Name() != "aA" {
		t.Errorf("Name() = %q, want aA", doc.Name())
	}
	got, err := doc.AppendBinary([]byte("before"))
	if err != nil || string(got) != "before"+in {
		t.Errorf("AppendBinary(before) = %q, %v", got, err)
	}
}

func TestReencodingKeepsUnknownFieldsAfterTheKnownOnes(t *testing.T) {
	doc := mustParse(t, `{"owner":{"team":"sre","n":1e400},"rules":[{"reason":"a\/b","decision":"Allow","id":12345678901234567890,"action_pattern":"x"}],
		"name":"n","\u0074ags":[ 1,2 ],"version":7}`)
	draft := doc.Draft()
	draft.Rules = slices.Insert(draft.Rules, 0, policy.Rule{ActionPattern: "a\"\\*\x01<é", Decision: policy.RequireApproval})
	again := mustNew(t, draft)
	const want = `{"version":7,"name":"n","rules":[` +
		`{"action_pattern":"a\"\\*\u0001<é","decision":"RequireApproval"},` +
		`{"action_pattern":"x","decision":"Allow","reason":"a\/b","id":12345678901234567890}` +
		`],"enforcement_mode":"enforce","owner":{"team":"sre","n":1e400},"\u0074ags":[ 1,2 ]}`
	if got := jsonOf(t, again); got != want {
		t.Errorf("re-encoded\n%s\nwant\n%s", got, want)
	}
	if got := jsonOf(t, mustNew(t, again.Draft())); got != want {
		t.Errorf("encoded a third time\n%s", got)
	}
}

func TestEditingADraftLeavesTheDocumentAlone(t *testing.T) {
	doc := mustParse(t, `{"version":1,"name":"n","rules":[{"action_pattern":"a","decision":"Allow"}]}`)
	draft := doc.Draft()
	draft.Rules[0].Decision = policy.Deny
	if !doc.Decide("a").Allowed() {
		t.Error("editing a draft changed the document")
	}
	edited := mustNew(t, draft)
	draft.Rules[0].Decision = policy.Allow
	if edited.Decide("a").Allowed() {
		t.Error("editing a draft changed the document made from it")
	}
}

func TestNewDocumentRefusesFaultyDraftsByField(t *testing.T) {
	rule := func(r policy.Rule) policy.Draft { return policy.Draft{Rules: []policy.Rule{{}, r}} }
	for want, draft := range map[string]policy.Draft{
		"policy: name is not valid UTF-8":                                          {Name: "\xff"},
		"policy: enforcement_mode must be enforce, observe or disabled":            {Mode: 3},
		"policy: rules has more than 10000 elements":                               {Rules: make([]policy.Rule, policy.MaxRules+1)},
		"policy: document is longer than 1048576 bytes":                            {Name: strings.Repeat("a", policy.MaxDocument)},
		"policy: rules[1].decision must be Allow, Deny or RequireApproval":         rule(policy.Rule{Decision: 3}),
		"policy: rules[1].action_pattern is not valid UTF-8":                       rule(policy.Rule{ActionPattern: "\xff"}),
		"policy: rules[1].action_pattern is longer than 1024 bytes":                rule(policy.Rule{ActionPattern: strings.Repeat("a", 1025)}),
		"policy: rules[1].action_pattern ends in a backslash that escapes nothing": rule(policy.Rule{ActionPattern: `a\`}),
	} {
		if _, err := policy.NewDocument(draft); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}

func TestDocumentGoesThroughJSONAndBinary(t *testing.T) {
	const in = `{"version":1,"name":"n","rules":[{"action_pattern":"a","decision":"Allow"}],"x":1}`
	doc := mustParse(t, in)
	outer, err := json.Marshal(map[string]*policy.Document{"d": doc})
	if err != nil || string(outer) != `{"d":`+in+`}` {
		t.Fatalf("json.Marshal = %s, %v", outer, err)
	}
	var back map[string]*policy.Document
	if err := json.Unmarshal(outer, &back); err != nil || jsonOf(t, back["d"]) != in {
		t.Fatalf("json.Unmarshal: %v", err)
	}
	data, err := doc.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var binary policy.Document
	if err := binary.UnmarshalBinary(data); err != nil || !binary.Decide("a").Allowed() {
		t.Fatalf("UnmarshalBinary: %v", err)
	}
}

func TestFailedUnmarshalLeavesTheDocumentAlone(t *testing.T) {
	doc := mustParse(t, `{"version":1,"name":"n","rules":[{"action_pattern":"a","decision":"Allow"}]}`)
	for _, in := range []string{"null", "{}", "x"} {
		if err := doc.UnmarshalJSON([]byte(in)); err == nil {
			t.Errorf("UnmarshalJSON(%s) succeeded", in)
		}
		if !doc.Decide("a").Allowed() {
			t.Fatalf("UnmarshalJSON(%s) changed the document", in)
		}
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	doc := mustNew(t, policy.Draft{Rules: []policy.Rule{
		{ActionPattern: "tool:shell"},
		{ActionPattern: "tool:fs.*"},
		{ActionPattern: "*.secret"},
		{ActionPattern: "tool:[a-c]?:*x?y*:é"},
		{ActionPattern: "*", Decision: policy.Allow},
	}})
	for _, action := range []string{"tool:shell", "tool:fs.read", "a.secret", "tool:bq:1x2y3:é", "else", "\xff"} {
		if n := testing.AllocsPerRun(100, func() { doc.Decide(action) }); n != 0 {
			t.Errorf("Decide(%q) allocates %v times", action, n)
		}
	}
}

func TestDocumentIsSafeForConcurrentUse(t *testing.T) {
	doc := mustParse(t, `{"version":1,"name":"n","rules":[{"action_pattern":"[ab]*c?","decision":"Allow"}],"x":1}`)
	want := jsonOf(t, mustNew(t, doc.Draft()))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				next, err := policy.NewDocument(doc.Draft())
				if err != nil || !next.Decide("axcd").Allowed() || !doc.Decide("bcd").Allowed() {
					t.Errorf("NewDocument: %v, or a wrong decision", err)
					return
				}
				if data, err := next.AppendBinary(nil); err != nil || !bytes.Equal(data, []byte(want)) {
					t.Errorf("AppendBinary = %s, %v", data, err)
					return
				}
			}
		})
	}
	group.Wait()
}
