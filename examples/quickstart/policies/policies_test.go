package policies_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/examples/quickstart/policies"
	"github.com/layercache/layercache/stores/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type entry struct {
	id   policy.AgentID
	size int
	doc  *policy.Document
}

func all(t *testing.T) []entry {
	t.Helper()
	var entries []entry
	for id, data := range policies.All() {
		doc, err := policy.ParseDocument(data)
		if err != nil {
			t.Fatalf("the document of %v: %v", id, err)
		}
		entries = append(entries, entry{id, len(data), doc})
	}
	return entries
}

func TestThereAre1200DocumentsOfDistinctAgents(t *testing.T) {
	agents := map[policy.AgentID]bool{}
	names := map[string]bool{}
	for _, e := range all(t) {
		agents[e.id] = true
		names[e.doc.Name()] = true
	}
	if len(agents) != 1200 || policies.Count != 1200 {
		t.Errorf("%d agents, Count = %d, want 1200", len(agents), policies.Count)
	}
	if len(names) != 1200 {
		t.Errorf("%d names, want 1200", len(names))
	}
}

func TestDocumentsHave3To40Rules(t *testing.T) {
	var counts []int
	for _, e := range all(t) {
		counts = append(counts, len(e.doc.Draft().Rules))
	}
	slices.Sort(counts)
	t.Logf("rules: %d, median %d, %d", counts[0], counts[len(counts)/2], counts[len(counts)-1])
	if counts[0] != 3 || counts[len(counts)-1] != 40 {
		t.Errorf("documents have %d to %d rules, want 3 to 40", counts[0], counts[len(counts)-1])
	}
}

func TestMedianDocumentIsAbout1KiB(t *testing.T) {
	var sizes []int
	for _, e := range all(t) {
		sizes = append(sizes, e.size)
	}
	slices.Sort(sizes)
	median := sizes[len(sizes)/2]
	t.Logf("bytes: %d, median %d, %d", sizes[0], median, sizes[len(sizes)-1])
	if median < 800 || median > 1300 {
		t.Errorf("the median document has %d bytes, want 800 to 1300", median)
	}
}

func TestATenthOfTheRulesRequireApproval(t *testing.T) {
	verdicts := map[policy.Verdict]int{}
	rules := 0
	for _, e := range all(t) {
		for _, rule := range e.doc.Draft().Rules {
			verdicts[rule.Decision]++
			rules++
		}
	}
	t.Logf("%d rules: %v", rules, verdicts)
	if verdicts[policy.RequireApproval]*10 < rules {
		t.Errorf("%d of %d rules require approval, want a tenth", verdicts[policy.RequireApproval], rules)
	}
}

func TestAFewDocumentsAreNotEnforced(t *testing.T) {
	modes := map[policy.Mode]int{}
	for _, e := range all(t) {
		modes[e.doc.Mode()]++
	}
	t.Log(modes)
	if modes[policy.Observe] == 0 || modes[policy.Disabled] == 0 || modes[policy.Enforce]*10 < policies.Count*9 {
		t.Errorf("modes: %v, want some of each and at least nine tenths enforced", modes)
	}
}

func TestEnforcedDocumentsAllowOneToolAndRefuseAnother(t *testing.T) {
	tools := policies.Tools()
	for _, e := range all(t) {
		if e.doc.Mode() != policy.Enforce {
			continue
		}
		allowed := 0
		for _, tool := range tools {
			if e.doc.Decide("tool:" + tool).Allowed() {
				allowed++
			}
		}
		if allowed == 0 || allowed == len(tools) {
			t.Errorf("%s allows %d of %d tools", e.doc.Name(), allowed, len(tools))
		}
	}
}

func TestToolsAreThoseOfTheRules(t *testing.T) {
	used := map[string]bool{}
	for _, e := range all(t) {
		for _, rule := range e.doc.Draft().Rules {
			name, isTool := strings.CutPrefix(rule.ActionPattern, "tool:")
			name, _, _ = strings.Cut(name, ":")
			if isTool && !strings.Contains(name, "*") { // else a family of tools, or everything
				used[name] = true
			}
		}
	}
	tools := policies.Tools()
	if len(tools) < 30 || !slices.IsSorted(tools) {
		t.Errorf("%d tools, sorted %v, want at least 30, sorted", len(tools), slices.IsSorted(tools))
	}
	for _, tool := range tools {
		if !used[tool] {
			t.Errorf("no rule is about %s", tool)
		}
		delete(used, tool)
	}
	if len(used) > 0 {
		t.Errorf("rules about tools that are not in Tools: %v", used)
	}
}

func TestSomeDocumentsHaveFieldsTheLibraryDoesNotKnow(t *testing.T) {
	owners, reasons := 0, 0
	for _, data := range policies.All() {
		var doc struct {
			Owner string
			Rules []struct{ Reason string }
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Owner != "" {
			owners++
		}
		for _, rule := range doc.Rules {
			if rule.Reason != "" {
				reasons++
			}
		}
	}
	if owners == 0 || reasons == 0 {
		t.Errorf("%d owners, %d reasons, want some of each", owners, reasons)
	}
}

func TestAllStopsWhenAsked(t *testing.T) {
	var first []policy.AgentID
	for range 2 {
		for id := range policies.All() {
			first = append(first, id)
			break
		}
	}
	if len(first) != 2 || first[0] != first[1] {
		t.Errorf("two walks stopped at the first document saw %v", first)
	}
}

func ExampleAll() {
	for id, data := range policies.All() {
		doc, err := policy.ParseDocument(data)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(id.String()), doc.Mode(), doc.Decide("tool:unheard.of").Allowed())
		break
	}
	// Output: 32 enforce false
}

func ExampleTools() {
	fmt.Println(policies.Tools()[:3])
	// Output: [browser.open browser.submit calendar.create]
}
