package sqlsource_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/layercache/layercache/stores/sqlsource"
)

func TestGetAnswersRecordAndVersion(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		asOf := d.put(t, "a", "one")
		rec, found, err := d.table.Get(t.Context(), "a")
		if err != nil || !found || string(rec.Document) != "one" || rec.AsOf != asOf {
			t.Fatalf("Get = %q, as of %d, %v, %v; want one, as of %d", rec.Document, rec.AsOf, found, err, asOf)
		}
	})
}

func TestGetAnswersAbsenceWithVersion(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		asOf := d.put(t, "a", "one")
		rec, found, err := d.table.Get(t.Context(), "b")
		if err != nil || found || rec.Document != nil || rec.AsOf != asOf {
			t.Fatalf("Get = %q, as of %d, %v, %v; want absence as of %d", rec.Document, rec.AsOf, found, err, asOf)
		}
	})
}

func TestGetManyAnswersPresentOnesOnly(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.put(t, `a"\'{}`, "one")
		asOf := d.put(t, "ü$1", "two")
		found, at, err := d.table.GetMany(t.Context(), []string{`a"\'{}`, "ü$1", "ü$1", "missing"})
		if err != nil || at != asOf || len(found) != 2 || string(found[`a"\'{}`]) != "one" || string(found["ü$1"]) != "two" {
			t.Fatalf("GetMany = %q, as of %d, %v; want two records as of %d", found, at, err, asOf)
		}
		found, at, err = d.table.GetMany(t.Context(), nil)
		if err != nil || at != asOf || len(found) != 0 {
			t.Fatalf("GetMany of nothing = %v, %d, %v; want none as of %d", found, at, err, asOf)
		}
	})
}

func TestEmptyDocumentIsNotAbsence(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.put(t, "a", "")
		rec, found, err := d.table.Get(t.Context(), "a")
		if err != nil || !found || len(rec.Document) != 0 {
			t.Fatalf("Get = %q, %v, %v; want an empty document", rec.Document, found, err)
		}
	})
}

func TestDeleteSaysWhetherThereWasARecord(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		before := d.put(t, "a", "one")
		asOf, existed, err := d.table.Delete(t.Context(), "a", "w")
		if err != nil || !existed || asOf <= before {
			t.Fatalf("Delete = %d, %v, %v; want a version above %d and true", asOf, existed, err, before)
		}
		again, existed, err := d.table.Delete(t.Context(), "a", "w")
		if err != nil || existed || again < asOf {
			t.Fatalf("second Delete = %d, %v, %v; want false at %d or above", again, existed, err, asOf)
		}
		if _, found, err := d.table.Get(t.Context(), "a"); err != nil || found {
			t.Fatalf("Get after Delete = %v, %v; want absence", found, err)
		}
		if head := d.head(t); head != again {
			t.Fatalf("Head = %d, want the version that Delete answered, %d", head, again)
		}
	})
}

func TestPutReplacesAndMovesTheVersion(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		first := d.put(t, "a", "one")
		second := d.put(t, "a", "two")
		rec, _, err := d.table.Get(t.Context(), "a")
		if err != nil || second <= first || rec.AsOf != second || string(rec.Document) != "two" {
			t.Fatalf("Get = %q as of %d, %v; want two as of %d, above %d", rec.Document, rec.AsOf, err, second, first)
		}
	})
}

func TestBadIDsAndDocumentsAreRefusedBeforeTheDatabase(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		for _, id := range []string{"", strings.Repeat("x", sqlsource.MaxID+1), "a\x00b", "\xff"} {
			_, _, getErr := d.table.Get(t.Context(), id)
			_, _, manyErr := d.table.GetMany(t.Context(), []string{"a", id})
			_, putErr := d.table.Put(t.Context(), id, []byte("{}"), "")
			_, _, deleteErr := d.table.Delete(t.Context(), id, "")
			_, _, importErr := d.table.Import(t.Context(), maps.All(map[string][]byte{id: nil}))
			for _, err := range []error{getErr, manyErr, putErr, deleteErr, importErr} {
				if !errors.Is(err, sqlsource.ErrBadID) {
					t.Fatalf("id of %d bytes: %v, want ErrBadID", len(id), err)
				}
			}
		}
		for _, document := range []string{"a\x00b", "\xff"} {
			if _, err := d.table.Put(t.Context(), "a", []byte(document), ""); !errors.Is(err, sqlsource.ErrBadDocument) {
				t.Fatalf("Put: %v, want ErrBadDocument", err)
			}
		}
		if head := d.head(t); head != 0 {
			t.Fatalf("Head = %d after refused calls, want 0", head)
		}
		d.put(t, strings.Repeat("é", sqlsource.MaxID/2), "{}")
	})
}

func TestUnmigratedDatabaseSaysSo(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		table := d.unmigrated(t)
		_, _, getErr := table.Get(t.Context(), "a")
		_, _, manyErr := table.GetMany(t.Context(), []string{"a"})
		_, putErr := table.Put(t.Context(), "a", nil, "")
		_, logErr := table.Changes(t.Context(), 0, 0)
		_, headErr := table.Head(t.Context())
		for _, err := range []error{getErr, manyErr, putErr, logErr, headErr} {
			if !errors.Is(err, sqlsource.ErrNotMigrated) {
				t.Errorf("%v, want ErrNotMigrated", err)
			}
		}
	})
}

func TestMissingVersionRowFailsWritesAndReads(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.exec(t, "DELETE FROM layercache_versions")
		if _, err := d.table.Put(t.Context(), "a", nil, ""); err == nil {
			t.Error("Put without a version row succeeded")
		}
		if _, _, err := d.table.Get(t.Context(), "a"); !errors.Is(err, sqlsource.ErrNotMigrated) {
			t.Errorf("Get without a version row: %v, want ErrNotMigrated", err)
		}
	})
}

func TestImportStoresAllAndCountsAsWhole(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		before := d.put(t, "id-7", "old")
		n, asOf, err := d.table.Import(t.Context(), func(yield func(string, []byte) bool) {
			for i := range 1200 {
				if !yield(fmt.Sprintf("id-%d", i), fmt.Appendf(nil, `{"n":%d,"s":"\u0000"}`, i)) {
					return
				}
			}
		})
		if err != nil || n != 1200 || asOf != d.head(t) {
			t.Fatalf("Import = %d, %d, %v; want 1200 as of %d", n, asOf, err, d.head(t))
		}
		for _, i := range []int{0, 7, 499, 500, 1199} {
			rec, _, err := d.table.Get(t.Context(), fmt.Sprintf("id-%d", i))
			if want := fmt.Sprintf(`{"n":%d,"s":"\u0000"}`, i); err != nil || string(rec.Document) != want {
				t.Fatalf("Get = %q, %v; want %s", rec.Document, err, want)
			}
		}
		page := d.changes(t, before, 0)
		if last := page.Changes[len(page.Changes)-1]; !last.All || last.AsOf != asOf {
			t.Fatalf("last change is %+v, want the whole table as of %d", last, asOf)
		}
		if len(page.Changes) > 10 {
			t.Fatalf("%d changes logged for three batches", len(page.Changes))
		}
	})
}

func TestConcurrentWritersCommitInVersionOrder(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		const writers, writes = 32, 6
		stop := make(chan struct{})
		var polling, writing sync.WaitGroup
		seen := map[uint64]string{}
		polling.Go(func() { // a reader that only asks above what it has seen, and must not miss a version
			var after uint64
			for last := false; ; {
				page, err := d.table.Changes(context.WithoutCancel(t.Context()), after, 0)
				if err != nil {
					t.Errorf("Changes: %v", err)
					return
				}
				for _, c := range page.Changes {
					seen[c.AsOf] = c.ID
				}
				after = page.Head
				if last {
					return
				}
				select {
				case <-stop:
					last = true
				default:
				}
			}
		})
		var mu sync.Mutex
		wrote := map[uint64]string{}
		for w := range writers {
			writing.Go(func() {
				for i := range writes {
					id := fmt.Sprintf("id-%d", (w*7+i)%11)
					asOf, err := d.table.Put(t.Context(), id, fmt.Appendf(nil, "%d-%d", w, i), "w")
					if err != nil {
						t.Errorf("Put: %v", err)
						return
					}
					mu.Lock()
					wrote[asOf] = id
					mu.Unlock()
				}
			})
		}
		writing.Wait()
		close(stop)
		polling.Wait()
		if len(wrote) != writers*writes {
			t.Errorf("%d distinct versions for %d writes", len(wrote), writers*writes)
		}
		if !maps.Equal(seen, wrote) {
			t.Errorf("the reader saw %d changes, %d were written; or ids differ", len(seen), len(wrote))
		}
	})
}
