package sqlsource_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/sqlsource"
)

func Example() {
	dir, err := os.MkdirTemp("", "sqlsource")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	db, err := sqlite.Open(ctx, "sqlite://"+filepath.Join(dir, "authority.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	src, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: sqlsource.SQLite})
	if err != nil {
		log.Fatal(err)
	}
	if err := src.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	policies, err := src.Table(sqlsource.Policies, "")
	if err != nil {
		log.Fatal(err)
	}

	asOf, err := policies.Put(ctx, "a1", []byte(`{"version":1}`), "")
	fmt.Println("put, as of", asOf, err)

	rec, found, err := policies.Get(ctx, "a1")
	fmt.Println(string(rec.Document), rec.AsOf, found, err)

	rec, found, err = policies.Get(ctx, "a2")
	fmt.Println("absent as of", rec.AsOf, found, err)

	asOf, existed, err := policies.Delete(ctx, "a1", "")
	fmt.Println("deleted, as of", asOf, existed, err)

	page, err := policies.Changes(ctx, 0, 0)
	fmt.Println(page.Changes, "head", page.Head, err)
	// Output:
	// put, as of 1 <nil>
	// {"version":1} 1 true <nil>
	// absent as of 1 false <nil>
	// deleted, as of 2 true <nil>
	// [{a1 false 1} {a1 false 2}] head 2 <nil>
}
