package sqlsource

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/layercache/layercache/telemetry"
)

// Config is what a Source is made of.
type Config struct {
	// DB is the primary's pool. The Source uses it and never closes it. For SQLite, open it with a busy_timeout of some
	// 20 ms (driver/sqlite does): SQLite waits that long for a lock whatever the context says, and asks ever more rarely
	// meanwhile. The Source goes on trying until its context ends.
	DB *sql.DB
	// Dialect is the SQL that DB speaks.
	Dialect Dialect
	// Telemetry is told of what relays do. Default: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

// Source is an authority in a SQL database. It is safe for concurrent use.
type Source struct {
	db        *sql.DB
	dialect   Dialect
	telemetry telemetry.Telemetry

	// writing lets one writer of this process at a time at SQLite, which has one writer anyway: waiting here ends with
	// the context and is fair, waiting in SQLite's busy handler is neither. It is nil for other databases.
	writing chan struct{}
}

// New makes a Source. It does no I/O.
func New(cfg Config) (*Source, error) {
	if cfg.DB == nil {
		return nil, errors.New("sqlsource: Config.DB is nil")
	}
	if cfg.Dialect != SQLite && cfg.Dialect != Postgres {
		return nil, fmt.Errorf("sqlsource: Config.Dialect must be SQLite or Postgres, got %d", cfg.Dialect)
	}
	s := &Source{db: cfg.DB, dialect: cfg.Dialect, telemetry: cfg.Telemetry}
	if s.telemetry == nil {
		s.telemetry = telemetry.Nop
	}
	if cfg.Dialect == SQLite {
		s.writing = make(chan struct{}, 1)
	}
	return s, nil
}

// Dialect is the SQL that the Source speaks.
func (s *Source) Dialect() Dialect { return s.dialect }

// retry runs do until it succeeds, fails for a reason that trying again does not mend, or ctx ends. A busy, serialization
// or deadlock failure comes only when somebody else went ahead, so there is no limit of tries but the context's.
func (s *Source) retry(ctx context.Context, do func() error) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 64*time.Millisecond) {
		err := do()
		if err == nil || !isRetryable(err) || errors.Is(err, driver.ErrBadConn) && wait > 4*time.Millisecond {
			return err
		}
		if isBusy(err) { // nobody queues for SQLite's lock: who asks more rarely than the others starves
			wait = 2 * time.Millisecond
		}
		pause := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("%w, while %w", ctx.Err(), err)
		}
	}
}

// writeSlot runs one statement that writes, with retries; at SQLite, as this process's only writer.
func (s *Source) writeSlot(ctx context.Context, do func() error) error {
	if s.writing != nil {
		select {
		case s.writing <- struct{}{}:
			defer func() { <-s.writing }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.retry(ctx, do)
}

// exec runs a statement that writes and says how many rows it touched.
func (s *Source) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.writeSlot(ctx, func() error {
		result, err := s.db.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}

// querier is what a *sql.Conn and a *sql.Tx have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// transact runs do in a transaction that can be run again.
func (s *Source) transact(ctx context.Context, op string, do func(querier) error) error {
	if s.dialect == SQLite {
		return s.immediate(ctx, op, func(conn *sql.Conn) error { return do(conn) })
	}
	return s.retry(ctx, func() error {
		// READ COMMITTED: what waits for a lock goes on with what it then finds.
		tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing after Commit
		if err := do(tx); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// immediate runs do in a SQLite transaction that holds the write lock from its start, so that what it reads is what it
// changes. The error is of unknown outcome only if SQLite no longer knew the transaction after a failed commit.
func (s *Source) immediate(ctx context.Context, op string, do func(*sql.Conn) error) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	begin := func() error { _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); return err }
	if err := s.retry(ctx, begin); err != nil {
		s.rollback(ctx, conn) // a context that ended may hide that BEGIN succeeded
		return err
	}
	if err := do(conn); err != nil {
		s.rollback(ctx, conn)
		return err
	}
	commit := func() error { _, err := conn.ExecContext(ctx, "COMMIT"); return err }
	if err := s.retry(ctx, commit); err != nil {
		if !s.rollback(ctx, conn) {
			return &UnknownOutcomeError{Op: op, Err: err}
		}
		return err
	}
	return nil
}

// rollback ends the transaction of conn and says whether there was one to end. A connection that cannot be cleaned is
// not given back to the pool.
func (s *Source) rollback(ctx context.Context, conn *sql.Conn) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, err := conn.ExecContext(ctx, "ROLLBACK")
	if err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	return err == nil
}
