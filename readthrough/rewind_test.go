package readthrough_test

import (
	"context"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// backup is an authority of one record whose versions can be set back.
type backup struct {
	version chan uint64 // of one slot
}

func (b *backup) at() uint64 { v := <-b.version; b.version <- v; return v }

func (b *backup) set(v uint64) { <-b.version; b.version <- v }

func (b *backup) Load(context.Context, string) (readthrough.Loaded[int], error) {
	v := b.at()
	return readthrough.Loaded[int]{Value: int(v), AsOf: v}, nil
}

func (b *backup) Changes(_ context.Context, after uint64, _ int) (invalidation.Page, error) {
	page := invalidation.Page{Head: b.at()}
	if page.Head > after {
		page.Changes = []invalidation.Change{{All: true, AsOf: page.Head}}
	}
	return page, nil
}

func TestARestoredBackupIsReadOnceItWasNoticed(t *testing.T) {
	authority := &backup{version: make(chan uint64, 1)}
	authority.version <- 100
	c, err := readthrough.New(readthrough.Config[string, int]{
		Name: "backup", Loader: authority, Log: authority, Sole: true, Bound: 40 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if v, err := c.Get(t.Context(), "k"); v != 100 || err != nil {
		t.Fatal(v, err)
	}
	redistest.Eventually(t, 5*time.Second, "the poll raises everything to 100", func() bool {
		return c.Health().Err == nil && c.Health().Lease > 0
	})
	authority.set(50)
	redistest.Eventually(t, 5*time.Second, "the backup is read", func() bool {
		v, err := c.Get(t.Context(), "k", readthrough.SkipL1())
		return v == 50 && err == nil
	})
}
