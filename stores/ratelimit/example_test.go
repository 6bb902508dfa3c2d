package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/ratelimit"
)

// example is a store that counts in memory; ratelimit.NewRedis makes a backend that processes share.
func example(cfg ratelimit.Config) *ratelimit.Store {
	if cfg.Backend == nil {
		cfg.Backend = &ratelimit.Memory{}
	}
	store, err := ratelimit.New(cfg)
	if err != nil {
		panic(err)
	}
	return store
}

func ExampleStore_Allow() {
	ctx := context.Background()
	store := example(ratelimit.Config{})
	defer store.Close(ctx)

	limit := ratelimit.Limit{Max: 2, Window: time.Minute}
	for range 3 {
		r, err := store.Allow(ctx, "agent:a1", 1, limit)
		fmt.Println(r.Allowed, r.Remaining, r.RetryAfter > 0, err)
	}
	_, err := store.Allow(ctx, "agent:a1", 3, limit)
	fmt.Println(errors.Is(err, ratelimit.ErrNeverFits))
	// Output:
	// true 1 false <nil>
	// true 0 false <nil>
	// false 0 true <nil>
	// true
}

// Ten an hour, three at once.
func ExampleStore_Allow_smooth() {
	ctx := context.Background()
	store := example(ratelimit.Config{})
	defer store.Close(ctx)

	limit := ratelimit.Limit{Max: 10, Window: time.Hour, Algorithm: ratelimit.GCRA, Burst: 3}
	for range 4 {
		r, err := store.Allow(ctx, "team:t1", 1, limit)
		fmt.Println(r.Allowed, r.RetryAfter <= 6*time.Minute, err)
	}
	// Output:
	// true true <nil>
	// true true <nil>
	// true true <nil>
	// false true <nil>
}

func ExampleStore_AllowAll() {
	ctx := context.Background()
	store := example(ratelimit.Config{})
	defer store.Close(ctx)

	agent := ratelimit.Demand{Key: "agent:a1", N: 1, Limit: ratelimit.Limit{Max: 100, Window: time.Minute}}
	team := ratelimit.Demand{Key: "team:t1", N: 1, Limit: ratelimit.Limit{Max: 1, Window: time.Hour}}
	for range 2 {
		v, err := store.AllowAll(ctx, agent, team)
		fmt.Println(v.Allowed, v.Refused, v.Each[0].Remaining, err)
	}
	spent, err := store.Current(ctx, "agent:a1")
	fmt.Println(spent, err)
	// Output:
	// true -1 99 <nil>
	// false 1 99 <nil>
	// 1 <nil>
}

func ExampleStore_Lease() {
	ctx := context.Background()
	backend := &ratelimit.Memory{}
	store := example(ratelimit.Config{Backend: backend, Processes: 4})
	defer store.Close(ctx)

	lease, err := store.Lease(ratelimit.LeaseConfig{Key: "tenant:x", Limit: ratelimit.Limit{Max: 1000, Window: time.Hour}, Block: 50})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 10 {
		if r, err := lease.Allow(ctx, 1); !r.Allowed || err != nil {
			fmt.Println(r, err)
		}
	}
	counted, err := store.Current(ctx, "tenant:x")
	fmt.Println(counted, err) // the whole block
	err = lease.Close(ctx)
	fmt.Println(err)
	counted, err = store.Current(ctx, "tenant:x")
	fmt.Println(counted, err) // what was spent
	// Output:
	// 50 <nil>
	// <nil>
	// 10 <nil>
}

func ExampleStore_Increment() {
	ctx := context.Background()
	store := example(ratelimit.Config{})
	defer store.Close(ctx)

	for _, tokens := range []int64{1200, 800, 0} {
		total, err := store.Increment(ctx, "tokens:a1", tokens, time.Minute)
		fmt.Println(total, err)
	}
	err := store.Reset(ctx, "tokens:a1")
	total, _ := store.Current(ctx, "tokens:a1")
	fmt.Println(total, err)
	// Output:
	// 1200 <nil>
	// 2000 <nil>
	// 2000 <nil>
	// 0 <nil>
}

// What a call answers while Redis cannot be asked is the operator's choice.
func ExampleConfig_onFailure() {
	ctx := context.Background()
	for _, choice := range []ratelimit.Failure{ratelimit.Deny, ratelimit.AllowAny, ratelimit.LocalShare} {
		down := meddle(&ratelimit.Memory{})
		down.fail(errDown)
		store := example(ratelimit.Config{Backend: down, OnFailure: choice, Processes: 4})
		r, err := store.Allow(ctx, "agent:a1", 1, ratelimit.Limit{Max: 100, Window: time.Minute})
		fmt.Println(r.Allowed, r.Degraded, r.Remaining, errors.Is(err, readthrough.ErrUnavailable))
		_ = store.Close(ctx)
	}
	// Output:
	// false true 0 true
	// true true 0 false
	// true true 24 false
}
