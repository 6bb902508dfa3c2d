package session_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

func ExampleStore() {
	ctx := context.Background()
	store, err := session.New(session.Config{Backend: &session.Memory{}}) // or a *session.Redis, and a Link
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close(ctx)

	id := session.ID{15: 1}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fmt.Println(store.Save(ctx, session.Session{ID: id, AgentID: session.AgentID{15: 7}, StartedAt: began}))

	s, err := store.Load(ctx, id)
	fmt.Println(s.AgentID, s.StartedAt, err)
	fmt.Println(store.Touch(ctx, id), store.Delete(ctx, id))

	_, err = store.Load(ctx, id)
	fmt.Println(errors.Is(err, readthrough.ErrNotFound), errors.Is(store.Touch(ctx, id), readthrough.ErrNotFound))
	// Output:
	// <nil>
	// 00000000000000000000000000000007 2026-01-02 03:04:05 +0000 UTC <nil>
	// <nil> <nil>
	// true true
}

func ExampleStore_SaveAsync() {
	ctx := context.Background()
	shared := &session.Memory{}
	here, err := session.New(session.Config{Backend: shared})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer here.Close(ctx)
	there, err := session.New(session.Config{Backend: shared})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer there.Close(ctx)

	id := session.ID{15: 1}
	receipt, err := here.SaveAsync(ctx, session.Session{ID: id, AgentID: session.AgentID{15: 7}, StartedAt: time.Unix(0, 0)})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := there.Load(ctx, id, readthrough.AtLeast(receipt.Token()))
	fmt.Println(s.AgentID, err)
	fmt.Println(receipt.Wait(ctx)) // in force everywhere
	// Output:
	// 00000000000000000000000000000007 <nil>
	// <nil>
}

func ExampleStore_DeleteAsync() {
	ctx := context.Background()
	store, err := session.New(session.Config{Backend: &session.Memory{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close(ctx)
	receipt, err := store.DeleteAsync(ctx, session.ID{15: 1}) // there is none
	fmt.Println(err, receipt.Wait(ctx))
	// Output:
	// <nil> <nil>
}

func ExampleParseID() {
	id, err := session.ParseID("00112233445566778899AABBCCDDEEFF")
	fmt.Println(id, err)
	_, err = session.ParseID("*")
	fmt.Println(err)
	// Output:
	// 00112233445566778899aabbccddeeff <nil>
	// session: session id must be 32 hex digits, got 1 bytes
}
