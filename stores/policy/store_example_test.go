package policy_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/policy"
)

func ExampleStore() {
	ctx := context.Background()
	store, err := policy.New(policy.Config{Authority: &policy.Memory{}}) // or a *sqlsource.Table, and Redis
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close(ctx)

	id := policy.AgentID{15: 7}
	doc, err := policy.NewDocument(policy.Draft{Name: "ops", Rules: []policy.Rule{{ActionPattern: "tool:*", Decision: policy.Allow}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	version, err := store.Put(ctx, id, doc)
	fmt.Println(version, err)

	d, err := store.Decide(ctx, id, "tool:shell")
	fmt.Println(d.Allowed(), d.AsOf(), err)

	d, err = store.Decide(ctx, policy.AgentID{15: 8}, "tool:shell")
	fmt.Println(d.Allowed(), errors.Is(err, readthrough.ErrNotFound))
	// Output:
	// 1 <nil>
	// true 1 <nil>
	// false true
}

func ExampleStore_PutAsync() {
	ctx := context.Background()
	shared := &policy.Memory{}
	here, err := policy.New(policy.Config{Authority: shared})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer here.Close(ctx)
	there, err := policy.New(policy.Config{Authority: shared})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer there.Close(ctx)

	id := policy.AgentID{15: 7}
	doc, err := policy.NewDocument(policy.Draft{Name: "revoked"}) // no rule: everything is denied
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := here.PutAsync(ctx, id, doc)
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := there.Decide(ctx, id, "tool:shell", readthrough.AtLeast(receipt.Token()))
	fmt.Println(d.Allowed(), d.Decided(), err)
	fmt.Println(receipt.Wait(ctx)) // in force everywhere
	// Output:
	// false true <nil>
	// <nil>
}

func ExampleStore_ApplyPush() {
	ctx := context.Background()
	store, err := policy.New(policy.Config{Authority: &policy.Memory{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close(ctx)
	fmt.Println(store.ApplyPush(ctx, "00112233445566778899aabbccddeeff"))
	fmt.Println(store.ApplyPush(ctx, "")) // all policies
	fmt.Println(store.ApplyPush(ctx, "*"))
	// Output:
	// <nil>
	// <nil>
	// policy: agent id must be 32 hex digits, got 1 bytes
}
