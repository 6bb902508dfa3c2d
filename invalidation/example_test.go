package invalidation_test

import (
	"context"
	"fmt"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
)

// printer is a Target that says what it is told.
type printer struct{ name string }

func (p printer) Evict([]uint64) { fmt.Println(p.name, "evicts") }
func (p printer) Flush()         { fmt.Println(p.name, "flushes") }
func (p printer) Invalidated(ids []l2.ID, asOf uint64) {
	fmt.Println(p.name, "drops", ids[0], "older than", asOf)
}

func (p printer) Raise(id string, asOf uint64) { fmt.Println(p.name, "drops", id, "older than", asOf) }
func (p printer) RaiseAll(asOf uint64)         { fmt.Println(p.name, "drops all older than", asOf) }
func (p printer) Rewind()                      { fmt.Println(p.name, "starts over") }

func ExampleBus() {
	ctx := context.Background()
	local := &invalidation.Local{}
	var bus invalidation.Bus
	for _, name := range []string{"first cache", "second cache"} {
		member, err := local.Join(invalidation.Membership{Namespace: "users", Target: printer{name}})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer func() { _ = member.Close(ctx) }()
		bus = member
	}

	id, _ := l2.NewID("u1")
	receipt := bus.Invalidate(ctx, []l2.ID{id}, 42) // after the commit of version 42
	fmt.Println("in force:", receipt.Wait(ctx) == nil)
	fmt.Println("may answer from memory:", bus.Lease(0).Valid(invalidation.Now()))
	// Output:
	// first cache drops u1 older than 42
	// second cache drops u1 older than 42
	// in force: true
	// may answer from memory: true
}

func ExampleTokens() {
	tokens := invalidation.NewTokens("users", 1)
	token := tokens.AsOf(42)
	floor, err := tokens.Parse(token)
	fmt.Println(floor.AsOf, err)
	_, err = invalidation.NewTokens("sessions", 1).Parse(token)
	fmt.Println(err)
	// Output:
	// 42 <nil>
	// layercache: bad token: malformed, or of another namespace
}
