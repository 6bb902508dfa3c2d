package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "github.com/layercache/layercache/stores/driver/postgres" // links postgres://
	_ "github.com/layercache/layercache/stores/driver/sqlite"   // links sqlite:
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource"
)

// embedSQLite makes a directory for a database that goes with it.
func embedSQLite(u *undo) (databaseURL string, err error) {
	dir, err := os.MkdirTemp("", "layercache-quickstart-")
	if err != nil {
		return "", fmt.Errorf("a directory for SQLite: %w", err)
	}
	u.add(func(context.Context) error { return os.RemoveAll(dir) })
	path := filepath.ToSlash(filepath.Join(dir, "policies.db"))
	return "sqlite:" + (&url.URL{Path: path}).EscapedPath(), nil
}

// borrowDatabase prepares a database that is not ours and answers the URL to use it by. In PostgreSQL that leads into a
// schema of the run's own.
func borrowDatabase(ctx context.Context, u *undo, given, name string) (databaseURL string, err error) {
	driver, err := sqlsource.Lookup(given)
	if err != nil {
		return "", fmt.Errorf("DATABASE_URL: %w", err)
	}
	if driver.Dialect != sqlsource.Postgres {
		return given, nil
	}
	address, rest, _ := strings.Cut(given, "?")
	databaseURL = address + "?search_path=" + name + "&" + rest // the first of two search_paths counts
	db, err := driver.Open(ctx, databaseURL)
	if err != nil {
		return "", fmt.Errorf("DATABASE_URL: %w", err)
	}
	u.add(func(context.Context) error { return db.Close() })
	if _, err := db.ExecContext(ctx, "CREATE SCHEMA "+name); err != nil {
		return "", fmt.Errorf("DATABASE_URL: a schema for this run: %w", err)
	}
	u.add(func(ctx context.Context) error {
		if _, err := db.ExecContext(ctx, "DROP SCHEMA "+name+" CASCADE"); err != nil {
			return fmt.Errorf("dropping the run's schema from DATABASE_URL: %w", err)
		}
		return nil
	})
	var current string
	if err := db.QueryRowContext(ctx, "SELECT current_schema()").Scan(&current); err != nil {
		return "", fmt.Errorf("DATABASE_URL: %w", err)
	}
	if current != name {
		return "", errors.New("DATABASE_URL: the server does not let its schema be chosen (search_path)")
	}
	return databaseURL, nil
}

// forget deletes the policies of a run from a database that is not ours and has no schemas. It needs the library's
// tables to be there.
func forget(ctx context.Context, databaseURL string, ids []policy.AgentID) error {
	driver, err := sqlsource.Lookup(databaseURL)
	if err != nil {
		return err
	}
	db, err := driver.Open(ctx, databaseURL)
	if err != nil {
		return err
	}
	return errors.Join(deletePolicies(ctx, db, ids), db.Close())
}

func deletePolicies(ctx context.Context, db *sql.DB, ids []policy.AgentID) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("deleting the run's policies from DATABASE_URL: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // an error after a commit
	for some := range slices.Chunk(ids, 500) {
		args := make([]any, len(some))
		for i, id := range some {
			args[i] = id.String()
		}
		marks := strings.TrimSuffix(strings.Repeat("?,", len(some)), ",")
		if _, err := tx.ExecContext(ctx, "DELETE FROM layercache_policies WHERE agent_id IN ("+marks+")", args...); err != nil {
			return fmt.Errorf("deleting the run's policies from DATABASE_URL: %w", err)
		}
	}
	return tx.Commit()
}
