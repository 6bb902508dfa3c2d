package sqlsource

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// ErrNotMigrated says that the database lacks the schema, or the version row of the table: run Migrate.
var ErrNotMigrated = errors.New("sqlsource: the database is not migrated")

// ErrBadID says that an id cannot name a record: it is empty, longer than MaxID, not UTF-8 or holds a NUL byte.
var ErrBadID = errors.New("sqlsource: the id is empty, over 1024 bytes, not UTF-8, or holds a NUL byte")

// ErrBadDocument says that a document cannot be stored as text: it is not UTF-8 or holds a NUL byte.
var ErrBadDocument = errors.New("sqlsource: the document is not UTF-8 or holds a NUL byte")

// UnknownOutcomeError says that a write may or may not have been committed: the connection or the context ended before
// the database answered. The caller invalidates as if it had been, and reads to learn which. If it was committed, its
// outbox row is there and a relay delivers it.
type UnknownOutcomeError struct {
	// Op is what was tried, such as "put".
	Op string
	// Err is the cause.
	Err error
}

// Error names the operation and the cause, never an id or a document.
func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("sqlsource: %s: committed or not, unknown: %v", e.Op, e.Err)
}

// Unwrap is the cause.
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// sqlState is the five characters of a PostgreSQL error, of whichever driver, or "".
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// isBusy says that SQLite refused a lock that another connection holds.
func isBusy(err error) bool {
	var e interface{ Code() int }
	if !errors.As(err, &e) {
		return false
	}
	primary := e.Code() & 0xff
	return primary == 5 || primary == 6 // SQLITE_BUSY, SQLITE_LOCKED
}

// isRetryable says that the database rolled the statement back for another transaction's sake, or that nothing was
// sent: the same statement may be tried again.
func isRetryable(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return isBusy(err) || errors.Is(err, driver.ErrBadConn)
}

// isRefused says that the database itself answered that a statement failed, or that nothing was sent to it. Whatever is
// not known to be refused is of unknown outcome: a connection lost, a context that ended, a server that went away
// (classes 08 and 57P may come after the commit).
func isRefused(err error) bool {
	var unsent interface{ SafeToRetry() bool }
	if errors.As(err, &unsent) && unsent.SafeToRetry() {
		return true
	}
	if errors.Is(err, driver.ErrBadConn) {
		return true
	}
	state := sqlState(err)
	if len(state) != 5 || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return state[:2] != "08" && state[:3] != "57P" && state[:2] != "58" && state[:2] != "XX"
}

// named gives an error the operation's name, and turns a missing schema into ErrNotMigrated.
func named(op string, err error) error {
	state := sqlState(err)
	if state == "42P01" || state == "42883" || // undefined_table, undefined_function
		strings.Contains(err.Error(), "no such table: layercache_") {
		return fmt.Errorf("sqlsource: %s: %w: %w", op, ErrNotMigrated, err)
	}
	return fmt.Errorf("sqlsource: %s: %w", op, err)
}
