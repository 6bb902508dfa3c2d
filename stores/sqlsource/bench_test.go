package sqlsource_test

import (
	"fmt"
	"strings"
	"testing"
)

// eachBench runs a benchmark over every database, with 1,000 records of 1 KiB.
func eachBench(b *testing.B, bench func(b *testing.B, d *database)) {
	b.Helper()
	run := func(b *testing.B, d *database) {
		b.Helper()
		_, _, err := d.table.Import(b.Context(), func(yield func(string, []byte) bool) {
			for i := range 1000 {
				if !yield(fmt.Sprintf("%032x", i), []byte(strings.Repeat("x", 1024))) {
					return
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		bench(b, d)
	}
	b.Run("sqlite", func(b *testing.B) { run(b, newSQLite(b)) })
	b.Run("postgres", func(b *testing.B) { run(b, newPostgres(b)) })
}

// What does a load cost that L1 and L2 could not answer?
func BenchmarkGet(b *testing.B) {
	eachBench(b, func(b *testing.B, d *database) {
		b.Helper()
		for i := 0; b.Loop(); i++ {
			if _, found, err := d.table.Get(b.Context(), fmt.Sprintf("%032x", i%1000)); err != nil || !found {
				b.Fatal(found, err)
			}
		}
	})
}

// And the load of an absence?
func BenchmarkGetAbsent(b *testing.B) {
	eachBench(b, func(b *testing.B, d *database) {
		b.Helper()
		for b.Loop() {
			if _, found, err := d.table.Get(b.Context(), "absent"); err != nil || found {
				b.Fatal(found, err)
			}
		}
	})
}

// What do 100 keys cost in one batch?
func BenchmarkGetMany100(b *testing.B) {
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("%032x", i*7)
	}
	eachBench(b, func(b *testing.B, d *database) {
		b.Helper()
		for b.Loop() {
			if found, _, err := d.table.GetMany(b.Context(), ids); err != nil || len(found) != 100 {
				b.Fatal(len(found), err)
			}
		}
	})
}

// What does a write cost, with its version and its outbox row?
func BenchmarkPut(b *testing.B) {
	document := []byte(strings.Repeat("x", 1024))
	eachBench(b, func(b *testing.B, d *database) {
		b.Helper()
		for i := 0; b.Loop(); i++ {
			if _, err := d.table.Put(b.Context(), fmt.Sprintf("%032x", i%1000), document, "w"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// And when eight writers want the version row at once?
func BenchmarkPutParallel(b *testing.B) {
	document := []byte(strings.Repeat("x", 1024))
	eachBench(b, func(b *testing.B, d *database) {
		b.Helper()
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := d.table.Put(b.Context(), fmt.Sprintf("%032x", i%1000), document, "w"); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// What does a poll cost that finds nothing, which is what nearly every poll finds?
func BenchmarkChangesNothing(b *testing.B) {
	eachBench(b, func(b *testing.B, d *database) {
		b.Helper()
		head, err := d.table.Head(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			page, err := d.table.Changes(b.Context(), head, 1000)
			if err != nil || len(page.Changes) != 0 {
				b.Fatal(page, err)
			}
		}
	})
}
