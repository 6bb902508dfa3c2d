package runlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

type change = func(*runlog.Config)

func TestAppendAnswersTheEnvelopeThatIsStored(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect()
		events := []runlog.Event{text("0"), start("s1"), text("1"), {Body: json.RawMessage(` {"Unknown": [1.0] } `)}, end()}
		got := add(t, s, "r", events[:2]...)
		for _, e := range events[2:] {
			one, err := s.Append(t.Context(), "r", e)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, one)
		}
		page := list(t, connect(), "r", 0, 100)
		if len(page.Events) != 5 || page.HasMore || page.LastSeq != 5 || !page.Ended || page.Next != got[4].Cursor() {
			t.Fatalf("%+v", page)
		}
		for i, e := range page.Events {
			session := "s1"
			if i == 0 {
				session = ""
			}
			if string(e.AppendJSON(nil)) != string(got[i].AppendJSON(nil)) || e.Seq != uint64(i+1) || e.RunID != "r" ||
				e.SessionID != session || e.Cursor() != got[i].Cursor() || !e.EmittedAt.Equal(got[i].EmittedAt) || e.EventID == (runlog.EventID{}) {
				t.Errorf("%+v, want %+v", e, got[i])
			}
		}
		if string(page.Events[3].Event) != `{"Unknown": [1.0] }` {
			t.Errorf("%s", page.Events[3].Event)
		}
	})
}

func TestAppendingAgainAnswersTheFirstEnvelope(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect()
		first := add(t, s, "r", text("0"), text("1"))
		other := text("other")
		other.ID = first[1].EventID
		again := add(t, connect(), "r", text("2"), other, text("3"), other)
		for _, e := range []runlog.Envelope{again[1], again[3]} {
			if string(e.AppendJSON(nil)) != string(first[1].AppendJSON(nil)) {
				t.Errorf("%+v", e)
			}
		}
		if again[0].Seq != 3 || again[2].Seq != 4 {
			t.Errorf("%+v", again)
		}
		twice := text("twice")
		if both := add(t, s, "r", twice, twice); both[0].Seq != 5 || both[1].Seq != 5 {
			t.Errorf("%+v", both)
		}
	})
}

func TestAnEndedRunTakesNoNewEvent(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect()
		last := end()
		add(t, s, "r", text("0"), last)
		if _, err := s.Append(t.Context(), "r", text("1")); !errors.Is(err, runlog.ErrEnded) {
			t.Error(err)
		}
		if e := add(t, s, "r", last); e[0].Seq != 2 {
			t.Errorf("%+v", e)
		}
	})
}

// Must not repeat: three round trips per event.
func TestAppendIsOneRoundTripAndSoIsABatch(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client)})
	add(t, s, "r", text("0"))
	list(t, s, "r", 0, 1) // the server knows the scripts from now on
	for _, events := range [][]runlog.Event{texts(1), texts(64)} {
		before := redistest.CountCommands(t, client)
		add(t, s, "r", events...)
		got := redistest.CountCommands(t, client).Since(before)
		if got.Scripts() != 1 || got["xadd"] != 1 || got["get"]+got["set"]+got["incr"]+got["multi"] != 0 {
			t.Errorf("%d events: %v", len(events), got)
		}
	}
	long := text(strings.Repeat("x", 20<<10))
	before := redistest.CountCommands(t, client)
	add(t, s, "r", long, runlog.Event{Body: long.Body}, runlog.Event{Body: long.Body})
	if got := redistest.CountCommands(t, client).Since(before); got.Scripts() != 1 || got["xadd"] != 3 {
		t.Errorf("events that are too long for one entry: %v", got)
	}
	again := texts(64)
	add(t, s, "r", again...)
	before = redistest.CountCommands(t, client)
	add(t, s, "r", again...)
	if got := redistest.CountCommands(t, client).Since(before); got.Scripts() != 1 || got["xrange"] != 1 || got["xadd"] != 0 {
		t.Errorf("a batch that is there: %v", got)
	}
	before = redistest.CountCommands(t, client)
	list(t, s, "r", 3, 10)
	if got := redistest.CountCommands(t, client).Since(before); got.Scripts() != 1 {
		t.Errorf("list: %v", got)
	}
}

// Must not repeat: entries that cannot be decoded skipped silently.
func TestAnUndecodableEntryIsNamedAndEndsThePageBeforeIt(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client), TailTTL: -1})
	id := runlog.NewEventID().String()
	rest := `,"event":{"X":1},"emitted_at":"2026-11-21T12:00:00Z"}`
	between := `,"run_id":"THIS","session_id":null`
	fine := []string{"ids", id, "lengths", strconv.Itoa(len(rest)), "between", strings.Replace(between, "THIS", "r", 1), "events", rest}
	if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "{runs:r}:events", ID: "1-0", Values: fine}).Err(); err != nil {
		t.Fatal(err)
	}
	client.HSet(t.Context(), "{runs:r}:meta", "life", "00112233aabbccdd", "seq", 1)
	if p := list(t, s, "r", 0, 10); len(p.Events) != 1 { // so that what follows is spoilt and nothing else
		t.Fatalf("%+v", p)
	}
	for name, spoil := range map[string][]string{
		"another's":     {"ids", id, "lengths", strconv.Itoa(len(rest)), "between", strings.Replace(between, "THIS", "other", 1), "events", rest},
		"no JSON":       {"data", "{"},
		"other fields":  {"x", "y"},
		"short ids":     {"ids", id[1:], "lengths", strconv.Itoa(len(rest)), "between", between, "events", rest},
		"short events":  {"ids", id, "lengths", strconv.Itoa(len(rest) + 1), "between", between, "events", rest},
		"long events":   {"ids", id, "lengths", strconv.Itoa(len(rest)), "between", between, "events", rest + " "},
		"more lengths":  {"ids", id, "lengths", "1 " + strconv.Itoa(len(rest)-1), "between", between, "events", rest},
		"no lengths":    {"ids", "", "lengths", "", "between", between, "events", ""},
		"odd lengths":   {"ids", id, "lengths", "-1", "between", between, "events", rest},
		"no session":    {"ids", id, "lengths", strconv.Itoa(len(rest)), "between", "", "events", rest},
		"odd event":     {"ids", id, "lengths", "1", "between", between, "events", rest},
		"mixed fields":  {"ids", id, "lengths", strconv.Itoa(len(rest)), "between", between, "data", rest},
		"another field": {"data", string(add(t, s, "other", text("x"))[0].AppendJSON(nil)), "more", "x"},
		"another run's": {"data", string(add(t, s, "other2", text("x"), text("y"))[1].AppendJSON(nil))},
		"not an event":  {"data", strings.Replace(golden, `{"TextDelta":`, `[`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			run := strings.ReplaceAll(name, " ", "-")
			for i := range spoil {
				spoil[i] = strings.ReplaceAll(spoil[i], "THIS", run)
			}
			add(t, s, run, text("1"))
			key := "{runs:" + strings.ReplaceAll(run, "'", "%27") + "}:"
			if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: key + "events", ID: "2-0", Values: spoil}).Err(); err != nil {
				t.Fatal(err)
			}
			if err := client.HSet(t.Context(), key+"meta", "seq", 2).Err(); err != nil {
				t.Fatal(err)
			}
			if p := list(t, s, run, 0, 10); len(p.Events) != 1 || !p.HasMore || p.LastSeq != 2 {
				t.Fatalf("%+v", p)
			}
			_, err := s.ListAfter(t.Context(), run, runlog.Cursor{Seq: 1}, 10)
			bad, ok := errors.AsType[*runlog.DecodeError](err)
			if !ok || !errors.Is(err, runlog.ErrUndecodable) || bad.Seq != 2 || bad.Resume().Seq != 2 {
				t.Fatal(err)
			}
			if e, err := s.Last(t.Context(), run); !errors.Is(err, runlog.ErrUndecodable) {
				t.Errorf("%+v, %v", e, err)
			}
			seen := 0
			for e, err := range s.Follow(t.Context(), run, runlog.Cursor{}) {
				if err == nil {
					seen += int(e.Seq)
				} else if !errors.Is(err, runlog.ErrUndecodable) {
					t.Error(err)
				}
			}
			if seen != 1 {
				t.Errorf("%d", seen)
			}
		})
	}
}

func TestTenantsOfAMemoryDoNotSeeEachOther(t *testing.T) {
	shared := &runlog.Memory{}
	as := func(tenant string) *runlog.Store { return open(t, runlog.Config{Backend: shared, Tenant: tenant}) }
	a, b := as("a"), as("b")
	add(t, a, "r", start("s1"))
	if id, err := b.Session(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("session %q, %v", id, err)
	}
	if err := b.Delete(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if id, err := as("a").Session(t.Context(), "r"); id != "s1" || err != nil {
		t.Error(id, err)
	}
}

// Must not repeat: no way to delete a run.
func TestADeletedRunIsGoneInAllProcesses(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s, other := connect(), connect(func(c *runlog.Config) { c.TailTTL = -1 })
		add(t, s, "r", start("s1"))
		for _, s := range []*runlog.Store{s, other} {
			if id, err := s.Session(t.Context(), "r"); id != "s1" || err != nil {
				t.Fatal(id, err)
			}
		}
		if err := s.Delete(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*runlog.Store{s, other} {
			if id, err := s.Session(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
				t.Errorf("session %q, %v", id, err)
			}
			if e, err := s.Last(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
				t.Errorf("last %+v, %v", e, err)
			}
			if p := list(t, s, "r", 0, 10); len(p.Events) != 0 || p.LastSeq != 0 {
				t.Errorf("%+v", p)
			}
		}
		if err := s.Delete(t.Context(), "r"); err != nil {
			t.Error(err)
		}
	})
}

// What is told of one unreadable event is not told of the others, which are stored.
func TestABatchWithAnUnreadableEventThatIsThereStoresTheOthers(t *testing.T) {
	client := redistest.Start(t).Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client), TailTTL: 10 * time.Second})
	events := texts(3)
	add(t, s, "r", events[0])
	client.Del(t.Context(), "{runs:r}:events")
	if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "{runs:r}:events", ID: "1-0", Values: []string{"data", "{"}}).Err(); err != nil {
		t.Fatal(err)
	}
	all, err := s.AppendBatch(t.Context(), "r", events)
	if !errors.Is(err, runlog.ErrUndecodable) || all != nil || strings.Contains(err.Error(), "event 0") {
		t.Errorf("%+v, %v", all, err)
	}
	if p := list(t, s, "r", 1, 10); len(p.Events) != 2 || p.Events[1].EventID != events[2].ID {
		t.Errorf("%+v", p)
	}
	if e, err := s.Last(t.Context(), "r"); err != nil || e.Seq != 3 {
		t.Errorf("last %+v, %v", e, err)
	}
}

func TestLastIsTheTailAndNeverBehindOwnAppends(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s, other := connect(), connect()
		if _, err := s.Last(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Fatal(err)
		}
		for i := range 3 {
			add(t, s, "r", text("x"))
			if e, err := s.Last(t.Context(), "r"); err != nil || e.Seq != uint64(i+1) {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		if e, err := other.Last(t.Context(), "r"); err != nil || e.Seq != 3 {
			t.Fatalf("%+v, %v", e, err)
		}
		add(t, other, "r", text("x"))
		if e, err := other.Last(t.Context(), "r"); err != nil || e.Seq != 4 {
			t.Fatalf("%+v, %v", e, err)
		}
		redistest.Eventually(t, patience, "the other process's append", func() bool {
			e, err := s.Last(t.Context(), "r")
			return err == nil && e.Seq == 4
		})
	})
}

func TestAnUnknownRunIsEmptyAndNotAnError(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect()
		for _, after := range []uint64{0, 7} {
			if p := list(t, s, "r", after, 10); len(p.Events) != 0 || p.HasMore || p.LastSeq != 0 || p.Ended {
				t.Errorf("%+v", p)
			}
		}
		if _, err := s.Session(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Error(err)
		}
		add(t, s, "r", text("not started"))
		if _, err := s.Session(t.Context(), "r"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Error(err)
		}
		add(t, s, "r", start("s1"))
		if id, err := s.Session(t.Context(), "r"); id != "s1" || err != nil {
			t.Error(id, err)
		}
	})
}

func TestTenantsAreApart(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		stores := map[string]*runlog.Store{}
		for _, tenant := range []string{"", "a", "b"} {
			b, err := runlog.NewRedis(runlog.RedisConfig{Client: client, Tenant: tenant})
			if err != nil {
				t.Fatal(err)
			}
			stores[tenant] = open(t, runlog.Config{Backend: b, Tenant: tenant})
		}
		hostile := []string{"r", "@a:runs:r", "{@a:runs:r}:events", "*", "a:runs:r", "}:events"}
		for tenant, s := range stores {
			for _, run := range hostile {
				add(t, s, run, start("s-"+tenant), text("x"))
			}
		}
		for _, run := range hostile {
			if err := stores["b"].Delete(t.Context(), run); err != nil {
				t.Fatal(err)
			}
		}
		for tenant, s := range stores {
			for _, run := range hostile {
				p := list(t, s, run, 0, 10)
				want := map[bool]int{true: 0, false: 2}[tenant == "b"]
				if len(p.Events) != want || want > 0 && p.Events[0].SessionID != "s-"+tenant {
					t.Errorf("%q of %q: %+v", run, tenant, p)
				}
			}
		}
	})
}

func TestCallsAfterCloseAreErrClosed(t *testing.T) {
	s := open(t, runlog.Config{Backend: &runlog.Memory{}})
	ended := make(chan error, 1)
	go func() {
		for _, err := range s.Follow(t.Context(), "r", runlog.Cursor{}) {
			ended <- err
		}
	}()
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, readthrough.ErrClosed) {
		t.Errorf("a follower: %v", err)
	}
	_, appendErr := s.Append(t.Context(), "r", text("x"))
	_, listErr := s.ListAfter(t.Context(), "r", runlog.Cursor{}, 1)
	_, lastErr := s.Last(t.Context(), "r")
	_, sessionErr := s.Session(t.Context(), "r")
	for _, err := range []error{appendErr, listErr, lastErr, sessionErr, s.Delete(t.Context(), "r"), s.Ready(t.Context())} {
		if !errors.Is(err, readthrough.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestNewEventKeepsHTMLAndHasAnID(t *testing.T) {
	e, err := runlog.NewEvent(runlog.TextDelta, map[string]string{"delta": "<b>&"})
	if err != nil || string(e.Body) != `{"TextDelta":{"delta":"<b>&"}}` || e.ID == (runlog.EventID{}) {
		t.Errorf("%s, %v", e.Body, err)
	}
	if _, err := runlog.NewEvent("X", func() {}); err == nil {
		t.Error("a function is a payload")
	}
	for _, kind := range []string{runlog.RunCompleted, runlog.RunFailed, runlog.RunCancelled} {
		if !runlog.IsTerminal(kind) || runlog.IsTerminal(kind+"x") {
			t.Error(kind)
		}
	}
}

// Must not repeat: order or holes broken by concurrent appenders, where a batch fails in the middle.
func TestAFailedAppendStoresNothingAndSpendsNoNumber(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client)})
	add(t, s, "r", text("1"))
	server.Do("CONFIG", "SET", "maxmemory", "1")
	_, err := s.AppendBatch(t.Context(), "r", texts(10))
	if !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatalf("a full Redis: %v", err)
	}
	_, err = s.Append(t.Context(), "new", text("1"))
	if !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatalf("a full Redis: %v", err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	if p := list(t, s, "r", 0, 100); p.LastSeq != 1 || len(p.Events) != 1 {
		t.Fatalf("%+v", p)
	}
	if keys := client.Keys(t.Context(), "{runs:new*").Val(); len(keys) != 0 {
		t.Fatal(keys)
	}
	if e := add(t, s, "r", text("2")); e[0].Seq != 2 {
		t.Fatalf("%+v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(ctx, "r", text("3")); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := s.AppendBatch(t.Context(), "r", []runlog.Event{text("3"), end(), text("4")}); !errors.Is(err, runlog.ErrEnded) {
		t.Error(err)
	}
	if e := add(t, s, "r", text("3")); e[0].Seq != 3 {
		t.Fatalf("%+v", e)
	}
}
