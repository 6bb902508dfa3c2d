package l2_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/layercache/layercache/l2"
)

// A miss gives one caller the right to load and fill; an invalidation voids what was stored, and that right.
func Example() {
	server, err := miniredis.Run() // in place of a Redis of your own
	if err != nil {
		panic(err)
	}
	defer server.Close()
	client, err := l2.NewClient(l2.ClientConfig{URL: "redis://" + server.Addr()})
	if err != nil {
		panic(err)
	}
	defer func() { _ = client.Close() }()
	store, err := l2.New(l2.Config{Client: client, Namespace: "users"})
	if err != nil {
		panic(err)
	}
	id, err := l2.NewID("u1")
	if err != nil {
		panic(err)
	}

	ctx := context.Background()
	lookup := l2.Lookup{ID: id, Nonce: l2.NewNonce()}
	reply, err := store.Get(ctx, lookup)
	fmt.Println(reply.Outcome, err)

	value := l2.Envelope{Codec: l2.CodecJSON, AsOf: 7, Created: time.Now(), Payload: []byte(`{"name":"Ada"}`)}
	result, err := store.Fill(ctx, l2.Fill{
		ID: id, Epoch: reply.Position.Epoch, Nonce: lookup.Nonce, AsOf: value.AsOf, TTL: time.Minute,
		Envelope: l2.AppendEnvelope(nil, store.Scope(), id, value),
	})
	fmt.Println(result, err)

	reply, err = store.Get(ctx, l2.Lookup{ID: id})
	fmt.Println(reply.Outcome, err)
	value, err = l2.ParseEnvelope(reply.Envelope, store.Scope(), id, l2.Limits{})
	fmt.Println(string(value.Payload), value.AsOf, err)

	done, err := store.Invalidate(ctx, store.Partition(id.Hash()), l2.Invalidation{IDs: []l2.ID{id}, AsOf: 8})
	fmt.Println(done.Position.Seq, done.Degraded, err)
	reply, err = store.Get(ctx, l2.Lookup{ID: id})
	fmt.Println(reply.Outcome, reply.Fence, err)
	// Output:
	// leased <nil>
	// stored <nil>
	// hit <nil>
	// {"name":"Ada"} 7 <nil>
	// 1 false <nil>
	// bare 8 <nil>
}
