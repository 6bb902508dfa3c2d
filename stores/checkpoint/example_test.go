package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

func Example() {
	ctx := context.Background()
	threads, err := checkpoint.New(checkpoint.Config{Backend: &checkpoint.Memory{}, TTL: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = threads.Close(ctx) }()
	if _, err := threads.Save(ctx, "t1", []byte("after the first message")); err != nil {
		log.Fatal(err)
	}
	state, err := threads.Load(ctx, "t1")
	fmt.Printf("%s, %v\n", state.Data, err)
	_, err = threads.Load(ctx, "t2")
	fmt.Println(errors.Is(err, readthrough.ErrNotFound))
	// Output:
	// after the first message, <nil>
	// true
}

func ExampleStore_SaveIf() {
	ctx := context.Background()
	threads, err := checkpoint.New(checkpoint.Config{Backend: &checkpoint.Memory{}})
	if err != nil {
		log.Fatal(err)
	}
	_, _ = threads.SaveIf(ctx, "t1", []byte("one"), 0) // only if it does not exist
	state, _ := threads.Load(ctx, "t1")
	_, err = threads.SaveIf(ctx, "t1", []byte("two, by the first worker"), state.Version)
	fmt.Println(err)
	_, err = threads.SaveIf(ctx, "t1", []byte("two, by the second worker"), state.Version)
	fmt.Println(errors.Is(err, checkpoint.ErrConflict))
	state, _ = threads.Load(ctx, "t1")
	fmt.Printf("%s\n", state.Data)
	// Output:
	// <nil>
	// true
	// two, by the first worker
}

func ExampleStore_List() {
	ctx := context.Background()
	threads, err := checkpoint.New(checkpoint.Config{Backend: &checkpoint.Memory{}, TTL: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c", "a"} {
		_, _ = threads.Save(ctx, id, nil)
	}
	_ = threads.Pin(ctx, "b")
	for cursor := ""; ; {
		page, err := threads.List(ctx, cursor, 2)
		if err != nil {
			log.Fatal(err)
		}
		for _, thread := range page.Threads {
			fmt.Println(thread.ID, thread.Pinned)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	// Output:
	// a false
	// c false
	// b true
}

func ExampleSnapshot_Merge() {
	before, _ := checkpoint.ParseSnapshot([]byte(`{"todos":[{"content":"plan","status":"pending"}],"files":{"a":"1","b":"1"},"scratchpad":{}}`))
	after, _ := checkpoint.ParseSnapshot([]byte(`{"todos":[],"files":{"b":"2"},"scratchpad":{"k":[1]}}`))
	merged, _ := before.Merge(after).Encode()
	fmt.Println(string(merged))
	// Output: {"todos":[{"content":"plan","status":"pending"}],"files":{"a":"1","b":"2"},"scratchpad":{"k":[1]}}
}
