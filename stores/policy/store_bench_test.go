package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/policy"
)

// What does a check cost that is answered from memory, lease, guard and rules included, and does it scale over cores? The
// documents are an ordinary one and a long one; the rule that matches is the last.
func BenchmarkStoreDecideHit(b *testing.B) {
	f := &fleet{authority: inMemory()}
	s := f.open(b, func(cfg *policy.Config) { cfg.Bound = time.Second })
	for i, rules := range []int{3, 15} {
		draft := policy.Draft{Name: "bench"}
		for n := range rules {
			draft.Rules = append(draft.Rules, policy.Rule{ActionPattern: fmt.Sprintf("tool:fs.read%02d:*", n), Decision: policy.Allow})
		}
		id, action, ctx := agent(byte(i)), fmt.Sprintf("tool:fs.read%02d:/srv/data", rules-1), b.Context()
		if _, err := s.Put(ctx, id, document(b, draft)); err != nil {
			b.Fatal(err)
		}
		allowed := func() bool {
			d, err := s.Decide(ctx, id, action)
			return err == nil && d.Allowed()
		}
		b.Run(fmt.Sprintf("rules=%d/serial", rules), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !allowed() {
					b.Fatal("denied")
				}
			}
		})
		b.Run(fmt.Sprintf("rules=%d/parallel", rules), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if !allowed() {
						b.Error("denied")
					}
				}
			})
		})
	}
}
