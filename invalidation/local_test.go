package invalidation_test

import (
	"context"
	"errors"
	"testing"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
)

// A process may have caches of a tenant only now and then, and tenants come and go.
func TestLocalForgetsANamespaceWithItsLastMember(t *testing.T) {
	local := &invalidation.Local{}
	join := func(namespace string) (*invalidation.Member, *recorder) {
		t.Helper()
		target := &recorder{}
		m, err := local.Join(invalidation.Membership{Namespace: namespace, Target: target})
		if err != nil {
			t.Fatal(err)
		}
		return m, target
	}
	known := func(want int) {
		t.Helper()
		if n := local.Namespaces(); n != want {
			t.Fatalf("%d namespaces are known, want %d", n, want)
		}
	}
	leave := func(m *invalidation.Member) {
		t.Helper()
		for range 2 {
			if err := m.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	x := []l2.ID{id(t, "x")}

	first, _ := join("ns")
	second, _ := join("ns")
	other, untold := join("other")
	leave(first)
	known(2)
	token := second.Invalidate(t.Context(), x, 0).Token()
	leave(second)
	known(1)

	// It begins anew: what was true in its former life is not taken for this one's.
	third, told := join("ns")
	if floor, err := third.Tokens().Parse(token); err != nil {
		t.Fatal(err)
	} else if was, _ := floor.Position(0); was.Epoch == third.Position(0).Epoch {
		t.Fatal("two lives of one epoch")
	}
	fourth, _ := join("ns")
	leave(first)
	fourth.Invalidate(t.Context(), x, 0)
	if told.voids(x[0]) != 1 || untold.voids(x[0]) != 0 {
		t.Fatal(told.all(), untold.all())
	}
	leave(third)
	leave(fourth)
	leave(other)
	known(0)
}

// What has begun in a member may outlast a Close that had no time for it.
func TestACloseThatWasCutShortStillTellsWhoJoinsMeanwhile(t *testing.T) {
	local := &invalidation.Local{}
	target := &recorder{}
	old, err := local.Join(invalidation.Membership{Namespace: "ns", Target: &recorder{}})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := old.Close(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	next, err := local.Join(invalidation.Membership{Namespace: "ns", Target: target})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close(t.Context()) }()
	x := id(t, "x")
	old.Invalidate(t.Context(), []l2.ID{x}, 0)
	if target.voids(x) != 1 {
		t.Fatal(target.all())
	}
}
