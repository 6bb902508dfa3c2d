package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/policy"
)

// How the worker goes about it.
const (
	burst     = 128 // checks of the mix between two checks of the watched permission, if all are hits
	block     = 16  // checks that are timed together
	timedOne  = 64  // of so many blocks one is timed
	afterward = 40  // checks of a permission after the news that its revocation has returned
)

// worker decides, in one goroutine, as fast as it can.
type worker struct {
	ctx      context.Context // of the reads: carries the probe
	policies *policy.Store
	probe    *probe
	mix      []request
	next     int // of mix

	decided atomic.Int64 // may be read by others
	blocks  int
	answers [tiers]int64
	took    [tiers][]time.Duration
	failed  trouble

	watched *permission // being revoked; nil: none
	checks  []check     // of it
	left    int         // checks until its history is told; -1: not known yet
	revoked []permission
}

func newWorker(ctx context.Context, policies *policy.Store, mix []request) *worker {
	p := &probe{}
	return &worker{ctx: p.into(ctx), policies: policies, probe: p, mix: mix}
}

// work decides until the order to stop.
func (w *worker) work(orders <-chan order, tell func(notice)) (*result, error) {
	began := time.Now()
	for {
		for range burst / block {
			if !w.decideBlock() {
				break // what took long is not made longer for the parent
			}
		}
		select {
		case o, ok := <-orders:
			switch {
			case !ok:
				return nil, errNoMoreOrders
			case o.Verb == orderStop:
				return w.result(time.Since(began)), nil
			case o.Verb == orderWatch:
				w.watched, w.checks, w.left = o.Permission, nil, -1
				w.checkWatched()
				tell(notice{Fact: noticeWatching})
			case o.Verb == orderReport:
				w.left = afterward
			}
		default:
			if w.watched != nil {
				w.checkWatched()
			}
		}
		if w.watched != nil && w.left == 0 {
			tell(notice{Fact: noticeHistory, History: w.checks})
			w.revoked = append(w.revoked, *w.watched)
			w.watched = nil
		}
	}
}

// decideBlock makes the next checks of the mix, and says whether all were hits in L1. Now and then it times them; only a
// block of hits says what a hit costs.
func (w *worker) decideBlock() bool {
	var began time.Time
	timed := w.blocks%timedOne == 0
	w.blocks++
	if timed {
		began = time.Now()
	}
	hits := 0
	for range block {
		r := &w.mix[w.next]
		if w.next++; w.next == len(w.mix) {
			w.next = 0
		}
		if _, err := w.policies.Decide(w.ctx, r.agent, r.action); err != nil {
			w.failed.add(err.Error())
		}
		if w.count() == inMemory {
			hits++
		}
	}
	if timed && hits == block {
		w.took[inMemory] = append(w.took[inMemory], time.Since(began)/block)
	}
	w.decided.Add(block)
	return hits == block
}

// count notes where the last decision was answered and, past L1, how long that took.
func (w *worker) count() tier {
	from, took := w.probe.take()
	w.answers[from]++
	if from != inMemory {
		w.took[from] = append(w.took[from], took)
	}
	return from
}

// checkWatched checks the watched permission and records it.
func (w *worker) checkWatched() {
	if c, ok := w.check(*w.watched); ok {
		w.checks = append(w.checks, c)
	}
	w.count()
	w.decided.Add(1)
	if w.left > 0 {
		w.left--
	}
}

func (w *worker) check(p permission, opts ...readthrough.Option) (check, bool) {
	began := now()
	d, err := w.policies.Decide(w.ctx, p.Agent, p.action(), opts...)
	if err != nil {
		w.failed.add(err.Error())
		return check{}, false
	}
	return check{Began: began, AsOf: d.AsOf(), Allowed: d.Allowed()}, true
}

// result sums up, and then checks once more everything that was revoked: what came back later would be found in L1 or in
// L2.
func (w *worker) result(worked time.Duration) *result {
	r := &result{Seconds: worked.Seconds()}
	for t := range tiers {
		r.Tiers[t] = tierCount{Answers: w.answers[t], P50: quantile(w.took[t], 0.50), P99: quantile(w.took[t], 0.99)}
	}
	for _, p := range w.revoked {
		var again []check
		for _, opts := range [][]readthrough.Option{nil, {readthrough.SkipL1()}} {
			if c, ok := w.check(p, opts...); ok {
				again = append(again, c)
			}
		}
		r.Again = append(r.Again, again)
	}
	r.Failed = w.failed
	return r
}
