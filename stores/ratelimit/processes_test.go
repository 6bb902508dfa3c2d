package ratelimit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/ratelimit"
)

// asWorker makes this test binary a process that spends permits.
const asWorker = "LAYERCACHE_RATELIMIT_WORKER"

// job is what a worker is to do.
type job struct {
	Addr       string
	Mode       string // exact, leased, all
	Limit      ratelimit.Limit
	Block      int64
	Goroutines int
	For        time.Duration // 0: until denied
}

// tally is what a worker has seen.
type tally struct {
	Allowed int64
	Error   string
}

const workers = 4

// work is a worker: it says that it is ready, waits for a line, does its job and tells the tally.
func work(in io.Reader, out io.Writer) int {
	var j job
	orders, told := json.NewDecoder(in), json.NewEncoder(out)
	if orders.Decode(&j) != nil || told.Encode("ready") != nil {
		return 1
	}
	var start string
	if orders.Decode(&start) != nil {
		return 1
	}
	t := tally{}
	if err := j.do(&t.Allowed); err != nil {
		t.Error = err.Error()
	}
	if told.Encode(t) != nil {
		return 1
	}
	return 0
}

func (j job) do(allowed *int64) (err error) {
	const patient = 20 * time.Second // many processes on few cores
	ctx := context.Background()
	client, err := l2.NewClient(l2.ClientConfig{
		Addrs: []string{j.Addr}, ReadTimeout: patient, WriteTimeout: patient, DialTimeout: patient, PoolTimeout: patient,
	})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	backend, err := ratelimit.NewRedis(ratelimit.RedisConfig{Client: client})
	if err != nil {
		return err
	}
	store, err := ratelimit.New(ratelimit.Config{Backend: backend, Processes: workers, Timeout: patient})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close(ctx)) }()
	lease, err := store.Lease(ratelimit.LeaseConfig{Key: "k", Limit: j.Limit, Block: j.Block})
	if err != nil && j.Mode == "leased" {
		return err
	}
	one := func() (ratelimit.Result, error) {
		switch j.Mode {
		case "leased":
			return lease.Allow(ctx, 1)
		case "all":
			twice := j.Limit
			twice.Max *= 2
			v, err := store.AllowAll(ctx,
				ratelimit.Demand{Key: "agent", N: 1, Limit: twice}, ratelimit.Demand{Key: "k", N: 1, Limit: j.Limit})
			return v.Result, err
		default:
			return store.Allow(ctx, "k", 1, j.Limit)
		}
	}
	var sum, failed atomic.Int64
	var group sync.WaitGroup
	ends := time.Now().Add(j.For)
	for range j.Goroutines {
		group.Go(func() {
			for {
				switch r, err := one(); {
				case err != nil:
					failed.Add(1)
					return
				case r.Allowed:
					sum.Add(1)
				case j.For == 0:
					return
				default:
					<-time.After(min(r.RetryAfter, 5*time.Millisecond))
				}
				if j.For > 0 && time.Now().After(ends) {
					return
				}
			}
		})
	}
	group.Wait()
	*allowed = sum.Load()
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d goroutines failed", n)
	}
	return nil
}

// inProcesses lets workers spend at the same time, and answers how much was allowed, and in how long.
func inProcesses(t *testing.T, j job, meanwhile func()) (allowed int64, took time.Duration) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	type process struct {
		orders *json.Encoder
		told   *json.Decoder
		cmd    *exec.Cmd
	}
	var all []process
	for range workers {
		cmd := exec.CommandContext(ctx, self)
		cmd.Env, cmd.Stderr = append(os.Environ(), asWorker+"=1"), os.Stderr
		stdin, errIn := cmd.StdinPipe()
		stdout, errOut := cmd.StdoutPipe()
		if err := errors.Join(errIn, errOut); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p := process{json.NewEncoder(stdin), json.NewDecoder(stdout), cmd}
		all = append(all, p)
		var ready string
		if err := errors.Join(p.orders.Encode(j), p.told.Decode(&ready)); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for _, p := range all {
		if err := p.orders.Encode("start"); err != nil {
			t.Fatal(err)
		}
	}
	meanwhile()
	for i, p := range all {
		var got tally
		if err := p.told.Decode(&got); err != nil || got.Error != "" {
			t.Errorf("process %d: %v %s", i, err, got.Error)
		}
		t.Logf("process %d: %d", i, got.Allowed)
		allowed += got.Allowed
	}
	took = time.Since(began)
	for _, p := range all {
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	return allowed, took
}

func nothing() {}

func TestFourProcessesOfAHundredGoroutinesGetExactlyTheLimit(t *testing.T) {
	for _, j := range []job{
		{Mode: "exact", Limit: hour(4000)},
		// One comes back in two hours.
		{Mode: "exact", Limit: ratelimit.Limit{Max: 4000, Window: 8000 * time.Hour, Algorithm: ratelimit.GCRA}},
		{Mode: "all", Limit: hour(4000)},
		{Mode: "leased", Limit: hour(400_000), Block: 1000},
	} {
		t.Run(j.Mode+" "+j.Limit.Algorithm.String(), func(t *testing.T) {
			j.Addr, j.Goroutines = redistest.Start(t).Addr(), 100
			if allowed, _ := inProcesses(t, j, nothing); allowed != j.Limit.Max {
				t.Errorf("%d allowed, want %d", allowed, j.Limit.Max)
			}
		})
	}
}

// Windows do not overlap, so that many can have begun in the time that the test has measured around them.
func TestFourProcessesWithLeasesNeverExceedAnyWindow(t *testing.T) {
	j := job{
		Mode: "leased", Limit: ratelimit.Limit{Max: 20_000, Window: 100 * time.Millisecond}, Block: 1000,
		Goroutines: 100, For: 2 * time.Second, Addr: redistest.Start(t).Addr(),
	}
	allowed, took := inProcesses(t, j, nothing)
	windows := int64(took/j.Limit.Window) + 1
	t.Logf("%d allowed in %s: at most %d windows of %d", allowed, took, windows, j.Limit.Max)
	if allowed > windows*j.Limit.Max {
		t.Errorf("%d allowed in at most %d windows of %d", allowed, windows, j.Limit.Max)
	}
	if allowed < 2*j.Limit.Max {
		t.Errorf("%d allowed: not even two windows of %d", allowed, j.Limit.Max)
	}
}

func TestFourProcessesOvershootByAtMostABlockEachWhenRedisIsFlushed(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	j := job{Mode: "leased", Limit: hour(100_000), Block: 500, Goroutines: 100, Addr: server.Addr()}
	var spent int64
	allowed, _ := inProcesses(t, j, func() {
		eventually(t, "use of the window", func() bool {
			spent, _ = client.Get(t.Context(), "aa:ratelimit:k").Int64()
			return spent > 20_000
		})
		pipe := client.TxPipeline()
		last := pipe.Get(t.Context(), "aa:ratelimit:k")
		pipe.FlushAll(t.Context())
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Error(err)
		}
		spent, _ = last.Int64()
	})
	t.Logf("%d counted when it was flushed, %d allowed", spent, allowed)
	if least, most := j.Limit.Max, spent+j.Limit.Max; allowed < least || allowed > most {
		t.Errorf("%d allowed, want from %d to %d", allowed, least, most)
	}
}
