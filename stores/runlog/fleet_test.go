package runlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
)

// childVariable makes this test binary an appending process: the Redis it appends to, and its number.
const childVariable = "LAYERCACHE_RUNLOG_CHILD"

const (
	processes  = 4
	goroutines = 100 // of each process
	perCaller  = 5   // batches of each goroutine; the n-th has 1 + n mod 3 events
)

// appendAsChild is the whole of a child process. Every event is appended twice, as after a lost answer.
func appendAsChild(order string) int {
	address, number, _ := strings.Cut(order, " ")
	client, err := l2.NewClient(patient(address))
	if err != nil {
		return 1
	}
	backend, err := runlog.NewRedis(runlog.RedisConfig{Client: client})
	if err != nil {
		return 1
	}
	store, err := runlog.New(runlog.Config{Backend: backend})
	if err != nil {
		return 1
	}
	ctx := context.Background()
	var all sync.WaitGroup
	for caller := range goroutines {
		all.Go(func() {
			n := 0
			for batch := range perCaller {
				var events []runlog.Event
				for range 1 + batch%3 {
					events = append(events, text(fmt.Sprintf("%s-%d/%d", number, caller, n)))
					n++
				}
				for range 2 {
					if _, err := store.AppendBatch(ctx, "r", events); err != nil {
						fmt.Fprintln(os.Stderr, err)
						os.Exit(1)
					}
				}
			}
		})
	}
	all.Wait()
	return 0
}

// Must not repeat: order or holes broken by concurrent appenders.
func TestFourProcessesOf100AppendersLeaveNoHoleAndKeepTheirOrder(t *testing.T) {
	server := redistest.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, runlog.Config{Backend: onRedis(t, server.Client()), MaxEvents: 100_000})
	f := follow(t, s, "r", runlog.Cursor{})
	var all sync.WaitGroup
	for number := range processes {
		child := exec.Command(self)
		child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", childVariable, server.Addr(), number))
		child.Stderr = os.Stderr
		all.Go(func() {
			if err := child.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	add(t, s, "r", end())
	if err := f.ended(); err != nil {
		t.Fatal(err)
	}
	each := 0
	for batch := range perCaller {
		each += 1 + batch%3
	}
	total := processes*goroutines*each + 1
	f.exactly(1, uint64(total))
	next := map[string]int{}
	for _, e := range f.events[:total-1] {
		var body struct{ TextDelta struct{ Delta string } }
		if err := json.Unmarshal(e.Event, &body); err != nil {
			t.Fatal(err)
		}
		caller, n, _ := strings.Cut(body.TextDelta.Delta, "/")
		if n != fmt.Sprint(next[caller]) {
			t.Fatalf("%s's event %s comes as its %d", caller, n, next[caller])
		}
		next[caller]++
	}
	if len(next) != processes*goroutines {
		t.Errorf("%d callers", len(next))
	}
}
