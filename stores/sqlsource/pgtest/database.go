package pgtest

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var databases atomic.Int64 // numbers the databases of this binary

// NewDatabase makes a fresh empty database and answers its URL. It is dropped, and its connections are cut, when the
// test ends.
func NewDatabase(tb testing.TB) (url string) {
	tb.Helper()
	maintenance := Start(tb)
	name := fmt.Sprintf("test%d", databases.Add(1))
	Exec(tb, maintenance, "CREATE DATABASE "+name)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if out, err := psql(ctx, maintenance, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("pgtest: drop database: %v: %s", err, out)
		}
	})
	return strings.Replace(maintenance, "/postgres?", "/"+name+"?", 1)
}

// Exec runs SQL through psql, a program that knows nothing of this library, and answers what it printed: rows without
// alignment or headers. An error fails the test.
func Exec(tb testing.TB, url, sql string) string {
	tb.Helper()
	out, err := psql(tb.Context(), url, sql)
	if err != nil {
		tb.Fatalf("pgtest: psql: %v: %s", err, out)
	}
	return out
}

func psql(ctx context.Context, url, sql string) (string, error) {
	bindir, err := programs()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bindir, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql)
	out, err := cmd.CombinedOutput()
	return string(bytes.TrimSpace(out)), err
}
