package sqlsource

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
)

//go:embed migrations
var migrations embed.FS

// advisory is the key of the PostgreSQL lock under which the schema is migrated: "layercac" in ASCII.
const advisory = 0x6c61796572636163

// Migrate brings the schema of the database to what this version of the library needs, all of it or nothing. Any number
// of processes may call it at once: the others wait for the first and then find nothing to do. A schema from a newer
// version is left alone.
func (s *Source) Migrate(ctx context.Context) error {
	err := s.transact(ctx, "migrate", func(tx querier) error {
		if s.dialect == Postgres {
			if err := s.prepareMigration(ctx, tx); err != nil {
				return err
			}
		}
		return s.migrate(ctx, tx)
	})
	if err != nil {
		return named("migrate", err)
	}
	return nil
}

// prepareMigration makes other processes wait, and gives the functions that are made a search path to keep: only the
// schema that is being migrated, and temporary tables last.
func (s *Source) prepareMigration(ctx context.Context, tx querier) error {
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(advisory)); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)")
	return err
}

// migrate runs the migrations that the database has not seen, in the order of their names.
func (s *Source) migrate(ctx context.Context, tx querier) error {
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS layercache_migrations (name text PRIMARY KEY)"); err != nil {
		return err
	}
	dir := path.Join("migrations", s.dialect.String())
	files, err := fs.ReadDir(migrations, dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		var done bool
		seen := s.dialect.render("SELECT EXISTS (SELECT 1 FROM layercache_migrations WHERE name = $1)")
		if err := tx.QueryRowContext(ctx, seen, file.Name()).Scan(&done); err != nil {
			return err
		}
		if done {
			continue
		}
		script, err := fs.ReadFile(migrations, path.Join(dir, file.Name()))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(script)); err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
		if _, err := tx.ExecContext(ctx, s.dialect.render("INSERT INTO layercache_migrations (name) VALUES ($1)"), file.Name()); err != nil {
			return err
		}
	}
	return nil
}
