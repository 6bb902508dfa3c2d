package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/layercache/layercache/stores/policy"
)

func ExampleParseDocument() {
	doc, err := policy.ParseDocument([]byte(`{"version":3,"name":"support","rules":[
		{"action_pattern":"tool:payments.refund","decision":"RequireApproval"},
		{"action_pattern":"tool:*","decision":"Allow"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(doc.Name(), doc.Version(), doc.Mode())
	// Output: support 3 enforce
}

func ExampleDocumentError() {
	_, err := policy.ParseDocument([]byte(`{"version":1,"name":"n","rules":[{"action_pattern":"*","decision":"Maybe"}]}`))
	fmt.Println(err)
	if fault, ok := errors.AsType[*policy.DocumentError](err); ok {
		fmt.Println(fault.Field)
	}
	// Output:
	// policy: rules[0].decision must be Allow, Deny or RequireApproval
	// rules[0].decision
}

func ExampleNewDocument() {
	doc, err := policy.NewDocument(policy.Draft{
		Version: 1,
		Name:    "reader",
		Rules: []policy.Rule{
			{ActionPattern: "tool:fs.read:/etc/*", Decision: policy.Deny},
			{ActionPattern: "tool:fs.read:*", Decision: policy.Allow},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := json.MarshalIndent(doc, "", " ")
	fmt.Println(string(data), err)
	// Output:
	// {
	//  "version": 1,
	//  "name": "reader",
	//  "rules": [
	//   {
	//    "action_pattern": "tool:fs.read:/etc/*",
	//    "decision": "Deny"
	//   },
	//   {
	//    "action_pattern": "tool:fs.read:*",
	//    "decision": "Allow"
	//   }
	//  ],
	//  "enforcement_mode": "enforce"
	// } <nil>
}

func ExampleDocument_Decide() {
	doc, err := policy.ParseDocument([]byte(`{"version":1,"name":"ops","rules":[
		{"action_pattern":"tool:db.*:prod-??","decision":"RequireApproval"},
		{"action_pattern":"tool:db.*","decision":"Allow"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, action := range []string{"tool:db.query:staging", "tool:db.query:prod-eu", "tool:shell"} {
		d := doc.Decide(action)
		fmt.Println(action, d.Allowed(), d.Verdict(), d.Rule())
	}
	// Output:
	// tool:db.query:staging true Allow 1
	// tool:db.query:prod-eu false RequireApproval 0
	// tool:shell false Deny -1
}

func ExampleDocument_Draft() {
	doc, err := policy.ParseDocument([]byte(`{"owner":"team-sre","version":1,"name":"ops","rules":[{"action_pattern":"*","decision":"Allow"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	draft := doc.Draft()
	draft.Version++
	draft.Rules = slices.Insert(draft.Rules, 0, policy.Rule{ActionPattern: "tool:shell", Decision: policy.Deny})
	revoked, err := policy.NewDocument(draft)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(doc.Decide("tool:shell").Allowed(), revoked.Decide("tool:shell").Allowed())
	data, err := revoked.AppendBinary(nil)
	fmt.Println(string(data), err)
	// Output:
	// true false
	// {"version":2,"name":"ops","rules":[{"action_pattern":"tool:shell","decision":"Deny"},{"action_pattern":"*","decision":"Allow"}],"enforcement_mode":"enforce","owner":"team-sre"} <nil>
}

func ExampleDecision_Allowed() {
	var none policy.Decision
	fmt.Println(none.Allowed(), none.Decided())

	doc, err := policy.NewDocument(policy.Draft{Mode: policy.Observe})
	if err != nil {
		fmt.Println(err)
		return
	}
	d := doc.Decide("tool:shell")
	fmt.Println(d.Allowed(), d.Decided(), d.Verdict(), d.Mode())
	// Output:
	// false false
	// true true Deny observe
}

func ExampleParseAgentID() {
	id, err := policy.ParseAgentID("00112233445566778899AABBCCDDEEFF")
	fmt.Println(id, err)
	// Output: 00112233445566778899aabbccddeeff <nil>
}
