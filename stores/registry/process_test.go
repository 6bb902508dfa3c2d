package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

// childAddr is set in a child process: the Redis whose agents it beats and reaps.
const childAddr = "LAYERCACHE_REGISTRY_CHILD"

func TestMain(m *testing.M) {
	if addr := os.Getenv(childAddr); addr != "" {
		if err := child(addr); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const (
	racers = 100 // goroutines of a process
	raced  = 16  // agents
)

// child beats, claims and reaps from 100 goroutines until its standard input ends. It registers and removes nobody.
func child(addr string) error {
	const patience = 10 * time.Second
	client, err := l2.NewClient(l2.ClientConfig{
		Addrs: []string{addr}, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	})
	if err != nil {
		return err
	}
	backend, err := registry.NewRedis(registry.RedisConfig{Client: client})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { // ends with the standard input
		_, _ = os.Stdin.Read(make([]byte, 1))
		stop()
	}()
	failed := make(chan error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			terms := registry.Terms{TTL: time.Minute}
			for ctx.Err() == nil {
				id := fmt.Sprint(rand.IntN(raced))
				var err error
				if i == 0 {
					_, _, err = backend.Reap(ctx, time.Millisecond, terms) // all the time, and everybody it may
				} else {
					_, _, err = backend.Beat(ctx, id, terms)
				}
				if err != nil && ctx.Err() == nil && !errors.Is(err, readthrough.ErrNotFound) {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return client.Close()
	}
}

// 4 processes of 100 goroutines each beat and reap 16 agents, while the test registers, changes and removes each of them:
// what it did last must be there, whatever they do beside it.
func TestHeartbeatsAndReapsOfManyProcessesLoseAndReviveNothing(t *testing.T) {
	server := redistest.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), childAddr+"="+server.Addr())
		input, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = input.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("a child: %v, %s", err, said.String())
			}
		}()
	}
	backend := onRedis(t, registry.RedisConfig{Client: server.Client()})
	terms := registry.Terms{TTL: time.Minute}
	eventually(t, "the children to beat", func() bool {
		return redistest.CountCommands(t, server.Client())["evalsha"] > 1000
	})
	var wg sync.WaitGroup
	until := time.Now().Add(3 * time.Second)
	for owner := range raced {
		wg.Go(func() {
			id := fmt.Sprint(owner)
			for round := 0; time.Now().Before(until); round++ {
				name := fmt.Sprint(round)
				if _, _, err := backend.Put(t.Context(), registry.Agent{ID: id, Name: name, Status: registry.Available, MaxLoad: 1000}, terms); err != nil {
					t.Error(err)
					return
				}
				for range 2 {
					if _, _, err := backend.Update(t.Context(), id, registry.Update{Kind: registry.SetLoad, Load: round}); err != nil {
						t.Error(err)
					}
				}
				if a, err := backend.Get(t.Context(), id); err != nil || a.Name != name || a.CurrentLoad != round {
					t.Errorf("registration %d of %s became %q with load %d, %v", round, id, a.Name, a.CurrentLoad, err)
				}
				if round%3 > 0 {
					continue
				}
				if _, err := backend.Delete(t.Context(), id); err != nil {
					t.Error(err)
				}
				for range 3 {
					if a, err := backend.Get(t.Context(), id); !errors.Is(err, readthrough.ErrNotFound) {
						t.Errorf("%s was removed and is back: %+v, %v", id, a, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// A reap judges what it has read; who beats between the reading and the marking is alive. Beside a reaper that may mark
// everybody, an agent that has just beaten must never be found offline for longer than until its next beat.
func TestAReapNeverMarksWhoHasBeatenSinceItLooked(t *testing.T) {
	redistestEach(t, func(t *testing.T, backend registry.Backend) {
		terms := registry.Terms{TTL: time.Minute}
		const silence = 300 * time.Millisecond
		if _, _, err := backend.Put(t.Context(), registry.Agent{ID: "a", Status: registry.Available}, terms); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		var mu sync.Mutex // guards heard
		heard := time.Now()
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if _, _, err := backend.Beat(ctx, "a", terms); err == nil {
					mu.Lock()
					heard = began
					mu.Unlock()
				}
			}
		})
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					mu.Lock()
					last := heard
					mu.Unlock()
					ids, _, err := backend.Reap(ctx, silence, terms)
					if err == nil && len(ids) > 0 && time.Since(last) < silence {
						t.Errorf("marked %s after a beat", time.Since(last))
					}
				}
			})
		}
		wg.Wait()
	})
}

func redistestEach(t *testing.T, test func(t *testing.T, backend registry.Backend)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, &registry.Memory{}) })
	t.Run("redis", func(t *testing.T) { test(t, onRedis(t, registry.RedisConfig{Client: redistest.Start(t).Client()})) })
}
