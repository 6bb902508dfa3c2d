package registry_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/stores/registry"
)

func Example() {
	ctx := context.Background()
	store, err := registry.New(registry.Config{Backend: &registry.Memory{}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close(ctx) }()
	for _, a := range []registry.Agent{
		{ID: "a1", Capabilities: registry.Capable("go", "sql"), CurrentLoad: 1, MaxLoad: 2},
		{ID: "a2", Capabilities: registry.Capable("go"), MaxLoad: 1},
		{ID: "a3", Capabilities: registry.Capable("web")},
	} {
		if err := store.Register(ctx, a); err != nil {
			panic(err)
		}
	}
	for range 3 {
		found, err := store.Find(ctx, registry.Query{Capabilities: []string{"go"}, Limit: 1})
		if err != nil {
			panic(err)
		}
		for a := range found.All() {
			ok, err := store.Claim(ctx, a.ID)
			fmt.Println(a.ID, ok, err)
		}
	}
	fmt.Println(store.Release(ctx, "a2"))
	// Output:
	// a2 true <nil>
	// a1 true <nil>
	// <nil>
}

func ExampleStore_Heartbeat() {
	ctx := context.Background()
	store, err := registry.New(registry.Config{Backend: &registry.Memory{}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close(ctx) }()
	err = store.Heartbeat(ctx, "a1")
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Code == registry.Unknown {
		fmt.Println(err)
		err = store.Register(ctx, registry.Agent{ID: "a1"})
	}
	fmt.Println(err, store.Heartbeat(ctx, "a1"))
	// Output:
	// agent not found: a1
	// <nil> <nil>
}

func ExampleStore_Watch() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store, err := registry.New(registry.Config{Backend: &registry.Memory{}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close(context.Background()) }()
	for ev, err := range store.Watch(ctx) {
		if err != nil {
			panic(err) // an outage: a real program goes on
		}
		switch ev.Kind {
		case registry.Started:
			fmt.Println("agents:", ev.Agents.Len())
			_ = store.Register(ctx, registry.Agent{ID: "a1"})
		case registry.Changed, registry.Resynced:
			for _, c := range ev.Changes {
				fmt.Println("joined:", c.Joined(), c.After.ID)
			}
			stop()
		}
	}
	// Output:
	// agents: 0
	// joined: true a1
}

func ExampleStore_Reap() {
	ctx := context.Background()
	now := time.Now()
	store, err := registry.New(registry.Config{Backend: &registry.Memory{Now: func() time.Time { return now }}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close(ctx) }()
	_ = store.Register(ctx, registry.Agent{ID: "silent"})
	_ = store.Register(ctx, registry.Agent{ID: "alive"})
	for range 10 {
		now = now.Add(10 * time.Second)
		_ = store.Heartbeat(ctx, "alive")
		if dead, err := store.Reap(ctx, time.Minute); err != nil || len(dead) > 0 {
			fmt.Println(dead, err)
		}
	}
	// Output:
	// [silent] <nil>
}
