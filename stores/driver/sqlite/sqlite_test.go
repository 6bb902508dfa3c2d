package sqlite_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/stores/driver/sqlite"
	"github.com/layercache/layercache/stores/sqlsource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestImportRegistersTheDriver(t *testing.T) {
	for _, url := range []string{"sqlite:x.db", "file:x.db", "SQLite:///x.db"} {
		d, err := sqlsource.Lookup(url)
		if err != nil || d.Dialect != sqlsource.SQLite || d.Open == nil || d.Listen != nil {
			t.Errorf("Lookup(%q) = %+v, %v", url, d, err)
		}
	}
}

func TestOpenCreatesTheNamedFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for url, path := range map[string]string{
		"sqlite:relative.db":                         "relative.db",
		"file:other.db":                              "other.db",
		"sqlite://" + dir + "/absolute.db":           "absolute.db",
		"sqlite:///" + dir + "/four.db":              "four.db",
		"file:" + dir + "/odd%20%3F%23%25.db":        "odd ?#%.db",
		"sqlite:" + dir + "/mode.db?mode=rwc":        "mode.db",
		"SQLITE:" + dir + "/sub/../upper.db":         "upper.db",
		"sqlite:" + dir + "/user:secret@h.db?mode=":  "user:secret@h.db",
		"sqlite://" + dir + "/plus+%2B.db?mode=rwc":  "plus++.db",
		"sqlite://" + dir + "/caf%C3%A9.db?mode=rwc": "café.db",
	} {
		if strings.Contains(url, "sub/") {
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		db, err := sqlite.Open(t.Context(), url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		db.Close()
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestOpenSetsWALAndFullSync(t *testing.T) {
	db, err := sqlite.Open(t.Context(), "sqlite://"+t.TempDir()+"/x.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "20"} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", pragma, got, err, want)
		}
	}
}

func TestOpenRefusesWhatItCannotHonour(t *testing.T) {
	dir := t.TempDir()
	for url, reason := range map[string]string{
		"sqlite::memory:":      "in-memory",
		"sqlite:x?mode=memory": "in-memory",
		"sqlite:":              "no file",
		"sqlite://host/x.db":   "absolute path",
		"sqlite:" + dir + "/x?_pragma=foreign_keys(1)":   "only parameter",
		"sqlite:" + dir + "/x?mode=banana":               "mode must be",
		"sqlite:" + dir + "/missing/x.db":                "directory",
		"sqlite:" + dir + "/bad%zz":                      "percent-encoded",
		"sqlite:" + dir + "/x?a=%zz":                     "percent-encoded",
		"sqlite://" + dir + "/never-created.db?mode=ro":  "open",
		"postgres://u:secret@h/d":                        "must have the scheme",
		"sqlite:" + dir + "/x?mode=rwc&vfs=secret-plans": "only parameter",
	} {
		db, err := sqlite.Open(t.Context(), url)
		if err == nil {
			db.Close()
			t.Errorf("%s: opened", url)
			continue
		}
		if !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q and nothing of the URL", url, err, reason)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sqlite.Open(ctx, "sqlite://"+t.TempDir()+"/x.db"); err == nil {
		t.Fatal("Open succeeded with a cancelled context")
	}
}
