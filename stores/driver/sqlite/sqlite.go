// Package sqlite links SQLite (modernc.org/sqlite, no cgo) as an authority. Import it for its effect and open it by URL,
// or call Open:
//
//	import _ "github.com/layercache/layercache/stores/driver/sqlite"
//
//	db, err := sqlite.Open(ctx, "sqlite:/var/lib/agents/policies.db")
//
// The file is put in WAL mode, so that readers never wait for a writer, and every commit reaches the disk before it
// returns. A lock is waited for at most 20 ms in SQLite itself; sqlsource goes on trying until its context ends. There
// is no notification: relays poll. The pool is the caller's to close and safe for concurrent use.
//
// It refuses in-memory databases, which each connection would have of its own, and URLs with a host.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/layercache/layercache/stores/sqlsource"
)

func init() {
	sqlsource.RegisterDriver([]string{"sqlite", "file"}, sqlsource.Driver{Dialect: sqlsource.SQLite, Open: Open})
}

// Open opens the database file of a URL and creates it if need be: sqlite:relative/path, sqlite:///absolute/path, or the
// same with file:. A '%' or '?' of the path is percent-encoded. Of the parameters only mode (ro, rw, rwc) is taken. Errors
// do not repeat the URL.
func Open(ctx context.Context, rawURL string) (*sql.DB, error) {
	dsn, path, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return nil, errors.New("driver/sqlite: the directory of the database file does not exist")
	}
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, errors.New("driver/sqlite: the URL cannot be used")
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(4)
	if err := ping(ctx, db); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("driver/sqlite: open: %w", err)
	}
	return db, nil
}

// ping opens the first connection. Two processes that put a new file in WAL mode at once can make each other busy
// without SQLite waiting, so that is tried again.
func ping(ctx context.Context, db *sql.DB) error {
	for {
		err := db.PingContext(ctx)
		var failed *sqlite.Error
		if !errors.As(err, &failed) || failed.Code()&0xff != 5 { // SQLITE_BUSY
			return err
		}
		pause := time.NewTimer(5 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// parse turns a URL into modernc's name for the database and the path of its file.
func parse(rawURL string) (dsn, path string, err error) {
	scheme, rest, _ := strings.Cut(rawURL, ":")
	if s := strings.ToLower(scheme); s != "sqlite" && s != "file" {
		return "", "", errors.New("driver/sqlite: the URL must have the scheme sqlite or file")
	}
	if host, ok := strings.CutPrefix(rest, "//"); ok {
		if !strings.HasPrefix(host, "/") {
			return "", "", errors.New("driver/sqlite: a URL with // must go on with an absolute path, such as sqlite:///var/lib/x.db")
		}
		rest = host
	}
	rest, query, _ := strings.Cut(rest, "?")
	path, err = url.PathUnescape(rest)
	if err != nil {
		return "", "", errors.New("driver/sqlite: the path is not percent-encoded as a URL")
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		return "", "", errors.New("driver/sqlite: the parameters are not percent-encoded as a URL")
	}
	mode := params.Get("mode")
	params.Del("mode")
	switch {
	case path == ":memory:" || mode == "memory":
		return "", "", errors.New("driver/sqlite: an in-memory database is not shared by connections; use a file, or the memory driver")
	case path == "" || strings.ContainsRune(path, 0):
		return "", "", errors.New("driver/sqlite: the URL names no file")
	case len(params) > 0:
		return "", "", errors.New("driver/sqlite: the only parameter is mode")
	case mode != "" && mode != "ro" && mode != "rw" && mode != "rwc":
		return "", "", errors.New("driver/sqlite: mode must be ro, rw or rwc")
	}
	if strings.HasPrefix(path, "//") {
		path = "/" + strings.TrimLeft(path, "/") // as some write it; to SQLite a host would come behind two
	}
	options := url.Values{"_pragma": {"busy_timeout(20)", "synchronous(FULL)"}, "_txlock": {"immediate"}, "_error_rc": {"1"}}
	if mode != "" {
		options.Set("mode", mode)
	}
	if mode != "ro" {
		options.Add("_pragma", "journal_mode(WAL)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options.Encode(), path, nil
}
