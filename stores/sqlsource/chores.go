package sqlsource

import (
	"context"
	"time"
)

const (
	choreSQL = `INSERT INTO layercache_chores (tbl, tenant, chore, due_ms) VALUES ({tbl}, $1, $2, {now} + $3)
ON CONFLICT (tbl, tenant, chore) DO UPDATE SET due_ms = excluded.due_ms WHERE layercache_chores.due_ms <= {now}`

	// The rows before the first that is young or not final.
	trimmableSQL = `SELECT coalesce(max(version), 0) FROM layercache_outbox WHERE tbl = {tbl} AND tenant = $1 AND version < coalesce(
	(SELECT version FROM layercache_outbox WHERE tbl = {tbl} AND tenant = $1 AND (NOT final OR created_ms > {now} - $2) ORDER BY version LIMIT 1),
	9223372036854775807)`

	trimmedSQL = `INSERT INTO layercache_trimmed (tbl, tenant, version) VALUES ({tbl}, $1, $2)
ON CONFLICT (tbl, tenant) DO UPDATE SET version = excluded.version WHERE layercache_trimmed.version < excluded.version`

	trimSQL = `DELETE FROM layercache_outbox WHERE tbl = {tbl} AND tenant = $1 AND version <= $2`

	// What is old of tenants whose own trimming is as long overdue, delivered or not.
	abandonedSQL = `SELECT o.tenant, max(o.version) FROM layercache_outbox o
WHERE o.tbl = {tbl} AND o.created_ms <= {now} - $1 AND NOT EXISTS (
	SELECT 1 FROM layercache_chores c WHERE c.tbl = {tbl} AND c.tenant = o.tenant AND c.chore = 'trim' AND c.due_ms > {now} - $1)
GROUP BY o.tenant`
)

// chore says whether this relay is the one to do a chore of the tenant, which is then due again after every.
func (o *outbox) chore(ctx context.Context, name string, every time.Duration) (bool, error) {
	return o.take(ctx, o.log.tenant, name, every)
}

func (o *outbox) take(ctx context.Context, tenant, name string, every time.Duration) (bool, error) {
	n, err := o.log.source.exec(ctx, o.sql.chore, tenant, name, every.Milliseconds())
	return n > 0, err
}

// trim removes final rows older than retain, from the lowest version on.
func (o *outbox) trim(ctx context.Context, retain time.Duration) error {
	s := o.log.source
	var upTo int64
	err := s.retry(ctx, func() error {
		return s.db.QueryRowContext(ctx, o.sql.trimmable, o.log.tenant, retain.Milliseconds()).Scan(&upTo)
	})
	if err != nil || upTo == 0 {
		return err
	}
	return o.cut(ctx, o.log.tenant, upTo)
}

// cut removes a tenant's rows up to a version and records that: whoever polled below it has missed changes.
func (o *outbox) cut(ctx context.Context, tenant string, upTo int64) error {
	return o.log.source.transact(ctx, "trim", func(tx querier) error {
		if _, err := tx.ExecContext(ctx, o.sql.trimmed, tenant, upTo); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, o.sql.trim, tenant, upTo)
		return err
	})
}

// sweep removes what is older than abandon of every tenant that no relay has looked after for as long. One that comes
// back meanwhile loses no more than that.
func (o *outbox) sweep(ctx context.Context, abandon time.Duration) error {
	var gone map[string]int64
	err := o.log.source.retry(ctx, func() (err error) {
		gone, err = o.abandoned(ctx, abandon)
		return err
	})
	if err != nil {
		return err
	}
	for tenant, upTo := range gone {
		if err := o.cut(ctx, tenant, upTo); err != nil {
			return err
		}
	}
	return nil
}

// abandoned answers the last old version of each tenant to sweep.
func (o *outbox) abandoned(ctx context.Context, abandon time.Duration) (map[string]int64, error) {
	rows, err := o.log.source.db.QueryContext(ctx, o.sql.abandoned, abandon.Milliseconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	gone := map[string]int64{}
	for rows.Next() {
		var tenant string
		var upTo int64
		if err := rows.Scan(&tenant, &upTo); err != nil {
			return nil, err
		}
		gone[tenant] = upTo
	}
	return gone, rows.Err()
}
