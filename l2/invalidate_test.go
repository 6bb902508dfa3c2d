package l2_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestInvalidationDeletesCountsAndTellsInOrder(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "value", 1)
		next := b.subscribe()
		for seq := uint64(1); seq <= 3; seq++ {
			done := b.invalidate(seq, "k", "other")
			if done.Position.Seq != seq || done.Degraded {
				b.t.Fatalf("%+v, want seq %d", done, seq)
			}
			m := next()
			want := []uint64{l2.Hash("k"), l2.Hash("other")}
			if m.Epoch != done.Position.Epoch || m.Seq != seq || m.All || m.AckRequest || !slices.Equal(m.Hashes, want) {
				b.t.Fatalf("message %+v", m)
			}
		}
		b.expect("k", l2.Leased)
	})
}

func TestInvalidationAsksForAcksWhenTold(t *testing.T) {
	each(t, func(b bundle) {
		next := b.subscribe()
		_, err := b.Invalidate(b.t.Context(), 0, l2.Invalidation{IDs: []l2.ID{b.id("k")}, WantAck: true})
		if err != nil {
			b.t.Fatal(err)
		}
		if m := next(); !m.AckRequest || m.NoInvalidation {
			b.t.Fatalf("message %+v", m)
		}
	})
}

func TestManyInvalidationsDeleteEachValueAndSayAll(t *testing.T) {
	each(t, func(b bundle) {
		const n = 2*500 + 65
		ids := make([]l2.ID, n)
		for i := range ids {
			ids[i] = b.id(fmt.Sprint("k", i))
		}
		for _, i := range []int{0, 499, 500, n - 1} {
			b.put(fmt.Sprint("k", i), "value", 1)
		}
		next := b.subscribe()
		done, err := b.Invalidate(b.t.Context(), 0, l2.Invalidation{IDs: ids, AsOf: 2, WantAck: true})
		if err != nil || done.Position.Seq != 3 {
			b.t.Fatalf("%+v, %v, want seq 3", done, err)
		}
		for seq := uint64(1); seq <= 3; seq++ {
			if m := next(); m.Seq != seq || !m.All || len(m.Hashes) != 0 || m.AckRequest != (seq == 3) {
				b.t.Fatalf("message %+v, want seq %d of 3", m, seq)
			}
		}
		for _, i := range []int{0, 499, 500, n - 1} {
			if r, _ := b.expect(fmt.Sprint("k", i), l2.Leased); r.Fence != 2 {
				b.t.Fatalf("k%d: fence %d, want 2", i, r.Fence)
			}
		}
	})
}

func TestSixtyFourIDsAreNamedAndOneMoreIsAll(t *testing.T) {
	each(t, func(b bundle) {
		next := b.subscribe()
		for _, n := range []int{64, 65} {
			var raws []string
			for i := range n {
				raws = append(raws, fmt.Sprint(i))
			}
			b.invalidate(1, raws...)
			if m := next(); m.All != (n > 64) || !m.All && len(m.Hashes) != n {
				b.t.Fatalf("%d ids: %+v", n, m)
			}
		}
	})
}

func TestInvalidationOfALostStateCountsInTheNewEpoch(t *testing.T) {
	each(t, func(b bundle) {
		first := b.invalidate(1, "k").Position
		b.del("s")
		second := b.invalidate(2, "k").Position
		if second.Epoch == first.Epoch || second.Seq != 1 {
			b.t.Fatalf("%v after %v, want seq 1 of a new epoch", second, first)
		}
	})
}

func TestInvalidationRefusesIDsOfAnotherPartition(t *testing.T) {
	_, client := redistest.Mini(t)
	s := newStore(t, client, func(c *l2.Config) { c.Partitions = 4 })
	id := newID(t, "k")
	for part := range 4 {
		_, err := s.Invalidate(t.Context(), part, l2.Invalidation{IDs: []l2.ID{id}})
		if ok := part == s.Partition(id.Hash()); ok != (err == nil) {
			t.Errorf("partition %d: %v", part, err)
		}
	}
	for name, inv := range map[string]l2.Invalidation{"none": {}, "the zero ID": {IDs: []l2.ID{{}}}} {
		if _, err := s.Invalidate(t.Context(), 0, inv); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	if _, err := s.Invalidate(t.Context(), 4, l2.Invalidation{IDs: []l2.ID{id}}); err == nil {
		t.Error("partition 4 of 4: want an error")
	}
}

func TestDiscardDeletesOnlyWhatWasRead(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "garbage", 1)
		hit, _ := b.expect("k", l2.Hit)
		for _, other := range []string{"", "garbagE"} {
			if err := b.Discard(b.t.Context(), l2.Unreadable{ID: b.id("k"), Epoch: hit.Position.Epoch, Envelope: []byte(other)}); err != nil {
				b.t.Fatal(err)
			}
			b.expect("k", l2.Hit)
		}
		if err := b.Discard(b.t.Context(), l2.Unreadable{ID: b.id("k"), Epoch: hit.Position.Epoch, Envelope: hit.Envelope}); err != nil {
			b.t.Fatal(err)
		}
		b.expect("k", l2.Leased)
	})
}
