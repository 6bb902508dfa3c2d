package sqlsource_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
)

func TestDeliveredIsRecordedOnClose(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		r := d.relay(t, &bus{epoch: "e1"}, func(c *sqlsource.RelayConfig) { c.Interval = time.Minute })
		asOf := d.put(t, "mine", "1")
		r.Delivered(asOf, "e1")
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := d.count(t, "delivered_epoch = 'e1'"); n != 1 {
			t.Fatalf("%d rows recorded after Close, want 1", n)
		}
	})
}

func TestCloseGivesBackWhatWasClaimed(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		b := &bus{epoch: "e1", block: make(chan struct{})}
		r := d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Interval = 10 * time.Second })
		d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
		second := d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Interval = 10 * time.Second })
		eventually(t, 30*time.Second, "one relay is delivering", func() bool { return b.tried() == 1 })
		for _, closing := range []*sqlsource.Relay{r, second, r} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := closing.Close(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		b.set(func() { b.block = nil })
		d.relay(t, b, func(c *sqlsource.RelayConfig) { c.Interval = 10 * time.Second })
		eventually(t, 30*time.Second, "a third relay delivers it at once", func() bool { return b.of("x") == 1 })
	})
}

func TestCloseEndsWithItsContext(t *testing.T) {
	d := newSQLite(t)
	stuck := make(chan struct{})
	started := make(chan struct{})
	r, err := sqlsource.NewRelay(sqlsource.RelayConfig{Log: d.table.Log(), Deliver: stubborn{started, stuck}})
	if err != nil {
		t.Fatal(err)
	}
	d.exec(t, "INSERT INTO layercache_policies (agent_id, document) VALUES ('x', '{}')")
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Close = %v, want the deadline's error", err)
	}
	close(stuck)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// stubborn is a Deliverer that does not keep to its context.
type stubborn struct{ started, stuck chan struct{} }

func (s stubborn) Deliver(context.Context, []string, bool, uint64) (string, error) {
	close(s.started)
	<-s.stuck
	return "e1", nil
}

func (s stubborn) Epoch(context.Context) (string, error) { return "e1", nil }
