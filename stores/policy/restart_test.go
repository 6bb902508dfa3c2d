package policy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/readthrough/history"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource/pgtest"
)

// Four stores read and write while their database crashes and comes back. A commit whose answer was lost may have happened or
// not; nothing of it comes late.
func TestADatabaseThatCrashesMakesNothingOldAndNothingAbsent(t *testing.T) {
	const agents = 4 // each written by one store, so that its versions are in order
	server := pgtest.NewServer(t)
	f := &fleet{authority: atPostgres(t, server.URL()), redis: redistest.Start(t).Addr()}
	h := history.New()
	var stores [agents]*policy.Store
	var next [agents]uint64
	var waiting sync.WaitGroup
	write := func(ctx context.Context, i int) {
		next[i]++
		w := h.Write(agent(byte(i)).String(), next[i])
		doc := document(t, policy.Draft{Name: fmt.Sprint("v", next[i])})
		receipt, err := stores[i].PutAsync(ctx, agent(byte(i)), doc)
		if err != nil {
			return
		}
		w.Committed()
		if receipt.Executed() {
			w.Executed()
		}
		waiting.Go(func() {
			if err := receipt.Wait(ctx); err != nil {
				t.Errorf("Wait: %v", err)
				return
			}
			w.InForce()
		})
	}
	for i := range stores {
		stores[i] = f.open(t)
		write(t.Context(), i)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	for i := range stores {
		running.Go(func() {
			for every := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-every.C {
				write(context.WithoutCancel(ctx), i)
			}
		})
		for range 2 {
			running.Go(func() {
				for every := time.NewTicker(2 * time.Millisecond); ctx.Err() == nil; <-every.C {
					id := agent(byte(rand.IntN(agents)))
					r := h.Read(id.String(), history.Read{Process: strconv.Itoa(i)})
					doc, err := stores[i].Get(context.WithoutCancel(ctx), id)
					switch {
					case err == nil:
						version, _ := strconv.ParseUint(strings.TrimPrefix(doc.Name(), "v"), 10, 64)
						r.Answered(version)
					case errors.Is(err, readthrough.ErrNotFound) || !errors.Is(err, readthrough.ErrUnavailable):
						t.Errorf("%v", err)
					}
				}
			})
		}
	}
	rounds, over := 0, time.After(load(t))
	for enough := false; !enough; rounds++ {
		<-time.After(bound)
		server.Stop(t)
		<-time.After(2 * bound)
		server.Start(t)
		<-time.After(bound)
		select {
		case <-over:
			enough = true
		default:
		}
	}
	cancel()
	running.Wait()

	// What is committed is what all answer in the end.
	for i := range stores {
		write(t.Context(), i)
		waiting.Wait()
		for _, s := range stores {
			if doc, err := s.Get(t.Context(), agent(byte(i))); err != nil || doc.Name() != fmt.Sprint("v", next[i]) {
				t.Errorf("%v, %v; want v%d", doc, err, next[i])
			}
		}
	}
	report := h.Check(bound)
	t.Logf("%d crashes: %s", rounds, report)
	if len(report.Violations) > 0 {
		t.Error("a promise was broken")
	}
	if report.Failed == 0 || report.Reads-report.Failed < 20 {
		t.Error("the run proves nothing")
	}
}

// load is how long the database goes on crashing: as the scenarios of package faults.
func load(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("LAYERCACHE_FAULTS")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("LAYERCACHE_FAULTS: %v", err)
	}
	return d
}
