package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/layercache/layercache/stores/policy"
)

// How long does a check of a decoded document take, by number of rules and by kind of pattern? The rule that matches is
// the last, so that every rule is tried; all patterns share the beginning "tool:", as real ones do.
func BenchmarkDecide(b *testing.B) {
	for _, rules := range []int{3, 40} {
		for _, kind := range []struct{ name, pattern string }{
			{"literal", "tool:fs.read%02d:/srv/data"},
			{"prefix", "tool:fs.read%02d:*"},
			{"suffix", "*%02d:/srv/data"},
			{"general", "tool:fs.*%02d:/srv/[a-d]?ta"},
		} {
			draft := policy.Draft{}
			for i := range rules {
				draft.Rules = append(draft.Rules, policy.Rule{ActionPattern: fmt.Sprintf(kind.pattern, i), Decision: policy.Allow})
			}
			doc := mustNew(b, draft)
			action := fmt.Sprintf("tool:fs.read%02d:/srv/data", rules-1)
			b.Run(fmt.Sprintf("rules=%d/%s", rules, kind.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := doc.Decide(action); d.Rule() != rules-1 {
						b.Fatalf("rule %d decided", d.Rule())
					}
				}
			})
		}
	}
}

// What does the worst pattern within the limits cost one check?
func BenchmarkDecideHostile(b *testing.B) {
	pattern := "*" + strings.Repeat("a?", policy.MaxPattern/2-2) + "b*"
	doc := mustNew(b, policy.Draft{Rules: []policy.Rule{{ActionPattern: pattern}}})
	action := strings.Repeat("a", policy.MaxAction)
	b.ReportAllocs()
	for b.Loop() {
		doc.Decide(action)
	}
}

// What does an L2 hit or a load pay to decode a document of usual size?
func BenchmarkParseDocument(b *testing.B) {
	for _, rules := range []int{3, 14, 40} {
		draft := policy.Draft{Version: 1, Name: "support-triage"}
		for i := range rules {
			draft.Rules = append(draft.Rules, policy.Rule{ActionPattern: fmt.Sprintf("tool:fs.read:/srv/%02d/*", i), Decision: policy.Allow})
		}
		data := []byte(jsonOf(b, mustNew(b, draft)))
		b.Run(fmt.Sprintf("rules=%d", rules), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := policy.ParseDocument(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
