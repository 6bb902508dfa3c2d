package l2_test

import (
	"testing"

	"github.com/layercache/layercache/l2"
)

func TestReleaseGivesTheLeaseBackAndKeepsTheFence(t *testing.T) {
	each(t, func(b bundle) {
		for _, fence := range []uint64{0, 7} {
			if fence > 0 {
				b.invalidate(fence, "k")
			}
			_, nonce := b.expect("k", l2.Leased)
			if err := b.Release(b.t.Context(), l2.FillLease{ID: b.id("k"), Nonce: l2.NewNonce()}); err != nil {
				b.t.Fatal(err)
			}
			b.expect("k", l2.Busy) // another's nonce releases nothing
			if err := b.Release(b.t.Context(), l2.FillLease{ID: b.id("k"), Nonce: nonce}); err != nil {
				b.t.Fatal(err)
			}
			r, nonce := b.expect("k", l2.Leased)
			if r.Fence != fence {
				b.t.Fatalf("fence %d after the release, want %d", r.Fence, fence)
			}
			_ = b.Release(b.t.Context(), l2.FillLease{ID: b.id("k"), Nonce: nonce})
		}
	})
}
