package sqlsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// outbox is the outbox of one tenant as its relays see it. All times are the database's clock in milliseconds. Statements
// lock rows in the order of their versions, so that relays cannot deadlock.
type outbox struct {
	log *Log
	sql outboxStatements
}

// outboxStatements are rendered once. $1 is the tenant in each of them but abandoned.
type outboxStatements struct {
	peek, claim, marked, delivered, deliveredAll, included, failed, settled, resend string

	chore, trimmable, trimmed, trim, abandoned string
}

// claimBatch is how many rows a relay delivers in one go: as many ids as one message of the bus names.
const claimBatch = 64

const (
	peekSQL = `SELECT {now},
	EXISTS (SELECT 1 FROM layercache_outbox WHERE {due}),
	EXISTS (SELECT 1 FROM layercache_outbox WHERE tbl = {tbl} AND tenant = $1 AND delivered_ms > 0 AND NOT final)
		AND NOT EXISTS (SELECT 1 FROM layercache_chores WHERE tbl = {tbl} AND tenant = $1 AND chore = 'settle' AND due_ms > {now}),
	NOT EXISTS (SELECT 1 FROM layercache_chores WHERE tbl = {tbl} AND tenant = $1 AND chore = 'trim' AND due_ms > {now}),
	NOT EXISTS (SELECT 1 FROM layercache_chores WHERE tbl = {tbl} AND tenant = '' AND chore = 'sweep' AND due_ms > {now})`

	// A row is due when nobody has delivered it, no claim on it stands, and its own writer, if it is one of ours, has
	// had its time.
	dueSQL = `tbl = {tbl} AND tenant = $1 AND delivered_ms = 0 AND claimed_ms <= {now} AND (writer = '' OR created_ms <= {now} - $2)`

	claimSQL = `WITH due AS (
	SELECT version AS v, whole AS w, id AS i FROM layercache_outbox WHERE {due} ORDER BY version LIMIT 64 {lock})
UPDATE layercache_outbox SET claimed_ms = {now} + $3, attempts = attempts + 1
FROM due WHERE {row}
RETURNING version, whole, id, attempts, failed`

	deliveredSQL = `WITH due AS (
	SELECT version AS v, whole AS w, id AS i FROM layercache_outbox
	WHERE tbl = {tbl} AND tenant = $1 AND version IN {numbers:$3} AND delivered_ms = 0{which} ORDER BY version {wait})
UPDATE layercache_outbox SET delivered_ms = {now}, delivered_epoch = $2
FROM due WHERE {row}`

	// Which rows of a version were delivered. A writer knows its version and delivers all of it, unless its row has become
	// one of the whole table (SQLite). A claim may end in the midst of a version: only the ids it holds were delivered, but
	// each of them as of the claim's highest version. One that holds a row of the whole table delivers everything.
	markedRows       = ` AND NOT whole`
	deliveredRows    = ` AND NOT whole AND {id in hex:$4}`
	deliveredAllRows = ``

	// A delivery of all records includes every change up to its version. It replaces the epoch, so rows delivered before
	// it would else be taken for lost, and sent again; with another whole one among them, without end.
	includedSQL = `WITH due AS (
	SELECT version AS v, whole AS w, id AS i FROM layercache_outbox
	WHERE tbl = {tbl} AND tenant = $1 AND version <= $3 AND delivered_ms > 0 AND NOT final AND delivered_epoch <> $2 ORDER BY version {wait})
UPDATE layercache_outbox SET delivered_ms = {now}, delivered_epoch = $2
FROM due WHERE {row}`

	failedSQL = `WITH due AS (
	SELECT version AS v, whole AS w, id AS i FROM layercache_outbox
	WHERE tbl = {tbl} AND tenant = $1 AND version IN {numbers:$3} AND delivered_ms = 0 ORDER BY version {wait})
UPDATE layercache_outbox SET claimed_ms = {now} + $2, failed = attempts
FROM due WHERE {row}`

	settledSQL = `WITH due AS (
	SELECT version AS v, whole AS w, id AS i FROM layercache_outbox
	WHERE tbl = {tbl} AND tenant = $1 AND delivered_ms > 0 AND NOT final AND delivered_epoch = $2 AND delivered_ms <= $3 ORDER BY version {wait})
UPDATE layercache_outbox SET final = true
FROM due WHERE {row}`

	resendSQL = `WITH due AS (
	SELECT version AS v, whole AS w, id AS i FROM layercache_outbox
	WHERE tbl = {tbl} AND tenant = $1 AND delivered_ms > 0 AND NOT final AND delivered_epoch <> $2 AND delivered_ms <= $3 ORDER BY version {wait})
UPDATE layercache_outbox SET delivered_ms = 0, delivered_epoch = '', claimed_ms = 0, attempts = 0, failed = 0, writer = ''
FROM due WHERE {row}`

	rowSQL = `tbl = {tbl} AND tenant = $1 AND version = v AND whole = w AND id = i`
)

func newOutbox(l *Log) *outbox {
	parts := strings.NewReplacer("{due}", dueSQL, "{row}", rowSQL)
	render := func(query string) string { return l.render(parts.Replace(query)) }
	delivered := func(which string) string { return render(strings.ReplaceAll(deliveredSQL, "{which}", which)) }
	return &outbox{log: l, sql: outboxStatements{
		peek: render(peekSQL), claim: render(claimSQL), included: render(includedSQL),
		marked: delivered(markedRows), delivered: delivered(deliveredRows), deliveredAll: delivered(deliveredAllRows),
		failed: render(failedSQL), settled: render(settledSQL), resend: render(resendSQL),
		chore: render(choreSQL), trimmable: render(trimmableSQL), trimmed: render(trimmedSQL), trim: render(trimSQL),
		abandoned: render(abandonedSQL),
	}}
}

// pending is what there is to do.
type pending struct {
	now               int64 // the database's clock
	due, settle, trim bool
	sweep             bool
}

func (o *outbox) peek(ctx context.Context, young time.Duration) (p pending, err error) {
	err = o.log.source.retry(ctx, func() error {
		row := o.log.source.db.QueryRowContext(ctx, o.sql.peek, o.log.tenant, young.Milliseconds())
		return row.Scan(&p.now, &p.due, &p.settle, &p.trim, &p.sweep)
	})
	return p, err
}

// claim is the rows that a relay has taken to deliver.
type claim struct {
	rows      int
	versions  []uint64 // in no order, may repeat
	ids       []string // each once
	whole     bool
	asOf      uint64 // the highest version
	attempts  int    // of the row tried most often, this one included
	takenOver int    // rows whose former claim never ended
}

func (o *outbox) claim(ctx context.Context, young, lease time.Duration) (c claim, err error) {
	err = o.log.source.writeSlot(ctx, func() error {
		c = claim{}
		return o.readClaim(ctx, &c, young, lease)
	})
	slices.Sort(c.ids)
	c.ids = slices.Compact(c.ids)
	return c, err
}

func (o *outbox) readClaim(ctx context.Context, c *claim, young, lease time.Duration) error {
	rows, err := o.log.source.db.QueryContext(ctx, o.sql.claim, o.log.tenant, young.Milliseconds(), lease.Milliseconds())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var version uint64
		var whole bool
		var id string
		var attempts, failed int
		if err := rows.Scan(&version, &whole, &id, &attempts, &failed); err != nil {
			return err
		}
		c.rows++
		c.versions = append(c.versions, version)
		c.asOf = max(c.asOf, version)
		c.attempts = max(c.attempts, attempts)
		if attempts-failed > 1 {
			c.takenOver++
		}
		if whole {
			c.whole = true
		} else {
			c.ids = append(c.ids, id)
		}
	}
	return rows.Err()
}

// marked records that writers have delivered their versions in an epoch.
func (o *outbox) marked(ctx context.Context, versions []uint64, epoch string) error {
	list, err := json.Marshal(versions)
	if err != nil {
		return err
	}
	_, err = o.log.source.exec(ctx, o.sql.marked, o.log.tenant, epoch, string(list))
	return err
}

// delivered records that a claim was delivered in an epoch. One of the whole table has included all before it.
func (o *outbox) delivered(ctx context.Context, c claim, epoch string) error {
	versions, err := json.Marshal(c.versions)
	if err != nil {
		return err
	}
	if c.whole {
		_, err = o.log.source.exec(ctx, o.sql.deliveredAll, o.log.tenant, epoch, string(versions))
		_, includedErr := o.log.source.exec(ctx, o.sql.included, o.log.tenant, epoch, c.asOf)
		return errors.Join(err, includedErr)
	}
	digits := make([]string, len(c.ids)) // the ids themselves may be no UTF-8 in SQLite, and then JSON has other ones
	for i, id := range c.ids {
		digits[i] = fmt.Sprintf("%X", id)
	}
	ids, err := json.Marshal(digits)
	if err != nil {
		return err
	}
	_, err = o.log.source.exec(ctx, o.sql.delivered, o.log.tenant, epoch, string(versions), string(ids))
	return err
}

// failed ends a claim without a delivery; the rows are due again after a wait.
func (o *outbox) failed(ctx context.Context, versions []uint64, wait time.Duration) error {
	list, err := json.Marshal(versions)
	if err != nil {
		return err
	}
	_, err = o.log.source.exec(ctx, o.sql.failed, o.log.tenant, wait.Milliseconds(), string(list))
	return err
}

// settle makes rows final that were delivered in the epoch before the time settled, and rows due again that were
// delivered in another epoch before now. epoch was read from Redis after now was read from the database.
func (o *outbox) settle(ctx context.Context, epoch string, settled, now int64) (resent int64, err error) {
	if _, err := o.log.source.exec(ctx, o.sql.settled, o.log.tenant, epoch, settled); err != nil {
		return 0, err
	}
	return o.log.source.exec(ctx, o.sql.resend, o.log.tenant, epoch, now)
}
