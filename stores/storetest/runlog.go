package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

// RunLogs runs the conformance suite of run log backends. open makes an empty backend; one that keeps time in its own way
// has to let it pass as fast as the wall clock does.
func RunLogs(t *testing.T, open func(t testing.TB) runlog.Backend) {
	for name, test := range map[string]func(runLogs){
		"numbers begin at 1 and have no holes":                 runLogs.numbers,
		"what is listed is what was stored":                    runLogs.bytes,
		"bytes are not shared with the caller":                 runLogs.unshared,
		"an unknown run is the zero slice":                     runLogs.unknown,
		"a list is what comes after, in order and no more":     runLogs.list,
		"a list ends early where many bytes come together":     runLogs.long,
		"the tail is the last record":                          runLogs.tail,
		"the session is on every event from the one that knew": runLogs.session,
		"an id that is there is answered with the first":       runLogs.idempotent,
		"a batch with an event after a terminal one is none":   runLogs.allOrNone,
		"an ended run takes old ids only":                      runLogs.ended,
		"old events go by number and the facts stay":           runLogs.maxEvents,
		"old events go by age":                                 runLogs.maxAge,
		"old events go by age where appends are rare":          runLogs.rare,
		"restored events go by their age here":                 runLogs.restoredAge,
		"numbers end and what is there stays":                  runLogs.full,
		"an id is forgotten with its event":                    runLogs.forgotten,
		"a run nobody appends to goes":                         runLogs.expires,
		"an append keeps the run":                              runLogs.rearms,
		"a run goes after its end":                             runLogs.endExpires,
		"a deleted run is gone and begins a new life":          runLogs.remove,
		"a batch of the greatest size is stored":               runLogs.greatest,
		"appenders at a time leave no hole and keep order":     runLogs.appenders,
		"retries at a time store an event once":                runLogs.retries,
		"a watcher is woken by appends and by deletion":        runLogs.watch,
		"runs are apart whatever their ids":                    runLogs.apart,
		"a restored run keeps numbers, ids and bytes":          runLogs.restore,
		"restoring again adds nothing":                         runLogs.restoreAgain,
		"restoring over other events is a conflict":            runLogs.conflict,
		"restoring on in a run that was lost is refused":       runLogs.restoreLost,
		"restoring what a batch has stored adds nothing":       runLogs.restoreBatch,
		"a restored run may have an id twice":                  runLogs.twice,
		"it agrees with a model":                               runLogs.model,
		"it agrees with a model about batches":                 runLogs.modelOfBatches,
		"a call whose context has ended is unavailable":        runLogs.context,
	} {
		t.Run(name, func(t *testing.T) { test(runLogs{T: t, b: open(t), keep: keepLong}) })
	}
}

var keepLong = runlog.Retention{MaxEvents: 1000, MaxAge: time.Hour, KeepAfterEnd: time.Hour}

// runLogs is a backend with the calls of the suite, which fail the test on an error.
type runLogs struct {
	*testing.T
	b    runlog.Backend
	keep runlog.Retention
}

var draftTime = time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)

func delta(text string) runlog.Draft {
	return runlog.Draft{ID: runlog.NewEventID(), Body: json.RawMessage(`{"TextDelta":{"delta":"` + text + `"}}`), EmittedAt: draftTime}
}

func started(session string) runlog.Draft {
	return runlog.Draft{
		ID: runlog.NewEventID(), Body: json.RawMessage(`{"RunStarted":{"session_id":"` + session + `"}}`), EmittedAt: draftTime, Session: session,
	}
}

func completed() runlog.Draft {
	return runlog.Draft{ID: runlog.NewEventID(), Body: json.RawMessage(`{"RunCompleted":{}}`), EmittedAt: draftTime, Terminal: true}
}

func deltas(n int) (all []runlog.Draft) {
	for i := range n {
		all = append(all, delta(fmt.Sprint(i)))
	}
	return all
}

func (s runLogs) append(run string, drafts ...runlog.Draft) runlog.Appended {
	s.Helper()
	a, err := s.b.Append(s.Context(), run, drafts, s.keep)
	if err != nil {
		s.Fatalf("append: %v", err)
	}
	if len(a.Events) != len(drafts) {
		s.Fatalf("append: %d answers to %d drafts", len(a.Events), len(drafts))
	}
	return a
}

func (s runLogs) slice(run string, after uint64, limit int) runlog.Slice {
	s.Helper()
	got, err := s.b.List(s.Context(), run, after, limit)
	if err != nil {
		s.Fatalf("list: %v", err)
	}
	return got
}

// envelopes answers every event of a run, decoded, and fails the test unless records and envelopes agree.
func (s runLogs) envelopes(run string) (all []runlog.Envelope) {
	s.Helper()
	for _, rec := range s.slice(run, 0, 100_000).Records {
		e, err := runlog.ParseEnvelope(rec.Data)
		if err != nil || e.Seq != rec.Seq || e.RunID != run {
			s.Fatalf("record %d: %v: %s", rec.Seq, err, rec.Data)
		}
		all = append(all, e)
	}
	return all
}

func seqs(records []runlog.Record) (all []uint64) {
	for _, rec := range records {
		all = append(all, rec.Seq)
	}
	return all
}

func (s runLogs) numbers() {
	for i, d := range deltas(3) {
		if a := s.append("r", d); a.Events[0].Seq != uint64(i+1) || a.Events[0].Stored != nil || a.Life == "" {
			s.Fatalf("%+v, want %d", a, i+1)
		}
	}
	a := s.append("r", deltas(5)...)
	for i, e := range a.Events {
		if e.Seq != uint64(i+4) {
			s.Fatalf("%+v", a)
		}
	}
	if got := s.slice("r", 0, 100); got.Seq != 8 || got.Ended || got.Life != a.Life || len(got.Records) != 8 {
		s.Fatalf("%+v", got)
	}
}

func (s runLogs) bytes() {
	run := "r\"\\\n\u2028é"
	bodies := []string{`{"X":  {"a":1.0e400, "html":"<&>", "b":"\ud800"} }`, `"Unit"`, "{\"U\":\"\xff\"}", `{"N":12345678901234567890123}`}
	var drafts []runlog.Draft
	for _, body := range bodies {
		drafts = append(drafts, runlog.Draft{ID: runlog.NewEventID(), Body: json.RawMessage(body), EmittedAt: draftTime})
	}
	s.append(run, drafts...)
	records := s.slice(run, 0, 10).Records
	for i, e := range s.envelopes(run) {
		if string(e.Event) != bodies[i] || !e.EmittedAt.Equal(draftTime) || e.EventID != drafts[i].ID || e.SessionID != "" {
			s.Errorf("%+v of %s", e, bodies[i])
		}
		if want := drafts[i].Record(run, uint64(i+1), ""); !bytes.Equal(records[i].Data, want) {
			s.Errorf("stored %s, want %s", records[i].Data, want)
		}
	}
}

func (s runLogs) unshared() {
	d := delta("text")
	s.append("r", d)
	want := d.Record("r", 1, "")
	for i := range d.Body {
		d.Body[i] = 'x'
	}
	for range 2 {
		got := s.slice("r", 0, 1).Records[0].Data
		if !bytes.Equal(got, want) {
			s.Fatalf("%s", got)
		}
		clear(got)
		tail, err := s.b.Tail(s.Context(), "r")
		if err != nil || !bytes.Equal(tail.Records[0].Data, want) {
			s.Fatalf("%+v, %v", tail, err)
		}
		clear(tail.Records[0].Data)
	}
	d = runlog.Draft{ID: d.ID, Body: json.RawMessage(`"Other"`), EmittedAt: draftTime}
	first := s.append("r", d).Events[0].Stored
	clear(first)
	if again := s.append("r", d).Events[0].Stored; !bytes.Equal(again, want) {
		s.Fatalf("%s", again)
	}
}

func (s runLogs) unknown() {
	for _, read := range []func() (runlog.Slice, error){
		func() (runlog.Slice, error) { return s.b.List(s.Context(), "r", 0, 10) },
		func() (runlog.Slice, error) { return s.b.List(s.Context(), "r", 7, 10) },
		func() (runlog.Slice, error) { return s.b.Tail(s.Context(), "r") },
	} {
		if got, err := read(); err != nil || got.Life != "" || got.Seq != 0 || got.Records != nil {
			s.Errorf("%+v, %v", got, err)
		}
	}
	if err := s.b.Delete(s.Context(), "r"); err != nil {
		s.Error(err)
	}
}

func (s runLogs) list() {
	s.append("r", deltas(200)...)
	for _, c := range []struct {
		after       uint64
		limit       int
		first, last uint64
	}{{0, 1, 1, 1}, {0, 200, 1, 200}, {0, 1000, 1, 200}, {199, 10, 200, 200}, {100, 63, 101, 163}, {100, 64, 101, 164}, {100, 65, 101, 165}, {10, 128, 11, 138}} {
		got := s.slice("r", c.after, c.limit)
		if n := len(got.Records); n != int(c.last-c.first+1) || got.Records[0].Seq != c.first || got.Records[n-1].Seq != c.last ||
			got.Seq != 200 {
			s.Errorf("after %d at most %d: %v", c.after, c.limit, seqs(got.Records))
		}
	}
	for _, after := range []uint64{200, 201, runlog.MaxSeq - 1, runlog.MaxSeq, 1<<64 - 1} {
		if got := s.slice("r", after, 10); len(got.Records) != 0 || got.Seq != 200 || got.Life == "" {
			s.Errorf("after %d: %+v", after, got)
		}
	}
}

func (s runLogs) long() {
	body := json.RawMessage(`{"X":"` + strings.Repeat("x", runlog.MaxEvent-100) + `"}`)
	const n = 12 // MiB, more than a page takes
	for range n {
		s.append("r", runlog.Draft{ID: runlog.NewEventID(), Body: body, EmittedAt: draftTime})
	}
	s.inPages("r", n)

	s.keep.MaxEvents = 10_000
	s.append("s", started(strings.Repeat("s", runlog.MaxSession))) // in every envelope
	for range 10 {
		s.append("s", deltas(1000)...)
	}
	s.inPages("s", 10_001)
}

// inPages reads a run of n events, which have more bytes than a page takes.
func (s runLogs) inPages(run string, n int) {
	s.Helper()
	var all []uint64
	for pages := 0; len(all) < n; pages++ {
		got := s.slice(run, uint64(len(all)), n).Records
		if len(got) == 0 || pages == 0 && len(got) == n {
			s.Fatalf("%d records in page %d", len(got), pages)
		}
		all = append(all, seqs(got)...)
	}
	if !slices.IsSorted(all) || all[n-1] != uint64(n) {
		s.Fatal(all)
	}
}

func (s runLogs) tail() {
	for i := range 3 {
		d := delta("x")
		s.append("r", d)
		got, err := s.b.Tail(s.Context(), "r")
		if err != nil || got.Seq != uint64(i+1) || len(got.Records) != 1 || got.Records[0].Seq != got.Seq ||
			!bytes.Equal(got.Records[0].Data, d.Record("r", got.Seq, "")) || got.Left <= 0 || got.Left > s.keep.MaxAge {
			s.Fatalf("%+v, %v", got, err)
		}
	}
}

func (s runLogs) session() {
	if a := s.append("r", delta("before")); a.Session != "" {
		s.Error(a.Session)
	}
	a := s.append("r", delta("1"), started(`s\"1`), delta("2"), started("other"))
	if a.Session != "" {
		s.Error(a.Session)
	}
	if a := s.append("r", delta("3")); a.Session != `s\"1` {
		s.Error(a.Session)
	}
	for i, e := range s.envelopes("r") {
		want := `s\"1`
		if i < 2 {
			want = ""
		}
		if e.SessionID != want {
			s.Errorf("event %d has %q", i+1, e.SessionID)
		}
	}
	if got := s.slice("r", 3, 1); got.Session != `s\"1` {
		s.Errorf("%+v", got)
	}
}

func (s runLogs) idempotent() {
	all := deltas(3)
	s.append("r", all[0])
	first := s.slice("r", 0, 1).Records[0].Data
	other := runlog.Draft{ID: all[0].ID, Body: json.RawMessage(`"Other"`), EmittedAt: draftTime.Add(time.Hour)}
	if a := s.append("r", other); !bytes.Equal(a.Events[0].Stored, first) {
		s.Errorf("%+v", a)
	}
	a := s.append("r", all[1], other, all[2], all[1])
	if a.Events[0].Seq != 2 || a.Events[0].Stored != nil || !bytes.Equal(a.Events[1].Stored, first) || a.Events[2].Seq != 3 ||
		a.Events[2].Stored != nil {
		s.Errorf("%+v", a)
	}
	if second := s.slice("r", 1, 1).Records[0].Data; !bytes.Equal(a.Events[3].Stored, second) {
		s.Errorf("%+v", a)
	}
	if n := len(s.envelopes("r")); n != 3 {
		s.Errorf("%d events", n)
	}
}

func (s runLogs) allOrNone() {
	s.append("r", delta("1"))
	_, err := s.b.Append(s.Context(), "r", []runlog.Draft{delta("2"), completed(), delta("3")}, s.keep)
	if !errors.Is(err, runlog.ErrEnded) {
		s.Fatal(err)
	}
	if got := s.slice("r", 0, 10); got.Seq != 1 || len(got.Records) != 1 || got.Ended {
		s.Fatalf("%+v", got)
	}
	_, err = s.b.Append(s.Context(), "new", []runlog.Draft{completed(), delta("3")}, s.keep)
	if got := s.slice("new", 0, 10); !errors.Is(err, runlog.ErrEnded) || got.Life != "" {
		s.Fatalf("%+v, %v", got, err)
	}
	if a := s.append("r", delta("2")); a.Events[0].Seq != 2 {
		s.Fatalf("a number was spent: %+v", a)
	}
}

func (s runLogs) ended() {
	first, end := delta("1"), completed()
	s.append("r", first, end)
	if got := s.slice("r", 0, 10); !got.Ended || got.Seq != 2 {
		s.Fatalf("%+v", got)
	}
	for _, d := range []runlog.Draft{delta("2"), completed()} {
		if _, err := s.b.Append(s.Context(), "r", []runlog.Draft{first, d}, s.keep); !errors.Is(err, runlog.ErrEnded) {
			s.Errorf("%v", err)
		}
	}
	if a := s.append("r", end, first); a.Events[0].Stored == nil || a.Events[1].Stored == nil {
		s.Errorf("%+v", a)
	}
}

func (s runLogs) full() {
	s.restoring("s", runlog.MaxSeq-2)
	for _, drafts := range [][]runlog.Draft{deltas(3), append(deltas(2), completed())} {
		if _, err := s.b.Append(s.Context(), "r", drafts, s.keep); !errors.Is(err, runlog.ErrFull) {
			s.Fatal(err)
		}
	}
	if got := s.slice("r", 0, 10); got.Seq != runlog.MaxSeq-2 || len(got.Records) != 0 {
		s.Fatalf("%+v", got)
	}
	last := deltas(2)
	if a := s.append("r", last...); a.Events[0].Seq != runlog.MaxSeq-1 || a.Events[1].Seq != runlog.MaxSeq {
		s.Fatalf("%+v", a)
	}
	for _, d := range []runlog.Draft{delta("x"), completed()} {
		if _, err := s.b.Append(s.Context(), "r", []runlog.Draft{d}, s.keep); !errors.Is(err, runlog.ErrFull) {
			s.Fatal(err)
		}
	}
	if a := s.append("r", last[1], last[0]); a.Events[0].Stored == nil || a.Events[1].Stored == nil {
		s.Fatalf("%+v", a)
	}
	if got := seqs(s.slice("r", runlog.MaxSeq-2, 10).Records); !slices.Equal(got, []uint64{runlog.MaxSeq - 1, runlog.MaxSeq}) {
		s.Fatal(got)
	}
}

func (s runLogs) remove() {
	d := delta("1")
	life := s.append("r", d, completed()).Life
	if err := s.b.Delete(s.Context(), "r"); err != nil {
		s.Fatal(err)
	}
	if got := s.slice("r", 0, 10); got.Life != "" {
		s.Fatalf("%+v", got)
	}
	if a := s.append("r", d); a.Events[0].Seq != 1 || a.Events[0].Stored != nil || a.Life == life || a.Session != "" {
		s.Fatalf("%+v", a)
	}
}

func (s runLogs) greatest() {
	s.keep.MaxEvents = 10_000
	all := deltas(runlog.MaxBatch)
	if a := s.append("r", all...); a.Events[runlog.MaxBatch-1].Seq != runlog.MaxBatch {
		s.Fatal(a.Events[runlog.MaxBatch-1])
	}
	a := s.append("r", all...)
	for i, e := range a.Events {
		if e.Stored == nil {
			s.Fatalf("event %d is there twice", i)
		}
	}
}

func (s runLogs) appenders() {
	const callers, each = 16, 25
	s.keep.MaxEvents = 10_000
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := 0; i < each; {
				batch := min(1+caller%3, each-i)
				var drafts []runlog.Draft
				for range batch {
					drafts = append(drafts, delta(fmt.Sprintf("%d/%d", caller, i)))
					i++
				}
				if _, err := s.b.Append(s.Context(), "r", drafts, s.keep); err != nil {
					s.Error(err)
				}
			}
		})
	}
	all.Wait()
	next := make([]int, callers)
	events := s.envelopes("r")
	for i, e := range events {
		var body struct {
			TextDelta struct{ Delta string }
		}
		var caller, n int
		_ = json.Unmarshal(e.Event, &body)
		if _, err := fmt.Sscanf(body.TextDelta.Delta, "%d/%d", &caller, &n); err != nil || e.Seq != uint64(i+1) || next[caller] != n {
			s.Fatalf("event %d: number %d, %s, want its caller's %d", i+1, e.Seq, e.Event, next[caller])
		}
		next[caller]++
	}
	if len(events) != callers*each {
		s.Fatalf("%d events", len(events))
	}
}

func (s runLogs) retries() {
	drafts := deltas(20)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, d := range drafts {
				if _, err := s.b.Append(s.Context(), "r", []runlog.Draft{d}, s.keep); err != nil {
					s.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i, e := range s.envelopes("r") {
		if e.EventID != drafts[i].ID {
			s.Errorf("event %d is %s", i+1, e.EventID)
		}
	}
	if got := s.slice("r", 0, 1); got.Seq != uint64(len(drafts)) {
		s.Errorf("%d numbers are spent", got.Seq)
	}
}

func (s runLogs) watch() {
	var woken, other atomic.Int64
	stop, err := s.b.Watch("r", func() { woken.Add(1) })
	if err != nil {
		s.Fatal(err)
	}
	stopOther, err := s.b.Watch("other", func() { other.Add(1) })
	if err != nil {
		s.Fatal(err)
	}
	defer stopOther()
	change := func(what string, change func()) {
		before := woken.Load()
		redistest.Eventually(s.T, patience, "waking after "+what, func() bool { // it may miss some, but not all
			change()
			return woken.Load() > before
		})
	}
	change("an append", func() { s.append("r", delta("x")) })
	change("a deletion", func() { _ = s.b.Delete(s.Context(), "r") })
	stop()
	stop()
	after := woken.Load()
	before := other.Load()
	redistest.Eventually(s.T, patience, "waking of the other watcher", func() bool {
		s.append("r", delta("x"))
		s.append("other", delta("x"))
		return other.Load() > before
	})
	if n := woken.Load(); n != after {
		s.Errorf("woken %d times after it was stopped", n-after)
	}
}

func (s runLogs) apart() {
	runs := []string{"a", "a:events", "a:meta", "{a}", "}:", "*", "?", "[a]", "a%", "a%25", "@a", "\x00", " "}
	runs = append(runs, alike()...)
	for i, run := range runs {
		s.append(run, deltas(i+1)...)
	}
	for i, run := range runs {
		if n := len(s.envelopes(run)); n != i+1 {
			s.Errorf("%q has %d events, want %d", run, n, i+1)
		}
	}
	if err := s.b.Delete(s.Context(), "*"); err != nil {
		s.Fatal(err)
	}
	for _, run := range runs {
		if there := s.slice(run, 0, 1).Life != ""; there != (run != "*") {
			s.Errorf("%q: %t", run, there)
		}
	}
}

func (s runLogs) context() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, appendErr := s.b.Append(ctx, "r", deltas(1), s.keep)
	_, listErr := s.b.List(ctx, "r", 0, 1)
	_, tailErr := s.b.Tail(ctx, "r")
	_, restoreErr := s.b.Restore(ctx, "r", 0, []runlog.Restored{restored(1)}, "", 0, s.keep)
	for what, err := range map[string]error{
		"append": appendErr, "list": listErr, "tail": tailErr, "restore": restoreErr, "delete": s.b.Delete(ctx, "r"),
	} {
		if !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			s.Errorf("%s: %v", what, err)
		}
	}
}
