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

func TestRowIsSentAgainWhenItsEpochDidNotLast(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b, seen := &bus{epoch: "e1"}, newRecord()
		r := d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Telemetry = seen })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		eventually(t, 30*time.Second, "x is delivered", func() bool { return b.of("x") == 1 })
		r.Delivered(d.put(t, "mine", "1"), "e1")
		eventually(t, 30*time.Second, "both are recorded", func() bool { return d.count(t, "delivered_epoch = 'e1'") == 2 })
		b.set(func() { b.epoch = "e2" })
		eventually(t, 30*time.Second, "both are delivered in the new epoch", func() bool {
			return d.count(t, "delivered_epoch = 'e2'") == 2 && b.of("x") == 2 && b.of("mine") == 1
		})
		if n := seen.count(telemetry.OutboxResent); n != 2 {
			t.Fatalf("%d rows counted as sent again, want 2", n)
		}
	})
}

func TestTwoChangesOfAllDoNotUndoEachOther(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e0", replaces: true}
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Settle = 3 * interval })
		for i, id := range []string{"before", "between", "after"} {
			d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('"+id+"', '{}')")
			eventually(t, 30*time.Second, id+" is delivered", func() bool { return b.of(id) > 0 })
			if id == "after" {
				break
			}
			var rows []string
			for j := range 70 {
				rows = append(rows, fmt.Sprintf("('%d.%d', '{}')", i, j))
			}
			d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES "+strings.Join(rows, ","))
			eventually(t, 30*time.Second, "all is delivered", func() bool { return b.of("*") > i })
		}
		eventually(t, 10*time.Second, "every row is final", func() bool { return d.count(t, "NOT final") == 0 })
		if n := b.of("*"); n != 2 {
			t.Fatalf("everything was invalidated %d times for 2 changes", n)
		}
	})
}

func TestRowIsFinalOnlyAfterSettle(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1"}
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Settle = 600 * time.Millisecond })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		eventually(t, 30*time.Second, "x is delivered", func() bool { return b.of("x") == 1 })
		delivered := b.first("x").at
		eventually(t, 30*time.Second, "x is final", func() bool { return d.count(t, "final") == 1 })
		if took := time.Since(delivered); took < 590*time.Millisecond {
			t.Fatalf("final %v after its delivery, want 600 ms", took)
		}
		b.set(func() { b.epoch = "e2" })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('y', '{}')")
		eventually(t, 30*time.Second, "y is final", func() bool { return d.count(t, "final") == 2 })
		if n := b.of("x"); n != 1 {
			t.Fatalf("a final row was delivered %d times", n)
		}
	})
}

func TestRowDeliveredOnADoomedPrimaryIsNeverFinal(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e2", doomed: "e1"}
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Settle = time.Millisecond })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		eventually(t, 10*time.Second, "x is sent again and again", func() bool { return b.of("x") >= 3 })
		if n := d.count(t, "final"); n != 0 {
			t.Fatalf("%d rows are final, delivered in an epoch that is not the current one", n)
		}
		b.set(func() { b.doomed = "" })
		eventually(t, 10*time.Second, "x is final once delivered in the current epoch", func() bool { return d.count(t, "final") == 1 })
	})
}

func TestRowIsNotFinalWhileTheEpochCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b, seen := &bus{epoch: "e1"}, newRecord()
		r := d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Settle, c.Telemetry = time.Millisecond, seen })
		b.set(func() { b.failure = errors.New("redis is away") })
		r.Delivered(d.put(t, "mine", "1"), "e1")
		eventually(t, 30*time.Second, "the failure is reported", func() bool { return seen.reported("outbox") > 0 })
		if n := d.count(t, "final"); n != 0 {
			t.Fatalf("%d rows are final", n)
		}
	})
}
