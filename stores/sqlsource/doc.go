// Package sqlsource keeps the authority in a SQL database: stored tables, a version for every change of them, and for each
// tenant a change log that names what changed, whoever changed it.
//
//	db, err := postgres.Open(ctx, url)                    // stores/driver/postgres
//	src, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: sqlsource.Postgres})
//	err = src.Migrate(ctx)
//	policies, err := src.Table(sqlsource.Policies, tenant)
//	rec, found, err := policies.Get(ctx, id)              // rec.AsOf also when not found
//	asOf, err := policies.Put(ctx, id, document, writer)  // then deliver it, and tell the relay
//	page, err := policies.Changes(ctx, lastSeen, 1000)    // the poll that does not trust the bus
//	relay, err := sqlsource.NewRelay(sqlsource.RelayConfig{Log: policies.Log(), Deliver: bus})
//	relay.Delivered(asOf, epoch)
//	defer relay.Close(ctx)
//
// # Tenants
//
// One database serves many tenants, and "" is one of them. A Table, a Log and a Relay are one tenant's: nothing that they
// read, write, deliver or trim is another's, whatever its ids, and a log that is trimmed is a gap for its own tenant alone.
// A program that writes by SQL names the tenant in the column tenant; without one it writes to tenant "". The rights of the
// database are not parted by tenant: that is up to its roles and policies.
//
// # Versions and the log
//
// A table has one version row, for all tenants. Triggers move it and write the outbox, for this library's writes and for
// those of psql, sqlite3 or any other program. Writers of a table queue on the version row, so versions are committed in
// their order: a snapshot that shows version n shows every change up to n. The versions of one tenant rise with gaps. A
// statement that changes more than 64 records of a tenant is logged as a change of all that the tenant has; TRUNCATE is, for
// every tenant that had a record.
//
// A read answers a record, or its absence, and the version from one statement and so from one snapshot, begun after the
// call. The database must be the primary.
//
// A table of columns, too, can join the log: migrations/postgres/0001_log.sql and its sibling for SQLite say how. Source.Log
// opens the log of any table that has.
//
// # The relay
//
// A Relay delivers outbox rows that their writer did not: a foreign program's at once, one of this library's when it is
// older than half the interval. A claim keeps several relays from delivering the same row; a delivery is at least once.
// A row is final when the epoch it was delivered in is still the current one after Settle, else it is sent again. Rows
// stay as the change log for Retain, and as long as they are not final.
//
// Each tenant needs a relay of its own; with a Listener it takes a connection of its own, but all of them no more than
// half of a bounded pool: the others poll. The rows of a tenant that no relay has looked after for Abandon, because its
// processes are gone or never were, are removed at that age by the relays of the table's other tenants, delivered or
// not: no cache holds anything as old, and a process that comes back and has polled before is told of the gap. Without
// any relay the log of a table grows.
//
// # Concurrency and failure
//
// Everything is safe for concurrent use. Every call ends when its context does. Nothing here is cached, and a failure is
// never reported as an absent record. A write whose commit is neither known to have happened nor known not to is an
// *UnknownOutcomeError.
//
// # What it refuses to do
//
// It imports no SQL driver: those of stores/driver register themselves. It reads from no replica. It has no write without
// a version. It cannot see a write while triggers are disabled or a backup is restored: run InvalidateAll then.
package sqlsource
