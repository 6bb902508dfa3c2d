package sqlsource_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/layercache/layercache/invalidation"
)

func TestUncommittedWritesAreInNoAnswer(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		before := d.put(t, "a", "one")
		tx, err := d.openDB(t, d.url).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.Exec("UPDATE layercache_policies SET document = 'two'"); err != nil {
			t.Fatal(err)
		}
		rec, _, err := d.table.Get(t.Context(), "a")
		if err != nil || string(rec.Document) != "one" || rec.AsOf != before {
			t.Fatalf("Get = %q as of %d, %v; want one as of %d", rec.Document, rec.AsOf, err, before)
		}
	})
}

func TestChangesPagesAreNeverCutInsideAVersion(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		for i := range 6 {
			d.exec(t, fmt.Sprintf("INSERT INTO layercache_policies (agent_id, document) VALUES ('a%d','1'),('b%d','2'),('c%d','3')", i, i, i))
		}
		whole := d.changes(t, 0, 0)
		if len(whole.Changes) != 18 {
			t.Fatalf("%d changes, want 18", len(whole.Changes))
		}
		for limit := 1; limit <= 19; limit++ {
			var all []invalidation.Change
			var after uint64
			for {
				page := d.changes(t, after, limit)
				if page.Head != whole.Head {
					t.Fatalf("Head = %d, want %d", page.Head, whole.Head)
				}
				if len(page.Changes) == 0 {
					break
				}
				if len(page.Changes) < min(limit, 18-len(all)) || len(page.Changes) > limit+2 {
					t.Fatalf("limit %d: a page of %d", limit, len(page.Changes))
				}
				after = page.Changes[len(page.Changes)-1].AsOf
				all = append(all, page.Changes...)
			}
			if !slices.Equal(all, whole.Changes) {
				t.Fatalf("limit %d: pages give %v, want %v", limit, all, whole.Changes)
			}
		}
	})
}

func TestChangesShowsARestoredBackup(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		asOf := d.put(t, "a", "one")
		for _, after := range []uint64{asOf + 5, math.MaxUint64} {
			if page := d.changes(t, after, 10); page.Head != asOf || len(page.Changes) != 0 {
				t.Fatalf("Changes(%d) = %+v, want an empty page with head %d", after, page, asOf)
			}
		}
	})
}

func TestRecordIsReadInTheSnapshotOfItsVersion(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		// The document is its own version, so that a record and a version of two snapshots would differ.
		db := d.openDB(t, d.url)
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('a', '1')")
		done := make(chan error, 1)
		go func() {
			for range 60 {
				if _, err := db.Exec("UPDATE layercache_policies SET document = CAST(CAST(document AS bigint) + 1 AS text)"); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for {
			rec, found, err := d.table.Get(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			many, asOf, err := d.table.GetMany(t.Context(), []string{"a"})
			if err != nil {
				t.Fatal(err)
			}
			if !found || string(rec.Document) != fmt.Sprint(rec.AsOf) {
				t.Fatalf("Get = %q as of %d", rec.Document, rec.AsOf)
			}
			if len(many) == 1 && string(many["a"]) != fmt.Sprint(asOf) {
				t.Fatalf("GetMany = %q as of %d", many["a"], asOf)
			}
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				return
			default:
			}
		}
	})
}
