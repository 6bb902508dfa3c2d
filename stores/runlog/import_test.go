package runlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

type redisClient = redis.UniversalClient

// original writes a run as the original system does: INCR, then XADD with an id that is a time.
func original(t testing.TB, client redisClient, run string, n int, session string) string {
	t.Helper()
	for i := range n {
		originalEntry(t, client, run, uint64(i+1), session)
	}
	client.Set(t.Context(), "run:"+run+":seq", n, 0)
	if session != "" {
		client.Set(t.Context(), "run:"+run+":session", session, 0)
	}
	return run
}

func originalEntry(t testing.TB, client redisClient, run string, seq uint64, session string) {
	t.Helper()
	e := runlog.Envelope{
		EventID: runlog.NewEventID(), Seq: seq, RunID: run, SessionID: session,
		Event: json.RawMessage(fmt.Sprintf(`{"TextDelta":{"delta":"%d"}}`, seq)), EmittedAt: time.Unix(int64(seq), 0),
	}
	data := string(e.AppendJSON(nil))
	originalData(t, client, run, " "+strings.Replace(data, ":", ": ", 3)) // not in our form
}

func originalData(t testing.TB, client redisClient, run, data string) {
	t.Helper()
	if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: "run:" + run, Values: []string{"data", data}}).Err(); err != nil {
		t.Fatal(err)
	}
}

func imports(t testing.TB, s *runlog.Store, client redisClient, run string) runlog.Imported {
	t.Helper()
	got, err := s.Import(t.Context(), runlog.Original{Client: client}, run)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	return got
}

func TestAnImportedRunKeepsNumbersIDsTimesAndBytes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		run := original(t, client, "0197a4b2-0000-7000-8000-000000000001", 1500, "s1")
		for name, s := range map[string]*runlog.Store{"redis": linked(t, client), "memory": open(t, runlog.Config{Backend: &runlog.Memory{}})} {
			got := imports(t, s, client, run)
			if got.Added != 1500 || got.Present != 0 || got.LastSeq != 1500 || got.Session != "s1" || got.Holes != nil || got.Faults != nil {
				t.Fatalf("%s: %+v", name, got)
			}
			page := list(t, s, run, 0, 2000)
			entries := client.XRange(t.Context(), "run:"+run, "-", "+").Val()
			if len(page.Events) != 1500 {
				t.Fatalf("%s: %d events", name, len(page.Events))
			}
			for i, e := range page.Events {
				want, err := runlog.ParseEnvelope([]byte(entries[i].Values["data"].(string)))
				if err != nil || string(e.AppendJSON(nil)) != string(want.AppendJSON(nil)) {
					t.Fatalf("%s: %+v, want %+v, %v", name, e, want, err)
				}
			}
			if again := imports(t, s, client, run); again.Added != 0 || again.Present != 1500 {
				t.Errorf("%s: again: %+v", name, again)
			}
			if next := add(t, s, run, text("x")); next[0].Seq != 1501 || next[0].SessionID != "s1" {
				t.Errorf("%s: %+v", name, next)
			}
			if id, err := s.Session(t.Context(), run); id != "s1" || err != nil {
				t.Error(id, err)
			}
		}
		if n := client.XLen(t.Context(), "run:"+run).Val(); n != 1500 {
			t.Errorf("the original has %d entries", n)
		}
	})
}

func TestWhatAnEnvelopeHoldsIsNotInTheErrorOfReadingIt(t *testing.T) {
	for field, change := range map[string][2]string{
		"emitted_at": {`"emitted_at":"2`, `"emitted_at":"sk-live-7`},
		"seq":        {`"seq":1`, `"seq":77777777777777777777777777771`},
		"range":      {`"seq":1`, `"seq":7777777777777777771`},
		"run_id":     {`"run_id":"r"`, `"run_id":777777777777777`},
		"event_id":   {`"event_id":"`, `"event_id":"sk-live-7`},
	} {
		e := runlog.Envelope{EventID: runlog.NewEventID(), Seq: 1, RunID: "r", Event: json.RawMessage(`"A"`), EmittedAt: time.Unix(0, 0)}
		data := strings.Replace(strings.Replace(string(e.AppendJSON(nil)), "1970", "2970", 1), change[0], change[1], 1)
		_, err := runlog.ParseEnvelope([]byte(data))
		if err == nil || strings.Contains(err.Error(), "sk-live") || strings.Contains(err.Error(), "7777") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Must not repeat: entries that cannot be decoded skipped silently; silent gaps.
func TestAnImportReportsHolesAndWhatItCannotRead(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		for _, seq := range []uint64{4, 3, 6, 5} { // out of order, and 1 and 2 are trimmed
			originalEntry(t, client, "r", seq, "s1")
		}
		originalData(t, client, "r", "{")
		originalEntry(t, client, "r", 8, "s1") // 7 is what was undecodable
		originalEntry(t, client, "r", 8, "s1")
		originalData(t, client, "r", golden) // another run's
		client.XAdd(t.Context(), &redis.XAddArgs{Stream: "run:r", Values: []string{"x", "y"}})
		client.Set(t.Context(), "run:r:seq", 10, 0)
		s := linked(t, client)
		got := imports(t, s, client, "r")
		if got.Added != 5 || got.LastSeq != 10 || len(got.Faults) != 4 || got.Session != "s1" ||
			!slices.Equal(got.Holes, []runlog.Range{{1, 2}, {7, 7}, {9, 10}}) {
			t.Fatalf("%+v", got)
		}
		for _, f := range got.Faults {
			if n := client.XRange(t.Context(), "run:r", f.Entry, f.Entry).Val(); len(n) != 1 || f.Err == nil {
				t.Errorf("%+v", f)
			}
		}
		var read []string
		for at := (runlog.Cursor{}); ; {
			page, err := s.ListAfter(t.Context(), "r", at, 100)
			if trimmed, ok := errors.AsType[*runlog.TrimmedError](err); ok {
				read = append(read, fmt.Sprintf("-%d", trimmed.First))
				at = trimmed.Resume()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				read = append(read, fmt.Sprint(e.Seq))
			}
			if at = page.Next; !page.HasMore {
				break
			}
		}
		if want := "-3 3 4 5 6 -8 8 -11"; strings.Join(read, " ") != want {
			t.Errorf("%v, want %s", read, want)
		}
		if e := add(t, s, "r", text("x")); e[0].Seq != 11 {
			t.Errorf("%+v", e)
		}
	})
}

func TestAnImportGoesOnWhereItStopped(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	original(t, client, "r", 2500, "s1")
	failing := &meddler{Backend: onRedis(t, client), failAfter: 3}
	s := open(t, runlog.Config{Backend: failing})
	got, err := s.Import(t.Context(), runlog.Original{Client: client}, "r")
	if !errors.Is(err, readthrough.ErrUnavailable) || got.Added == 0 || got.Added >= 2500 {
		t.Fatalf("%+v, %v", got, err)
	}
	failing.failAfter = 1 << 30
	again := imports(t, s, client, "r")
	if again.Added != 2500-got.Added || again.Present != got.Added {
		t.Fatalf("%+v after %+v", again, got)
	}
	if p := list(t, s, "r", 0, 5000); len(p.Events) != 2500 {
		t.Fatal(len(p.Events))
	}
}

func TestAnImportInWhoseMidstTheRunIsLostSaysSoAndTheNextMakesItWhole(t *testing.T) {
	client := redistest.Start(t).Client()
	const n, last = 600, 100
	original(t, client, "r", n, "s1")
	kept := map[string]string{}
	copied := func() { // as a replica has it that does not hear of what follows
		for _, key := range client.Keys(t.Context(), "{runs:r}:*").Val() {
			kept[key] = client.Dump(t.Context(), key).Val()
		}
	}
	failover := func() {
		for key, value := range kept {
			if err := client.RestoreReplace(t.Context(), key, time.Hour, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		backend runlog.Backend
		before  func(remove func()) map[int]func() // three batches, and the facts
	}{
		"deleted, in Redis":  {onRedis(t, client), func(remove func()) map[int]func() { return map[int]func(){last - 1: remove} }},
		"deleted, in memory": {&runlog.Memory{}, func(remove func()) map[int]func() { return map[int]func(){last - 1: remove} }},
		"deleted at the end": {onRedis(t, client), func(remove func()) map[int]func() { return map[int]func(){last - 3: remove} }},
		"a batch is lost":    {onRedis(t, client), func(func()) map[int]func() { return map[int]func(){last - 1: copied, last - 2: failover} }},
	} {
		t.Run(name, func(t *testing.T) {
			remove := func() {
				if err := test.backend.Delete(t.Context(), "r"); err != nil {
					t.Fatal(err)
				}
			}
			remove()
			s := open(t, runlog.Config{Backend: &meddler{Backend: test.backend, failAfter: last, before: test.before(remove)}})
			if got, err := s.Import(t.Context(), runlog.Original{Client: client}, "r"); !errors.Is(err, runlog.ErrRestarted) {
				t.Errorf("%+v, %v", got, err)
			}
			again := imports(t, s, client, "r")
			if p := list(t, s, "r", 0, n); len(p.Events) != n {
				t.Errorf("%+v, and the run has %d of %d events", again, len(p.Events), n)
			}
		})
	}
}

// originalLong writes an entry of an original run with an event of so many bytes.
func originalLong(t testing.TB, client redisClient, seq uint64, size int) {
	t.Helper()
	e := runlog.Envelope{
		EventID: runlog.NewEventID(), Seq: seq, RunID: "r", EmittedAt: time.Unix(int64(seq), 0),
		Event: json.RawMessage(`{"X":"` + strings.Repeat("x", size-8) + `"}`),
	}
	originalData(t, client, "r", string(e.AppendJSON(nil)))
}

// A busy machine may be too slow for one of its round trips now and then.
func TestARunOfLongEntriesIsImportedWithinTheDefaultTimeouts(t *testing.T) {
	server := redistest.Start(t)
	const n = 320
	for seq := range uint64(n) {
		size := 300 << 10
		if seq >= 300 {
			size = runlog.MaxEvent
		}
		originalLong(t, server.Client(), seq+1, size)
	}
	client := hasty(t, server.Addr())
	s := open(t, runlog.Config{Backend: onRedis(t, client)})
	added, idle := 0, 0
	for {
		got, err := s.Import(t.Context(), runlog.Original{Client: client}, "r")
		if added += got.Added; err == nil {
			break
		}
		if idle++; got.Added > 0 {
			idle = 0
		}
		if !errors.Is(err, readthrough.ErrUnavailable) || idle == 3 {
			t.Fatalf("%d added: %v", added, err)
		}
	}
	if p := list(t, open(t, runlog.Config{Backend: onRedis(t, server.Client())}), "r", n-1, 1); p.LastSeq != n || len(p.Events) != 1 {
		t.Errorf("%+v", p)
	}
}

// What an import holds and hands on at once is bounded by bytes too.
func TestAnImportHandsLongEntriesOnInSmallBatchesAndEarly(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	for seq := range uint64(100) {
		originalLong(t, client, seq+1, runlog.MaxEvent)
	}
	backend := &meddler{Backend: &runlog.Memory{}}
	s := open(t, runlog.Config{Backend: backend})
	before := redistest.CountCommands(t, client)
	if _, err := s.Import(t.Context(), runlog.Original{Client: client}, "r"); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatal(err)
	}
	if got := redistest.CountCommands(t, client).Since(before); got["xrange"] > 4 { // 16 each
		t.Errorf("%d reads before anything is handed on", got["xrange"])
	}
	backend.failAfter = 1 << 30
	if got := imports(t, s, client, "r"); got.Added != 100 || backend.longest > 3<<20 {
		t.Errorf("%+v, %d bytes in a batch", got, backend.longest)
	}
}

// An entry may be longer than an event may be.
func TestAnImportHoldsNoMoreThanItsWindowAndOneRead(t *testing.T) {
	client := mini(t)
	for seq := range uint64(10) {
		originalLong(t, client, seq+1, 4<<20)
	}
	originalData(t, client, "r", "{") // in the same read, and after more than the window
	s := open(t, runlog.Config{Backend: &meddler{}})
	got, err := s.Import(t.Context(), runlog.Original{Client: client}, "r")
	if !errors.Is(err, readthrough.ErrUnavailable) || got.Faults != nil {
		t.Errorf("%v, but first it has taken the whole read: %+v", err, got)
	}
}

// Every later event would have it, and be undecodable.
func TestAnImportedRunTakesNoSessionThatIsTooLong(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		long := runlog.Envelope{
			EventID: runlog.NewEventID(), Seq: 1, RunID: "r", EmittedAt: time.Unix(1, 0),
			Event: start(strings.Repeat("s", runlog.MaxSession+1)).Body,
		}
		originalData(t, client, "r", string(long.AppendJSON(nil)))
		for name, s := range map[string]*runlog.Store{"redis": linked(t, client), "memory": open(t, runlog.Config{Backend: &runlog.Memory{}})} {
			if got := imports(t, s, client, "r"); got.Added != 1 || got.Session != "" {
				t.Errorf("%s: %d added, a session of %d bytes", name, got.Added, len(got.Session))
			}
			add(t, s, "r", start("s1"))
			if p, err := s.ListAfter(t.Context(), "r", runlog.Cursor{Seq: 1}, 1); err != nil || len(p.Events) != 1 || p.Events[0].SessionID != "s1" {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
	})
}

// halting is a client whose reads of more than so many entries do not come in time.
type halting struct {
	redis.UniversalClient
	most  int64
	asked []int64
}

func (h *halting) XRangeN(ctx context.Context, stream, from, to string, count int64) *redis.XMessageSliceCmd {
	h.asked = append(h.asked, count)
	if count > h.most {
		return redis.NewXMessageSliceCmdResult(nil, os.ErrDeadlineExceeded)
	}
	return h.UniversalClient.XRangeN(ctx, stream, from, to, count)
}

func TestAnImportReadsFewerEntriesWhereTheyDoNotComeInTime(t *testing.T) {
	client := mini(t)
	original(t, client, "r", 9, "s1")
	s := open(t, runlog.Config{Backend: &runlog.Memory{}})
	slow := &halting{UniversalClient: client, most: 3}
	got, err := s.Import(t.Context(), runlog.Original{Client: slow}, "r")
	if err != nil || got.Added != 9 || !slices.Equal(slow.asked, []int64{16, 8, 4, 2, 2, 2, 2, 2, 2}) {
		t.Errorf("%+v, %v, asked for %v", got, err, slow.asked)
	}
	slow.most, slow.asked = 0, nil
	if _, err := s.Import(t.Context(), runlog.Original{Client: slow}, "r"); !errors.Is(err, readthrough.ErrUnavailable) || len(slow.asked) != 5 {
		t.Errorf("%v, asked for %v", err, slow.asked)
	}
}

// Last has to see what an import adds to a run that it remembers.
func TestLastIsNotBehindAnImport(t *testing.T) {
	client := mini(t)
	backend := &meddler{Backend: &runlog.Memory{}, failAfter: 1 << 30}
	s := open(t, runlog.Config{Backend: backend, TailTTL: 10 * time.Second})
	original(t, client, "r", 2, "s1")
	for n := 2; n < 5; n++ {
		imports(t, s, client, "r")
		if e := last(t, s); e.Seq != uint64(n) {
			t.Errorf("the last event is %d after an import of %d", e.Seq, n)
		}
		originalEntry(t, client, "r", uint64(n+1), "s1")
		client.Set(t.Context(), "run:r:seq", n+1, 0)
	}
	backend.failAfter = 1 // it stops when its events are in
	if got, err := s.Import(t.Context(), runlog.Original{Client: client}, "r"); err == nil || got.Added != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if e := last(t, s); e.Seq != 5 {
		t.Errorf("the last event is %d after an import of 5 that failed", e.Seq)
	}
}

func TestAnImportOverOtherEventsIsRefusedAndOneOfNothingIsAbsent(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		s := linked(t, client)
		if _, err := s.Import(t.Context(), runlog.Original{Client: client}, "r"); !errors.Is(err, readthrough.ErrNotFound) {
			t.Error(err)
		}
		original(t, client, "r", 3, "s1")
		add(t, s, "r", text("x"))
		if _, err := s.Import(t.Context(), runlog.Original{Client: client}, "r"); !errors.Is(err, runlog.ErrConflict) {
			t.Error(err)
		}
		if p := list(t, s, "r", 0, 10); p.LastSeq != 1 {
			t.Errorf("%+v", p)
		}
		if _, err := s.Import(t.Context(), runlog.Original{}, "r"); err == nil {
			t.Error("no client is needed")
		}
		if _, err := s.Import(t.Context(), runlog.Original{Client: client, Prefix: "a*"}, "r"); err == nil {
			t.Error("any prefix will do")
		}
		client.Set(t.Context(), "run:odd:seq", "99999999999999999999", 0)
		if _, err := s.Import(t.Context(), runlog.Original{Client: client}, "odd"); err == nil ||
			errors.Is(err, readthrough.ErrNotFound) {
			t.Error(err)
		}
	})
}

func goldenLines(t testing.TB, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(data), "\n"), "\n")
}

// The original's layout as its own processes write it, all kinds of events among them.
func TestTheOriginalsGoldenRunIsImported(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		const run = "0197a4b2-0000-7000-8000-000000000001"
		for _, line := range goldenLines(t, "original.redis") {
			var args []any
			if err := json.Unmarshal([]byte(line), &args); err != nil {
				t.Fatal(err)
			}
			if err := client.Do(t.Context(), args...).Err(); err != nil {
				t.Fatal(line, err)
			}
		}
		s := linked(t, client)
		got := imports(t, s, client, run)
		page := list(t, s, run, 0, 100)
		if got.Added != 19 || got.Faults != nil || got.Holes != nil || got.Session != "5e551011-0000-4000-8000-000000000001" ||
			!page.Ended {
			t.Fatalf("%+v", got)
		}
		entries := client.XRange(t.Context(), "run:"+run, "-", "+").Val()
		for i, rec := range client.XRange(t.Context(), "{runs:"+run+"}:events", "-", "+").Val() {
			if rec.ID != fmt.Sprintf("%d-0", i+1) || rec.Values["data"] != entries[i].Values["data"] {
				t.Errorf("%s: %v, want %v", rec.ID, rec.Values, entries[i].Values)
			}
		}
		kinds := map[string]bool{}
		for _, e := range page.Events {
			kinds[e.Kind()] = true
		}
		if len(kinds) != 19 || !kinds["SomethingNew"] {
			t.Errorf("%v", kinds)
		}
	})
}

// Our own layout, written by an earlier version of the library.
func TestOurGoldenRunIsReadAndWrittenTheSame(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redisClient, _ bool) {
		const run = "r/1"
		for _, line := range goldenLines(t, "ours.redis") {
			var args []any
			if err := json.Unmarshal([]byte(line), &args); err != nil {
				t.Fatal(err)
			}
			if err := client.Do(t.Context(), args...).Err(); err != nil {
				t.Fatal(line, err)
			}
		}
		s := linked(t, client)
		page := list(t, s, run, 0, 10)
		if len(page.Events) != 4 || page.Events[0].SessionID != "" || page.Events[3].SessionID != "s\"1" || page.Next.Life != "00112233aabbccdd" {
			t.Fatalf("%+v", page)
		}
		var again []runlog.Event
		for _, e := range page.Events {
			if first := add(t, s, run, runlog.Event{ID: e.EventID, Body: json.RawMessage(`"X"`)}); first[0].Seq != e.Seq {
				t.Errorf("%+v", first)
			}
			again = append(again, runlog.Event{ID: e.EventID, Body: e.Event, EmittedAt: e.EmittedAt})
		}
		fresh := "r/2"
		add(t, s, fresh, again[0])
		add(t, s, fresh, again[1])
		add(t, s, fresh, again[2:]...) // a block
		for _, at := range []string{"events", "meta", "ids"} {
			old, wrote := dump(t, client, "{runs:r%2F1}:"+at), dump(t, client, "{runs:r%2F2}:"+at)
			if wrote = strings.ReplaceAll(wrote, `r/2`, `r/1`); old != wrote {
				t.Errorf("%s:\n%s, was\n%s", at, wrote, old)
			}
		}
	})
}

// dump is a key's content, without what is random or a time.
func dump(t testing.TB, client redisClient, key string) string {
	t.Helper()
	ctx := t.Context()
	switch kind := client.Type(ctx, key).Val(); kind {
	case "stream":
		return fmt.Sprint(client.XRange(ctx, key, "-", "+").Val())
	case "zset":
		return fmt.Sprint(client.ZRangeWithScores(ctx, key, 0, -1).Val())
	case "hash":
		facts := client.HGetAll(ctx, key).Val()
		for _, changing := range []string{"life", "last", "mark", "marks"} {
			if v, ok := facts[changing]; !ok || v == "" && changing != "marks" {
				t.Errorf("%s has no %s", key, changing)
			}
			delete(facts, changing)
		}
		return fmt.Sprint(facts)
	default:
		t.Errorf("%s is a %s", key, kind)
		return ""
	}
}

// FuzzImport looks for entries of an original run that make the import panic, or that it neither adds nor reports.
func FuzzImport(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(golden, `"r1"`, `"r"`)), []byte("{"))
	f.Add([]byte(golden), []byte(golden))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		m, client := redistest.Mini(t)
		defer m.Close()
		originalData(t, client, "r", string(first))
		originalData(t, client, "r", string(second))
		s := open(t, runlog.Config{Backend: &runlog.Memory{}})
		got, err := s.Import(t.Context(), runlog.Original{Client: client}, "r")
		if err != nil || got.Added+len(got.Faults) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}
