package readthrough_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/layercache/layercache/readthrough"
)

// users is an authority.
type users struct {
	mu    sync.Mutex // guards names
	names map[string]string
}

func (u *users) load(_ context.Context, id string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Println("load", id)
	name, ok := u.names[id]
	if !ok {
		return "", readthrough.ErrNotFound
	}
	return name, nil
}

func (u *users) renameAda() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.names["u1"] = "Augusta"
}

// people is a cache of two users without Redis; with it, Config has a Redis too.
func people() (*readthrough.Cache[string, string], *users) {
	db := &users{names: map[string]string{"u1": "Ada", "u2": "Grace"}}
	c, err := readthrough.New(readthrough.Config[string, string]{
		Name: "users", Loader: readthrough.LoaderFunc[string, string](db.load),
	})
	if err != nil {
		panic(err)
	}
	return c, db
}

func ExampleNew() {
	c, err := readthrough.New(readthrough.Config[string, int]{Name: "a:b"})
	fmt.Println(c, err)
	// Output:
	// <nil> readthrough: Config.Name must have from 1 to 128 letters, digits, '.', '_' or '-', got "a:b"
}

func ExampleCache_Get() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	fmt.Println(c.Get(ctx, "u1"))
	fmt.Println(c.Get(ctx, "u1"))
	_, err := c.Get(ctx, "nobody")
	fmt.Println(errors.Is(err, readthrough.ErrNotFound))
	// Output:
	// load u1
	// Ada <nil>
	// Ada <nil>
	// load nobody
	// true
}

func ExampleCache_GetMany() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	names, err := c.GetMany(context.Background(), []string{"u1"})
	fmt.Println(names, err)
	// Output:
	// load u1
	// map[u1:Ada] <nil>
}

func ExampleCache_GetEntry() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	for range 2 {
		e, err := c.GetEntry(ctx, "u1")
		fmt.Println(e.Value, e.Tier, e.Bound, err)
	}
	// Output:
	// load u1
	// Ada L3 0s <nil>
	// Ada L1 10s <nil>
}

func ExampleCache_GetAsOf() {
	c, err := readthrough.New(readthrough.Config[string, string]{Name: "users", Loader: versioned{}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	fmt.Println(c.GetAsOf(context.Background(), "u1"))
	// Output: Ada 42 <nil>
}

// versioned is an authority that says at which version it was read.
type versioned struct{}

func (versioned) Load(context.Context, string) (readthrough.Loaded[string], error) {
	return readthrough.Loaded[string]{Value: "Ada", AsOf: 42}, nil
}

func ExampleCache_Epoch() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	receipt, _ := c.InvalidateAsync(ctx, "u1")
	epoch, err := c.Epoch(ctx)
	fmt.Println(receipt.Epoch() == epoch, err)
	// Output: true <nil>
}

func ExampleCache_Peek() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	_, ok := c.Peek("u1")
	fmt.Println(ok)
	_, _ = c.Get(context.Background(), "u1")
	e, ok := c.Peek("u1")
	fmt.Println(e.Value, ok)
	// Output:
	// false
	// load u1
	// Ada true
}

func ExampleCache_Warm() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	fmt.Println(c.Warm(ctx, "u2"))
	fmt.Println(c.Get(ctx, "u2"))
	// Output:
	// load u2
	// <nil>
	// Grace <nil>
}

func ExampleCache_Refresh() {
	c, db := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	_ = c.Warm(ctx, "u1")
	db.renameAda()
	fmt.Println(c.Refresh(ctx, "u1"))
	fmt.Println(c.Get(ctx, "u1"))
	// Output:
	// load u1
	// load u1
	// <nil>
	// Augusta <nil>
}

func ExampleCache_Invalidate() {
	c, db := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	_ = c.Warm(ctx, "u1")
	db.renameAda()                       // the authority first
	fmt.Println(c.Invalidate(ctx, "u1")) // in force everywhere when it returns
	fmt.Println(c.Get(ctx, "u1"))
	// Output:
	// load u1
	// <nil>
	// load u1
	// Augusta <nil>
}

func ExampleCache_InvalidateAsync() {
	c, db := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	db.renameAda()
	receipt, err := c.InvalidateAsync(ctx, "u1")
	if err != nil {
		return // nothing was invalidated: the key or the cache is no good
	}
	fmt.Println(c.Get(ctx, "u1", readthrough.AtLeast(receipt.Token())))
	if err := receipt.Wait(ctx); err != nil {
		late, _ := errors.AsType[*readthrough.NotInForceError](err)
		fmt.Println("in force at", late.Until, "but for", late.Laggards)
	}
	// Output:
	// load u1
	// Augusta <nil>
}

func ExampleCache_InvalidateAsOf() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	receipt, err := c.InvalidateAsOf(context.Background(), 42, "u1") // 42 is what the authority gave to the change
	fmt.Println(receipt.AsOf(), receipt.Executed(), err)
	// Output: 42 true <nil>
}

func ExampleCache_InvalidateAll() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	_ = c.Warm(ctx, "u1")
	fmt.Println(c.InvalidateAll(ctx))
	_, ok := c.Peek("u1")
	fmt.Println(ok)
	// Output:
	// load u1
	// <nil>
	// false
}

func ExampleCache_InvalidateAllAsync() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	receipt, err := c.InvalidateAllAsync(context.Background(), 0)
	fmt.Println(receipt.Executed(), err)
	// Output: true <nil>
}

func ExampleCache_Ready() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	fmt.Println(c.Ready(context.Background()))
	fmt.Println(c.Health().State)
	// Output:
	// <nil>
	// up
}

func ExampleCache_Health() {
	c, _ := people()
	defer func() { _ = c.Close(context.Background()) }()
	h := c.Health()
	fmt.Println(h.State, h.Pending, h.Err)
	// Output: up 0 <nil>
}

func ExampleCache_Close() {
	c, _ := people()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(c.Close(ctx))
	_, err := c.Get(ctx, "u1")
	fmt.Println(err)
	// Output:
	// <nil>
	// layercache: closed
}

func ExampleLinearizable() {
	c, db := people()
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	_ = c.Warm(ctx, "u1")
	db.renameAda() // and nobody is told
	fmt.Println(c.Get(ctx, "u1"))
	fmt.Println(c.Get(ctx, "u1", readthrough.Linearizable()))
	// Output:
	// load u1
	// Ada <nil>
	// load u1
	// Augusta <nil>
}

func ExampleServeStale() {
	db := &users{names: map[string]string{"u1": "Ada"}}
	down := false
	c, err := readthrough.New(readthrough.Config[string, string]{
		Name: "users", Mode: readthrough.ServeStale(time.Hour), TTL: time.Millisecond,
		Loader: readthrough.LoaderFunc[string, string](func(ctx context.Context, id string) (string, error) {
			if down {
				return "", errors.New("no database")
			}
			return db.load(ctx, id)
		}),
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	ctx := context.Background()
	_, _ = c.Get(ctx, "u1")
	down = true
	<-time.After(2 * time.Millisecond) // it has ended
	e, err := c.GetEntry(ctx, "u1")
	fmt.Println(e.Value, e.Stale, err)
	_, err = c.Get(ctx, "u1", readthrough.MaxStale(0))
	fmt.Println(errors.Is(err, readthrough.ErrUnavailable))
	// Output:
	// load u1
	// Ada true <nil>
	// true
}
