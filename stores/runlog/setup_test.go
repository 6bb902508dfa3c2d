package runlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
)

const patience = 30 * time.Second // how long what must happen is waited for

func open(t testing.TB, cfg runlog.Config) *runlog.Store {
	t.Helper()
	s, err := runlog.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Close(ctx) // with Redis gone it says what it could not deliver
	})
	return s
}

// linked makes a store as a process with Redis has it: a backend and a bus over one client.
func linked(t testing.TB, client redis.UniversalClient, change ...func(*runlog.Config)) *runlog.Store {
	t.Helper()
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close(context.Background()) })
	cfg := runlog.Config{Backend: onRedis(t, client), Link: link, Bound: 500 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	return open(t, cfg)
}

// everywhere runs a test over stores of each kind. connect makes a further store, as another process would have it.
func everywhere(t *testing.T, test func(t *testing.T, connect func(change ...func(*runlog.Config)) *runlog.Store)) {
	t.Run("memory", func(t *testing.T) {
		shared := &runlog.Memory{}
		test(t, func(change ...func(*runlog.Config)) *runlog.Store {
			cfg := runlog.Config{Backend: shared}
			for _, c := range change {
				c(&cfg)
			}
			return open(t, cfg)
		})
	})
	t.Run("miniredis", func(t *testing.T) {
		client := mini(t)
		test(t, func(change ...func(*runlog.Config)) *runlog.Store { return linked(t, client, change...) })
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Start(t)
		test(t, func(change ...func(*runlog.Config)) *runlog.Store { return linked(t, server.Client(), change...) })
	})
}

func text(s string) runlog.Event {
	return runlog.Event{ID: runlog.NewEventID(), Body: json.RawMessage(`{"TextDelta":{"delta":"` + s + `"}}`)}
}

func start(session string) runlog.Event {
	return runlog.Event{ID: runlog.NewEventID(), Body: json.RawMessage(`{"RunStarted":{"session_id":"` + session + `"}}`)}
}

func end() runlog.Event {
	return runlog.Event{ID: runlog.NewEventID(), Body: json.RawMessage(`{"RunCompleted":{}}`)}
}

func texts(n int) (all []runlog.Event) {
	for i := range n {
		all = append(all, text(fmt.Sprint(i)))
	}
	return all
}

func add(t testing.TB, s *runlog.Store, run string, events ...runlog.Event) []runlog.Envelope {
	t.Helper()
	all, err := s.AppendBatch(t.Context(), run, events)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return all
}

func list(t testing.TB, s *runlog.Store, run string, after uint64, limit int) runlog.Page {
	t.Helper()
	p, err := s.ListAfter(t.Context(), run, runlog.Cursor{Seq: after}, limit)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return p
}

// patient gives a busy test machine more time than the defaults do.
func patient(address string) l2.ClientConfig {
	return l2.ClientConfig{
		Addrs: []string{address}, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	}
}
