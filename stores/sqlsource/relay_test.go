package sqlsource_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

func TestForeignRowIsDeliveredWithinTheInterval(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		d.relay(t, b, nil)
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		eventually(t, interval+slack, "x is delivered", func() bool { return b.of("x") == 1 })
		if got := b.first("x"); got.asOf != d.head(t) || got.all {
			t.Fatalf("delivered %+v, want x alone as of %d", got, d.head(t))
		}
		d.exec(t, "DELETE FROM layercache_policies")
		eventually(t, interval+slack, "the deletion is delivered", func() bool { return b.of("x") == 2 })
	})
}

// A claim takes 64 rows, here 60 of a version each and 4 of the 10 of another: the other 6 stay due.
func TestAClaimThatEndsInTheMidstOfAVersionLosesNoneOfItsRows(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		var ids, rows []string
		for i := range 70 {
			ids = append(ids, fmt.Sprint("id", i))
			if row := fmt.Sprintf("('id%d', '{}')", i); i < 60 {
				d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES "+row)
			} else {
				rows = append(rows, row)
			}
		}
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES "+strings.Join(rows, ", "))
		b := &bus{epoch: "e1"}
		d.relay(t, b, nil)
		eventually(t, 30*time.Second, "every row is recorded", func() bool { return d.count(t, "delivered_ms = 0") == 0 })
		for _, id := range ids {
			if b.of(id) == 0 {
				t.Errorf("%s was recorded and not delivered", id)
			}
		}
	})
}

func TestChangeOfAllIsDeliveredAsAll(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		d.relay(t, b, nil)
		_, asOf, err := d.table.Import(t.Context(), func(yield func(string, []byte) bool) {
			for i := range 70 {
				if !yield(fmt.Sprint(i), nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, interval+slack, "all is delivered", func() bool { return b.of("*") == 1 })
		if got := b.first("*"); got.asOf != asOf || len(got.ids) != 0 {
			t.Fatalf("delivered %+v, want all as of %d and no ids", got, asOf)
		}
	})
}

func TestWritersOwnDeliveryIsNotRepeated(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		// A writer has half of it to have its delivery recorded, also on a busy machine.
		r := d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Interval = 4 * time.Second })
		for range 10 {
			r.Delivered(d.put(t, "mine", "1"), "e1")
		}
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('foreign', '{}')")
		eventually(t, 30*time.Second, "the foreign row is delivered, and all ten are recorded", func() bool {
			return b.of("foreign") == 1 && d.count(t, "delivered_ms = 0") == 0
		})
		if n := b.of("mine"); n != 0 {
			t.Fatalf("the relay delivered what its writer had, %d times", n)
		}
		if n := d.count(t, "delivered_epoch = 'e1'"); n != 11 {
			t.Fatalf("%d rows recorded in e1, want 11", n)
		}
	})
}

// The row says who will deliver it, and that process is gone.
func TestRowOfAKilledWriterIsDeliveredWithinTheInterval(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Interval = 400 * time.Millisecond })
		began := time.Now()
		d.put(t, "orphan", "1")
		eventually(t, 400*time.Millisecond+slack, "the orphan is delivered", func() bool { return b.of("orphan") == 1 })
		if early := b.first("orphan").at.Sub(began); early < 190*time.Millisecond {
			t.Fatalf("delivered after %v: its writer had no time", early)
		}
	})
}

// Not "exactly once": a relay that cannot record its delivery before its claim ends, because SQLite's lock is contended
// and unfair, is taken over and the row delivered again. What a claim promises is that nobody does so while it stands.
func TestFourRelaysDeliverNoRowTwiceWhileAClaimStands(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		for range 4 {
			other := &database{dialect: d.dialect, url: d.url}
			other.db, other.source, other.table = other.open(t)
			other.relay(t, b, func(c *sqlsource.RelayConfig) {
				if d.dialect == sqlsource.Postgres {
					c.Listener = d.driver.Listen
				}
			})
		}
		const rows = 120
		for i := range rows {
			if _, err := d.table.Put(t.Context(), fmt.Sprint("id", i), []byte("{}"), ""); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, 30*time.Second, "every row is recorded", func() bool { return d.count(t, "delivered_ms = 0") == 0 })
		again := 0
		for i := range rows {
			at := b.times(fmt.Sprint("id", i))
			if len(at) == 0 {
				t.Errorf("id%d was not delivered", i)
			}
			for j := 1; j < len(at); j++ {
				again++
				if apart := at[j].Sub(at[j-1]); apart < time.Second { // a claim stands 3 s, of which 1 s may pass before the delivery
					t.Errorf("id%d was delivered again after %v, while its claim stood", i, apart)
				}
			}
		}
		t.Logf("%d of %d rows were delivered again after their claim had ended", again, rows)
	})
}

// One relay of each tenant, on buses of their own: foreign rows, rows of killed writers, changes of all, and rows whose
// epoch did not last are each told on their tenant's bus alone.
func TestRelayDeliversItsOwnTenantsRowsAlone(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		buses := map[string]*bus{}
		names := []string{"", "a", "b"}
		for _, name := range names {
			buses[name] = &bus{epoch: "e1-" + name, replaces: true}
			d.as(t, name).relay(t, buses[name], nil)
		}
		for i, name := range names {
			d.exec(t, "INSERT INTO layercache_policies (tenant, agent_id, document) VALUES ('"+name+"', 'foreign"+name+"', '')")
			d.as(t, name).put(t, "orphan"+name, "")
			if i == 0 {
				continue
			}
			var rows []string
			for j := range 70 {
				rows = append(rows, fmt.Sprintf("('%s', '%d', '')", name, j))
			}
			d.exec(t, "INSERT INTO layercache_policies (tenant, agent_id, document) VALUES "+strings.Join(rows, ","))
		}
		eventually(t, 20*time.Second, "every row is delivered", func() bool { return d.count(t, "delivered_ms = 0") == 0 })
		buses["a"].set(func() { buses["a"].epoch = "e2" })
		eventually(t, 20*time.Second, "the rows of one tenant are sent again", func() bool {
			return d.count(t, "tenant = 'a' AND delivered_epoch = 'e1-a'") == 0 && d.count(t, "delivered_ms = 0") == 0
		})
		for _, name := range names {
			for _, other := range names {
				own := name == other
				for _, id := range []string{"foreign", "orphan"} {
					if told := buses[name].of(id + other); own && told == 0 && buses[name].of("*") == 0 || !own && told > 0 {
						t.Errorf("%s of tenant %q was told %d times on the bus of %q", id, other, told, name)
					}
				}
			}
			if all := buses[name].of("*"); (all > 0) != (name != "") {
				t.Errorf("all of tenant %q was told %d times", name, all)
			}
			if n := d.count(t, "tenant = '"+name+"' AND delivered_epoch LIKE 'e1-%' AND delivered_epoch <> 'e1-"+name+"'"); n != 0 {
				t.Errorf("%d rows of tenant %q were recorded in the epoch of another's bus", n, name)
			}
		}
	})
}

// One statement is one version in PostgreSQL, and an id may be of several tenants: their rows differ by the tenant alone.
func TestRowsOfOneStatementAreDeliveredToEachTenant(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.exec(t, "INSERT INTO layercache_policies (tenant, agent_id, document) VALUES ('', 'x', ''), ('a', 'x', ''), ('b', 'x', '')")
		for done, name := range []string{"", "a", "b"} {
			b := &bus{epoch: "e1-" + name}
			d.as(t, name).relay(t, b, func(c *sqlsource.RelayConfig) { c.Settle = time.Millisecond })
			eventually(t, 10*time.Second, "x is delivered and final", func() bool {
				return b.of("x") == 1 && d.count(t, "final AND tenant = '"+name+"' AND delivered_epoch = 'e1-"+name+"'") == 1
			})
			if n := d.count(t, "attempts = 0 AND delivered_ms = 0 AND NOT final"); n != 2-done {
				t.Fatalf("%d rows of the other tenants are as they were, want %d", n, 2-done)
			}
		}
	})
}

// A writer's mark is a version: that of another tenant must not hide a row.
func TestDeliveryOfATenantIsNotTakenForAnothers(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		r := d.as(t, "a").relay(t, &bus{epoch: "e1"}, func(c *sqlsource.RelayConfig) { c.Interval = time.Minute })
		r.Delivered(d.as(t, "b").put(t, "x", ""), "e1")
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := d.count(t, "delivered_ms = 0"); n != 1 {
			t.Fatalf("%d rows are still to be delivered, want the other tenant's", n)
		}
	})
}

func TestFailedDeliveryIsTriedAgainWithBackoff(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b, seen := &bus{epoch: "e1", failure: errors.New("redis is away")}, newRecord()
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Telemetry = seen })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		eventually(t, 30*time.Second, "three attempts", func() bool { return b.tried() >= 3 })
		if n := d.count(t, "failed >= 2 AND delivered_ms = 0"); n != 1 {
			t.Fatalf("%d rows record their failures, want 1", n)
		}
		b.set(func() { b.failure = nil })
		eventually(t, 10*interval+slack, "x is delivered at last", func() bool { return b.of("x") == 1 })
		if n := b.tried(); n > 8 {
			t.Fatalf("%d attempts: no backoff", n)
		}
		if n := seen.reported("outbox"); n == 0 || n > 4 {
			t.Fatalf("%d reports of the failure, want one each", n)
		}
		if n := seen.count(telemetry.OutboxTakenOver); n != 0 {
			t.Fatalf("%d rows counted as taken over, but their claims had ended", n)
		}
	})
}

func TestClaimOfADeadRelayIsTakenOver(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		// As a relay leaves it that was killed while it delivered: claimed for a second from now.
		now := "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
		if d.dialect == sqlsource.SQLite {
			now = "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)"
		}
		d.exec(t, "UPDATE layercache_outbox SET attempts = 1, claimed_ms = "+now+" + 400")
		b, seen := &bus{epoch: "e1"}, newRecord()
		began := time.Now()
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Telemetry = seen })
		eventually(t, 30*time.Second, "x is delivered", func() bool { return b.of("x") == 1 })
		if took := b.first("x").at.Sub(began); took < 200*time.Millisecond {
			t.Fatalf("taken over after %v, while the claim stood", took)
		}
		if n := seen.count(telemetry.OutboxTakenOver); n != 1 {
			t.Fatalf("%d rows counted as taken over, want 1", n)
		}
	})
}

// In SQLite a writer's row may have become the row of the whole table, of which the writer delivered one id.
func TestWritersOwnDeliveryDoesNotCoverAChangeOfAll(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		r := d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Interval = 4 * time.Second })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('first', '{}')")
		eventually(t, 10*time.Second, "the relay has looked", func() bool { return b.of("first") == 1 })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES "+strings.TrimSuffix(strings.Repeat("(replace('id?', '?', CAST(random() AS text)), '{}'),", 70), ","))
		r.Delivered(d.head(t), "e1")
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := d.count(t, "whole AND delivered_ms = 0"); n != 1 {
			t.Fatalf("%d changes of all are still to be delivered, want 1", n)
		}
	})
}

func TestRelayGoesOnAfterTheDatabaseWasAway(t *testing.T) {
	d := newPostgres(t)
	p := newProxy(t, d.url)
	b, seen := &bus{epoch: "e1"}, newRecord()
	away := &database{dialect: d.dialect, url: p.url(t, d.url)}
	_, _, away.table = away.open(t)
	away.relay(t, b, func(c *sqlsource.RelayConfig) { c.Telemetry = seen })
	p.swallow.Store(true)
	eventually(t, 10*time.Second, "the failure is reported", func() bool { return seen.reported("outbox") > 0 })
	d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
	p.swallow.Store(false)
	p.cut()
	eventually(t, 10*time.Second, "x is delivered", func() bool { return b.of("x") >= 1 })
}

func TestRelayConfigIsRefusedByName(t *testing.T) {
	d := newSQLite(t)
	for field, cfg := range map[string]sqlsource.RelayConfig{
		"RelayConfig.Log":      {Deliver: &bus{}},
		"RelayConfig.Deliver":  {Log: d.table.Log()},
		"RelayConfig.Interval": {Log: d.table.Log(), Deliver: &bus{}, Interval: time.Millisecond},
		"RelayConfig.Settle":   {Log: d.table.Log(), Deliver: &bus{}, Settle: -1, Retain: time.Hour},
		"RelayConfig.Abandon":  {Log: d.table.Log(), Deliver: &bus{}, Abandon: time.Minute},
		"RelayConfig.Retain":   {Log: d.table.Log(), Deliver: &bus{}, Settle: time.Hour, Retain: time.Minute},
	} {
		if _, err := sqlsource.NewRelay(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("NewRelay = %v, want an error that names %s", err, field)
		}
	}
}

// SQLite takes any bytes for a text. JSON does not: the row would be delivered again and again, and nothing behind it be trimmed.
func TestAnIDThatIsNoTextIsDeliveredOnceAndTrimmed(t *testing.T) {
	for name, id := range map[string]string{"not UTF-8": "CAST(x'61ff' AS TEXT)", "NUL": "'a' || char(0) || 'b'"} {
		t.Run(name, func(t *testing.T) {
			d := newSQLite(t)
			b := &bus{epoch: "e1"}
			d.relay(t, b, nil)
			d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ("+id+", '{}')")
			d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('after', '{}')")
			eventually(t, interval+slack, "both are known as delivered", func() bool { return d.count(t, "delivered_ms = 0") == 0 })
		})
	}
}
