package l1_test

import (
	"math/rand/v2"
	"testing"

	"github.com/layercache/layercache/l1"
)

func TestSampleFindsEveryEntry(t *testing.T) {
	c := newCache(t, l1.Config[int, int]{MaxEntries: 64})
	if _, ok := c.Sample(rand.Uint64()); ok {
		t.Fatal("an entry of an empty cache")
	}
	for i := range 8 {
		if !c.Put(c.Guard(uint64(i)), i, 10*i, 1<<62) {
			t.Fatalf("%d was not taken", i)
		}
	}
	seen := map[int]bool{}
	for range 10000 {
		e, ok := c.Sample(rand.Uint64())
		if !ok || e.Value != 10*e.Key {
			t.Fatalf("%v, %t", e, ok)
		}
		seen[e.Key] = true
	}
	if len(seen) != 8 {
		t.Fatalf("only %v", seen)
	}
}
