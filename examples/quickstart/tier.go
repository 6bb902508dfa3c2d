package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/telemetry"
)

// tier is where a decision's policy came from.
type tier int

const (
	inMemory tier = iota // L1
	inRedis              // L2
	inSQL                // L3
	tiers                // how many there are
)

// tierCount is what a process has got from a tier.
type tierCount struct {
	Answers int64         `json:"answers"`
	P50     time.Duration `json:"p50"`
	P99     time.Duration `json:"p99"`
}

// probe learns from the telemetry of one caller's reads how far each had to go. A decision does not say; and asking the
// clock before each one would cost a good part of what a hit in L1 costs.
type probe struct {
	missed atomic.Int64 // nanoseconds after launch at which L2 or the database was first asked; 0: neither was
	loaded atomic.Bool  // the database was asked
}

// launch is where a probe's clock begins.
var launch = time.Now()

type probeKey struct{}

// into makes the context of reads that p learns about.
func (p *probe) into(ctx context.Context) context.Context {
	return context.WithValue(ctx, probeKey{}, p)
}

// take answers where the last read was answered, and the time from its miss in L1 to now; and forgets it.
func (p *probe) take() (tier, time.Duration) {
	missed := p.missed.Load()
	if missed == 0 {
		return inMemory, 0
	}
	took := time.Since(launch) - time.Duration(missed)
	p.missed.Store(0)
	if p.loaded.Swap(false) {
		return inSQL, took
	}
	return inRedis, took
}

// meter is the Telemetry of a child: it tells probes, counts the background failures, and ignores the rest.
type meter struct {
	telemetry.Telemetry // Nop

	mu       sync.Mutex // guards reported
	reported trouble
}

// Start implements telemetry.Telemetry. The context of a load carries the values of the read that began it.
func (m *meter) Start(ctx context.Context, op telemetry.Op) (context.Context, telemetry.Span) {
	if op.Name == telemetry.OpL2Get || op.Name == telemetry.OpLoad {
		if p, ok := ctx.Value(probeKey{}).(*probe); ok {
			p.missed.CompareAndSwap(0, int64(time.Since(launch)))
			if op.Name == telemetry.OpLoad {
				p.loaded.Store(true)
			}
		}
	}
	return m.Telemetry.Start(ctx, op)
}

// Report implements telemetry.Telemetry.
func (m *meter) Report(_, op string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reported.add(op + ": " + err.Error())
}

// failures are what was reported.
func (m *meter) failures() trouble {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reported
}

// quantile of samples, which it sorts; 0 without any.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(int(q*float64(len(samples))), len(samples)-1)]
}
