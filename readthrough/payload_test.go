package readthrough_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

// A value in Redis that cannot be used is a counted miss, and is replaced.
func TestAValueThatCannotBeUsedIsAMissAndIsReplaced(t *testing.T) {
	const scope = "test"
	id, err := l2.NewID("k")
	if err != nil {
		t.Fatal(err)
	}
	other, err := l2.NewID("other")
	if err != nil {
		t.Fatal(err)
	}
	good := l2.Envelope{Codec: l2.CodecJSON, Schema: 7, Created: time.Now(), Payload: []byte("666")}
	with := func(change func(*l2.Envelope)) []byte {
		e := good
		change(&e)
		return l2.AppendEnvelope(nil, scope, id, e)
	}
	flipped := with(func(*l2.Envelope) {})
	flipped[len(flipped)-1] ^= 1
	unknown := with(func(*l2.Envelope) {})
	unknown[2] = 99
	for name, bad := range map[string]struct {
		envelope []byte
		event    telemetry.Event
	}{
		"garbage":         {[]byte("garbage"), telemetry.PayloadRejectedCorrupt},
		"empty":           {nil, telemetry.PayloadRejectedCorrupt},
		"cut":             {with(func(*l2.Envelope) {})[:20], telemetry.PayloadRejectedCorrupt},
		"flipped":         {flipped, telemetry.PayloadRejectedCorrupt},
		"unknown version": {unknown, telemetry.PayloadRejectedVersion},
		"another key's":   {l2.AppendEnvelope(nil, scope, other, good), telemetry.PayloadRejectedForeign},
		"another name's":  {l2.AppendEnvelope(nil, "elsewhere", id, good), telemetry.PayloadRejectedForeign},
		"another schema":  {with(func(e *l2.Envelope) { e.Schema = 8 }), telemetry.PayloadRejectedSchema},
		"another codec":   {with(func(e *l2.Envelope) { e.Codec = 200 }), telemetry.PayloadRejectedSchema},
		"undecodable":     {with(func(e *l2.Envelope) { e.Payload = []byte("{") }), telemetry.PayloadRejectedCorrupt},
		"decoded too big": {with(func(e *l2.Envelope) { e.Payload = []byte(strings.Repeat(" ", 300) + "1") }), telemetry.PayloadRejectedOversize},
	} {
		t.Run(name, func(t *testing.T) {
			onRedis(t, func(t *testing.T, b backend) {
				src, tel := newSource(map[string]int{"k": 7}), newRecorder()
				c := open(t, b.with(config{Loader: src, Schema: 7, Telemetry: tel, MaxDecoded: 256}))
				ready(t, c)
				epoch := b.client.Get(t.Context(), prefix+"e").Val()
				b.client.Set(t.Context(), prefix+"d:k", epoch+string(bad.envelope), time.Minute)
				wantTier(t, c, "k", 7, readthrough.L3)
				if n := tel.count(bad.event); n != 1 {
					t.Errorf("%s counted %d times", bad.event, n)
				}
				redistest.Eventually(t, 10*time.Second, "replacement", func() bool { return tel.count(telemetry.FillStored) == 1 })
				wantTier(t, c, "k", 7, readthrough.L2, readthrough.SkipL1())
				if many, err := c.GetMany(t.Context(), []string{"k"}, readthrough.SkipL1()); err != nil || many["k"] != 7 {
					t.Errorf("GetMany = %v, %v", many, err)
				}
				wantLoads(t, src, 1)
			})
		})
	}
}

func TestAValueLongerThanMaxWireIsNotFetched(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, tel := newSource(map[string]int{"k": 7}), newRecorder()
		c := open(t, b.with(config{Loader: src, Telemetry: tel, MaxWire: 128}))
		ready(t, c)
		epoch := b.client.Get(t.Context(), prefix+"e").Val()
		b.client.Set(t.Context(), prefix+"d:k", epoch+strings.Repeat("x", 129), time.Minute)
		wantTier(t, c, "k", 7, readthrough.L3)
		if n := tel.count(telemetry.PayloadRejectedOversize); n != 1 {
			t.Errorf("counted %d times", n)
		}
		redistest.Eventually(t, 10*time.Second, "replacement", func() bool { return tel.count(telemetry.FillStored) == 1 })
		wantTier(t, c, "k", 7, readthrough.L2, readthrough.SkipL1())
	})
}

// A plain SET by somebody who knows nothing of epochs is not seen.
func TestAValueWithoutTheCurrentEpochIsNotSeen(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"k": 7})
		c := open(t, b.with(config{Loader: src}))
		ready(t, c)
		b.client.Set(t.Context(), prefix+"d:k", "666", 0)
		wantTier(t, c, "k", 7, readthrough.L3)
	})
}

func TestAValueTooLongForL2IsKeptInL1Only(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		tel := newRecorder()
		long := strings.Repeat("x", 2000)
		loads := 0
		c := open(t, readthrough.Config[string, string]{
			Name: "test", Redis: b.client, MaxWire: 1000, Telemetry: tel,
			Loader: readthrough.LoaderFunc[string, string](func(context.Context, string) (string, error) { loads++; return long, nil }),
		})
		ready(t, c)
		wantGet(t, c, "k", long)
		wantGet(t, c, "k", long)
		if loads != 1 {
			t.Errorf("%d loads", loads)
		}
		redistest.Eventually(t, 10*time.Second, "lease given back", func() bool {
			return tel.reported("encode") == 1 && tel.count(telemetry.PayloadRejectedOversize) == 1 && b.client.Exists(t.Context(), prefix+"l:k").Val() == 0
		})
		if b.client.Exists(t.Context(), prefix+"d:k").Val() != 0 {
			t.Error("it is in L2")
		}
	})
}

func TestRefreshLeavesInL2WhatItsValueIsTooLongToReplace(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		tel := newRecorder()
		var long atomic.Bool
		want := strings.Repeat("x", 2000)
		cfg := readthrough.Config[string, string]{
			Name: "test", Redis: b.client, MaxWire: 1000, Telemetry: tel,
			Loader: readthrough.LoaderFunc[string, string](func(context.Context, string) (string, error) {
				if long.Load() {
					return want, nil
				}
				return "short", nil
			}),
		}
		c, other := open(t, cfg), open(t, cfg)
		ready(t, c, other)
		wantGet(t, c, "k", "short")
		stored(t, b, "k")
		long.Store(true)
		if err := c.Refresh(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, 10*time.Second, "report of the fill", func() bool { return tel.reported("encode") == 1 })
		wantGet(t, other, "k", "short")
		if r, err := c.InvalidateAsync(t.Context(), "k"); err != nil || !r.Executed() {
			t.Fatal(err)
		}
		wantGet(t, other, "k", want, readthrough.SkipL1())
	})
}

// codec is JSON until it is told otherwise.
type codec struct {
	l2.Codec[int]
	append, decode func()
}

func (c codec) Append(dst []byte, v int) ([]byte, error) {
	if c.append != nil {
		c.append()
	}
	return c.Codec.Append(dst, v)
}

func (c codec) Decode(b []byte) (int, error) {
	if c.decode != nil {
		c.decode()
	}
	return c.Codec.Decode(b)
}

func TestACodecThatPanicsCostsAMiss(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src, tel := newSource(map[string]int{"a": 1, "b": 2}), newRecorder()
		writer := open(t, b.with(config{Loader: src}))
		ready(t, writer)
		wantMany(t, writer, []string{"a", "b"}, map[string]int{"a": 1, "b": 2})
		stored(t, b, "a")
		stored(t, b, "b")
		bad := func() { panic("codec") }
		c := open(t, b.with(config{Loader: batcher{src}, Codec: codec{l2.JSON[int](), bad, bad}, Telemetry: tel}))
		ready(t, c)
		wantGet(t, c, "a", 1)
		wantMany(t, c, []string{"a", "b"}, map[string]int{"a": 1, "b": 2})
		if n := tel.count(telemetry.PayloadRejectedCorrupt); n != 2 {
			t.Errorf("counted %d times, want 2", n)
		}
		redistest.Eventually(t, 10*time.Second, "reports", func() bool { return tel.reported("encode") == 2 })
		wantMany(t, c, []string{"a", "b"}, map[string]int{"a": 1, "b": 2})
	})
}

// It cannot be answered, but nobody hangs and nothing is held.
func TestACodecThatCallsGoexitHoldsNobody(t *testing.T) {
	onRedis(t, func(t *testing.T, b backend) {
		src := newSource(map[string]int{"a": 1, "b": 2})
		writer := open(t, b.with(config{Loader: src}))
		ready(t, writer)
		wantMany(t, writer, []string{"a", "b"}, map[string]int{"a": 1, "b": 2})
		stored(t, b, "a")
		stored(t, b, "b")
		c := open(t, b.with(config{Loader: batcher{src}, Codec: codec{l2.JSON[int](), nil, runtime.Goexit}, MaxLoads: 1}))
		ready(t, c)
		wantErr(t, c, "a", readthrough.ErrUnavailable)
		if many, err := c.GetMany(t.Context(), []string{"a", "b"}); len(many) != 0 || !errors.Is(err, readthrough.ErrUnavailable) {
			t.Errorf("GetMany = %v, %v", many, err)
		}
		wantGet(t, c, "a", 1, readthrough.Linearizable())
	})
}

func TestACostThatPanicsKeepsTheEntryOutOfL1(t *testing.T) {
	src, tel := newSource(map[string]int{"a": 1, "b": 2}), newRecorder()
	c := open(t, config{
		Name: "test", Loader: batcher{src}, Telemetry: tel, MaxLoads: 1,
		Cost: func(key string, _ int) int64 {
			if key == "a" {
				panic("cost")
			}
			return 1
		},
	})
	for range 3 {
		wantGet(t, c, "a", 1)
		wantMany(t, c, []string{"a", "b"}, map[string]int{"a": 1, "b": 2})
	}
	if _, ok := c.Peek("a"); ok {
		t.Error("it is in L1")
	}
	if tel.reported("cost") == 0 {
		t.Error("not reported")
	}
}

// There is no value to look at.
func TestAnAbsenceIsKeptInL1WhateverCostLooksAt(t *testing.T) {
	type document struct{ body string }
	loads := 0
	c := open(t, readthrough.Config[string, *document]{
		Name: "test", MaxCost: 1 << 20, Cost: func(_ string, d *document) int64 { return int64(len(d.body)) },
		Loader: readthrough.LoaderFunc[string, *document](func(context.Context, string) (*document, error) {
			loads++
			return nil, readthrough.ErrNotFound
		}),
	})
	for range 3 {
		if _, err := c.Get(t.Context(), "k"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if loads != 1 {
		t.Errorf("%d loads of an absence, want 1", loads)
	}
}

func TestACloneThatPanicsFailsItsCallerOnly(t *testing.T) {
	src := newSource(map[string]int{"a": 1, "b": 2})
	c := open(t, config{Name: "test", Loader: src, Clone: func(v int) int {
		if v == 1 {
			panic("clone")
		}
		return v + 100
	}})
	for range 2 { // a load, and a hit
		wantErr(t, c, "a", readthrough.ErrUnavailable)
		wantGet(t, c, "b", 102)
	}
	if _, err := c.GetEntry(t.Context(), "a"); !isPanic("clone")(err) {
		t.Errorf("GetEntry = %v", err)
	}
	if _, ok := c.Peek("a"); ok {
		t.Error("Peek answers")
	}
	many, err := c.GetMany(t.Context(), []string{"a", "b"})
	if many["b"] != 102 || len(many) != 1 || !isPanic("clone")(err) {
		t.Errorf("GetMany = %v, %v", many, err)
	}
}

func TestClonesAreNotShared(t *testing.T) {
	c := open(t, readthrough.Config[string, []int]{
		Name: "test", Clone: func(v []int) []int { return append([]int(nil), v...) },
		Loader: readthrough.LoaderFunc[string, []int](func(context.Context, string) ([]int, error) { return []int{1, 2, 3}, nil }),
	})
	for range 3 {
		v, err := c.Get(t.Context(), "k")
		if err != nil || v[0] != 1 {
			t.Fatalf("Get = %v, %v", v, err)
		}
		v[0] = 666
	}
}
