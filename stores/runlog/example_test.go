package runlog_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

func Example() {
	ctx := context.Background()
	log, err := runlog.New(runlog.Config{Backend: &runlog.Memory{}}) // or runlog.NewRedis
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close(ctx)

	begin, _ := runlog.NewEvent(runlog.RunStarted, map[string]string{"session_id": "s1"})
	hello, _ := runlog.NewEvent(runlog.TextDelta, map[string]string{"delta": "Hello"})
	done, _ := runlog.NewEvent(runlog.RunCompleted, struct{}{})

	e, err := log.Append(ctx, "run1", begin)
	fmt.Println(e.Seq, e.SessionID, err)
	all, err := log.AppendBatch(ctx, "run1", []runlog.Event{hello, begin}) // begin is there already
	fmt.Println(all[0].Seq, all[1].Seq, err)
	_, err = log.Append(ctx, "run1", done)
	fmt.Println(err)

	for e, err := range log.Follow(ctx, "run1", runlog.Cursor{Seq: 1}) {
		fmt.Println(e.Seq, e.Kind(), e.SessionID, err)
	}
	// Output:
	// 1 s1 <nil>
	// 2 1 <nil>
	// <nil>
	// 2 TextDelta s1 <nil>
	// 3 RunCompleted s1 <nil>
}

func ExampleStore_ListAfter() {
	ctx := context.Background()
	log, err := runlog.New(runlog.Config{Backend: &runlog.Memory{}, MaxEvents: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close(ctx)
	for range 6 {
		tick, _ := runlog.NewEvent("Tick", nil)
		if _, err := log.Append(ctx, "run1", tick); err != nil {
			fmt.Println(err)
		}
	}
	at := runlog.Cursor{}
	for {
		page, err := log.ListAfter(ctx, "run1", at, 2)
		if trimmed, ok := errors.AsType[*runlog.TrimmedError](err); ok {
			fmt.Println("the first one is", trimmed.First)
			at = trimmed.Resume()
			continue
		}
		for _, e := range page.Events {
			fmt.Println(e.Seq)
		}
		if at = page.Next; !page.HasMore {
			break
		}
	}
	// Output:
	// the first one is 3
	// 3
	// 4
	// 5
	// 6
}

func ExampleStore_Delete() {
	ctx := context.Background()
	log, err := runlog.New(runlog.Config{Backend: &runlog.Memory{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close(ctx)
	tick, _ := runlog.NewEvent("Tick", nil)
	e, err := log.Append(ctx, "run1", tick)
	fmt.Println(e.Seq, err)
	fmt.Println(log.Delete(ctx, "run1"))
	_, err = log.Last(ctx, "run1")
	fmt.Println(errors.Is(err, readthrough.ErrNotFound))
	_, err = log.ListAfter(ctx, "run1", e.Cursor(), 10) // a cursor knows whose it is
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// <nil>
	// true
	// runlog: the run is gone
}
