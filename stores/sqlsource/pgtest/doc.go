// Package pgtest starts a PostgreSQL for tests: a cluster of its own in a temporary directory, on a free port of the
// loopback interface, once per test binary. It never touches a server that is already there.
//
//	func TestStore(t *testing.T) {
//		db, err := postgres.Open(t.Context(), pgtest.NewDatabase(t)) // a fresh database, dropped after the test
//		…
//	}
//
// The programs are found by pg_config --bindir, or on the PATH. If they are missing the test is skipped, or fails if
// LAYERCACHE_REQUIRE_REAL=1. A test binary that runs as root runs them as the user postgres.
//
// NewServer is a cluster that a test may stop and start. What it has committed outlives that; the shared one's commits may
// not.
//
// A server keeps nothing through a crash of the machine (fsync is off), and ends with the test binary however that ends: a small
// shell holds a pipe to it, and when the pipe closes stops the server by its pid and removes the directory.
//
// Everything is safe for concurrent use.
package pgtest
