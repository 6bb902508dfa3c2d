package sqlsource_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

func TestNotifyWakesTheRelay(t *testing.T) {
	d := newPostgres(t)
	b := &bus{epoch: "e1"}
	d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Interval, c.Listener = time.Minute, d.driver.Listen })
	d.waitListening(t)
	writer := d.openDB(t, d.url)
	if err := writer.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var waits []time.Duration
	for i := range 11 {
		id := fmt.Sprint("x", i)
		began := time.Now()
		if _, err := writer.Exec("INSERT INTO layercache_policies (agent_id, document) VALUES ('" + id + "', '{}')"); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "x is delivered long before the interval", func() bool { return b.of(id) == 1 })
		waits = append(waits, b.first(id).at.Sub(began))
	}
	slices.Sort(waits)
	t.Logf("from before the insert to the delivery: median %v, longest %v", waits[5], waits[10])
}

// Each tenant's relay listens on a connection of its own: were all of them given one, those of a pool would be used up.
func TestListenersOfManyTenantsLeaveConnectionsToQueries(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		d.db.SetMaxOpenConns(4)
		var most, now atomic.Int64
		listen := func(ctx context.Context, db *sql.DB, _ func()) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}
		var relays []*sqlsource.Relay
		for i := range 6 {
			relays = append(relays, d.as(t, fmt.Sprint("tenant", i)).relay(t, &bus{epoch: "e1"}, func(c *sqlsource.RelayConfig) {
				c.Interval, c.Listener = 10*time.Millisecond, listen
			}))
		}
		query := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, _, err := d.table.Get(ctx, "x"); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, 20*time.Second, "two listeners", func() bool { query(); return now.Load() == 2 })
		for _, r := range relays[:4] { // whoever of them listened, others take over
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, 20*time.Second, "the two that are left to listen", func() bool { query(); return now.Load() == 2 })
		if most.Load() > 2 {
			t.Errorf("%d of 4 connections listened", most.Load())
		}
	})
}

func TestLostListenerIsCoveredByPollingAndComesBack(t *testing.T) {
	d := newPostgres(t)
	b, seen := &bus{epoch: "e1"}, newRecord()
	d.relay(t, b, func(c *sqlsource.RelayConfig) {
		c.Interval, c.Listener, c.Telemetry = 300*time.Millisecond, d.driver.Listen, seen
	})
	d.waitListening(t)
	d.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()")
	pgtest.Exec(t, d.url, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
	eventually(t, 300*time.Millisecond+slack, "x is delivered", func() bool { return b.of("x") == 1 })
	d.waitListening(t)
	if n := seen.reported("outbox listen"); n != 1 {
		t.Fatalf("%d reports of the lost listener, want 1", n)
	}
}

func (d *database) waitListening(t testing.TB) {
	t.Helper()
	eventually(t, 10*time.Second, "a connection listens", func() bool {
		var n int
		err := d.db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
}
