package sqlsource_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

const interval = 100 * time.Millisecond

// bus is a Deliverer that remembers. Its epoch and its failure can be changed while relays use it.
type bus struct {
	mu         sync.Mutex // guards all below
	epoch      string
	replaces   bool   // a delivery of everything replaces the epoch, as that of a cache does
	doomed     string // if set, deliveries are executed in this epoch instead, as on a primary that was replaced
	failure    error
	block      chan struct{} // deliveries wait for it to be closed, or their context
	deliveries []delivery
	attempts   int
}

type delivery struct {
	ids  []string
	all  bool
	asOf uint64
	at   time.Time
}

func (b *bus) Deliver(ctx context.Context, ids []string, all bool, asOf uint64) (string, error) {
	b.mu.Lock()
	b.attempts++
	block := b.block
	b.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure != nil {
		return "", b.failure
	}
	b.deliveries = append(b.deliveries, delivery{slices.Clone(ids), all, asOf, time.Now()})
	if b.doomed != "" {
		return b.doomed, nil
	}
	if all && b.replaces {
		b.epoch = fmt.Sprintf("e%d", len(b.deliveries))
	}
	return b.epoch, nil
}

func (b *bus) Epoch(context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch, b.failure
}

func (b *bus) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *bus) tried() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attempts
}

// of counts the deliveries of an id; "*" is everything.
func (b *bus) of(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, d := range b.deliveries {
		if d.all && id == "*" || slices.Contains(d.ids, id) {
			n++
		}
	}
	return n
}

// times are when an id was delivered.
func (b *bus) times(id string) []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	var at []time.Time
	for _, d := range b.deliveries {
		if slices.Contains(d.ids, id) {
			at = append(at, d.at)
		}
	}
	return at
}

// first is the first delivery of an id.
func (b *bus) first(id string) delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.deliveries {
		if d.all && id == "*" || slices.Contains(d.ids, id) {
			return d
		}
	}
	return delivery{}
}

// record is a Telemetry that keeps counts and reports.
type record struct {
	telemetry.Telemetry
	mu      sync.Mutex // guards counts, reports
	counts  map[telemetry.Event]int64
	reports []string
}

func newRecord() *record {
	return &record{Telemetry: telemetry.Nop, counts: map[telemetry.Event]int64{}}
}

func (r *record) Count(_ string, ev telemetry.Event, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[ev] += n
}

func (r *record) Report(_, op string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, op+": "+err.Error())
}

func (r *record) count(ev telemetry.Event) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[ev]
}

func (r *record) reported(op string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, report := range r.reports {
		if strings.HasPrefix(report, op+":") {
			n++
		}
	}
	return n
}

func (d *database) relay(t testing.TB, b *bus, change func(*sqlsource.RelayConfig)) *sqlsource.Relay {
	t.Helper()
	cfg := sqlsource.RelayConfig{Log: d.table.Log(), Deliver: b, Interval: interval, Settle: time.Hour, Retain: 2 * time.Hour}
	if change != nil {
		change(&cfg)
	}
	r, err := sqlsource.NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// count answers a count over the outbox.
func (d *database) count(t testing.TB, where string) int {
	t.Helper()
	var n int
	if err := d.db.QueryRow("SELECT count(*) FROM layercache_outbox WHERE " + where).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// slack is what a loaded test machine may add to a promised time.
const slack = 3 * time.Second
