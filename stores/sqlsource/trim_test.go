package sqlsource_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
)

func TestLogIsTrimmedAfterRetain(t *testing.T) {
	const retain = 2 * time.Second // in which a slow machine writes and reads three rows
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Settle, c.Retain = time.Millisecond, retain })
		began := time.Now()
		for range 3 {
			d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '1') ON CONFLICT (tenant, agent_id) DO UPDATE SET document = '2'")
		}
		page := d.changes(t, 0, 0)
		if page.Trimmed != 0 || len(page.Changes) != 3 {
			t.Fatalf("before Retain: %+v", page)
		}
		last := page.Changes[2].AsOf
		eventually(t, 30*time.Second, "the log is empty", func() bool { return len(d.changes(t, 0, 0).Changes) == 0 })
		if took := time.Since(began); took < retain {
			t.Fatalf("trimmed after %v", took)
		}
		if page := d.changes(t, 1, 0); page.Trimmed != last || page.Head != last {
			t.Fatalf("after: %+v, want trimmed up to %d", page, last)
		}
	})
}

// A poll that began at the head must not be told that it missed something because another tenant's log was trimmed.
func TestTrimmingOfATenantIsNoGapForAnother(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		a, b := d.as(t, "a"), d.as(t, "b")
		b.put(t, "theirs", "1")
		polled := a.put(t, "mine", "1") // tenant a has polled up to here, and has no relay that could trim
		for range 3 {
			b.put(t, "theirs", "2")
		}
		b.relay(t, &bus{epoch: "e1"}, func(c *sqlsource.RelayConfig) { c.Settle, c.Retain = time.Millisecond, 50*time.Millisecond })
		eventually(t, 10*time.Second, "the other tenant's log is empty", func() bool { return len(b.changes(t, 0, 0).Changes) == 0 })
		if page := a.changes(t, polled, 0); page.Trimmed != 0 || len(page.Changes) != 0 {
			t.Fatalf("tenant a is answered %+v, want nothing trimmed", page)
		}
		if page := a.changes(t, 0, 0); page.Trimmed != 0 || len(page.Changes) != 1 {
			t.Fatalf("tenant a's log is %+v, want its one row", page)
		}
		if page := b.changes(t, 0, 0); page.Trimmed != page.Head {
			t.Fatalf("tenant b is answered %+v, want all trimmed", page)
		}

		// And its own trimming is a gap.
		a.put(t, "mine", "2")
		last := a.put(t, "mine", "3")
		a.relay(t, &bus{epoch: "e1"}, func(c *sqlsource.RelayConfig) { c.Settle, c.Retain = time.Millisecond, 50*time.Millisecond })
		eventually(t, 10*time.Second, "its own log is empty", func() bool { return len(a.changes(t, 0, 0).Changes) == 0 })
		if page := a.changes(t, polled, 0); page.Trimmed != last || page.Trimmed <= polled {
			t.Fatalf("tenant a is answered %+v, want trimmed up to %d", page, last)
		}
		if page := b.changes(t, 0, 0); page.Trimmed >= last {
			t.Fatalf("tenant b is answered %+v: the other's mark is its own", page)
		}
	})
}

// aged makes all rows that there are a day older, and what the relays of a tenant do a day overdue.
func (d *database) aged(t testing.TB, tenant string) {
	t.Helper()
	d.exec(t, "UPDATE layercache_outbox SET created_ms = created_ms - 86400000 WHERE tenant = '"+tenant+"'; "+
		"UPDATE layercache_chores SET due_ms = due_ms - 86400000 WHERE chore = 'trim' AND tenant = '"+tenant+"'; "+
		"UPDATE layercache_chores SET due_ms = 0 WHERE chore = 'sweep'")
}

func TestTenantThatIsGoneHoldsNoLogForEver(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		gone, never, alive := d.as(t, "gone"), d.as(t, "never"), d.as(t, "alive")
		// One whose processes are gone left rows that it had delivered, and that it had not; the other never had any.
		b := &bus{epoch: "e1"}
		r := gone.relay(t, b, nil)
		gone.exec(t, "INSERT INTO layercache_policies (tenant, agent_id, document) VALUES ('gone', 'delivered', '')")
		eventually(t, 10*time.Second, "a row is delivered, not final", func() bool { return d.count(t, "tenant = 'gone' AND delivered_ms > 0 AND NOT final") == 1 })
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone.put(t, "undelivered", "")
		last := gone.head(t)
		lastNever := never.put(t, "x", "")
		alive.put(t, "x", "")
		for _, tenant := range []string{"gone", "never"} {
			d.aged(t, tenant)
		}
		young := gone.put(t, "young", "")

		alive.relay(t, b, func(c *sqlsource.RelayConfig) { c.Abandon = 3 * time.Hour })
		eventually(t, 10*time.Second, "what is old is gone", func() bool {
			return len(never.changes(t, 0, 0).Changes) == 0 && gone.logged(t, 0) == "young"
		})
		if page := gone.changes(t, 0, 0); page.Trimmed != last || page.Changes[0].AsOf != young {
			t.Fatalf("a process that comes back is told %+v, want trimmed up to %d", page, last)
		}
		if page := never.changes(t, 0, 0); page.Trimmed != lastNever {
			t.Fatalf("a process that comes first is told %+v, want trimmed up to %d", page, lastNever)
		}
		if page := alive.changes(t, 0, 0); page.Trimmed != 0 || len(page.Changes) != 1 {
			t.Fatalf("the living tenant's log is %+v, want its young row", page)
		}
		if n := b.of("undelivered") + b.of("young"); n != 0 {
			t.Fatalf("the rows of a tenant were delivered by another's relay")
		}
	})
}

func TestTenantThatLivesKeepsItsUndeliveredRowsHoweverOld(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		a, b := d.as(t, "a"), d.as(t, "b")
		away := &bus{epoch: "e1", failure: errors.New("redis is away")}
		a.relay(t, away, func(c *sqlsource.RelayConfig) { c.Abandon = 3 * time.Hour })
		a.put(t, "x", "")
		eventually(t, 10*time.Second, "its relay tries and fails", func() bool { return away.tried() > 0 })
		d.exec(t, "UPDATE layercache_outbox SET created_ms = created_ms - 86400000 WHERE tenant = 'a'; UPDATE layercache_chores SET due_ms = 0 WHERE chore = 'sweep'")
		b.relay(t, &bus{epoch: "e1"}, func(c *sqlsource.RelayConfig) { c.Abandon = 3 * time.Hour })
		eventually(t, 10*time.Second, "the log is swept", func() bool {
			var due int64
			if err := d.db.QueryRow("SELECT due_ms FROM layercache_chores WHERE chore = 'sweep'").Scan(&due); err != nil {
				t.Fatal(err)
			}
			return due > 0
		})
		tried := away.tried()
		eventually(t, 10*time.Second, "its relay tries again", func() bool { return away.tried() > tried })
		if page := a.changes(t, 0, 0); page.Trimmed != 0 || len(page.Changes) != 1 {
			t.Fatalf("an undelivered row of a tenant with a relay was removed: %+v", page)
		}
	})
}

func TestTenantThatIsGoneDoesNotHoldUpAnothersRelay(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		gone, alive := d.as(t, "gone"), d.as(t, "alive")
		for i := range 70 { // the oldest rows, more than a relay claims at once, which nobody delivers
			d.exec(t, fmt.Sprintf("INSERT INTO layercache_policies (tenant, agent_id, document) VALUES ('gone', 'x%d', '')", i))
		}
		d.exec(t, "INSERT INTO layercache_chores (tbl, tenant, chore, due_ms) VALUES ('policies', 'gone', 'settle', 9000000000000), ('policies', 'gone', 'trim', 9000000000000)")
		alive.relay(t, &bus{epoch: "e1"}, func(c *sqlsource.RelayConfig) { c.Settle, c.Retain = time.Millisecond, 50*time.Millisecond })
		last := alive.put(t, "x", "")
		eventually(t, 10*time.Second, "its log is trimmed", func() bool { return alive.changes(t, 0, 0).Trimmed == last })
		if page := gone.changes(t, 0, 0); page.Trimmed != 0 || len(page.Changes) != 70 {
			t.Fatalf("the other's log is %+v", page)
		}
		if n := d.count(t, "tenant = 'gone' AND (attempts > 0 OR delivered_ms > 0)"); n != 0 {
			t.Fatalf("%d of its rows were claimed by another's relay", n)
		}
	})
}

func TestUndeliveredRowIsNeverTrimmed(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1", failure: errors.New("redis is away")}
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Settle, c.Retain = time.Millisecond, 150*time.Millisecond })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		eventually(t, 10*time.Second, "long after Retain", func() bool { return b.tried() > 3 })
		if page := d.changes(t, 0, 0); page.Trimmed != 0 || len(page.Changes) != 1 {
			t.Fatalf("an undelivered row was trimmed: %+v", page)
		}
	})
}
