package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Violation is one answer that breaks a promise.
type Violation struct {
	// Promise is which: "bound", "in force", "token", "future" or "linearizable".
	Promise string
	// Text says what happened when.
	Text string
}

// Report is what Check found.
type Report struct {
	Reads, Failed, Writes int
	// Linearizable counts the answered reads that were asked to be.
	Linearizable int
	// Old counts answers below a version already committed when the read began: without some, a run proves little.
	Old int
	// Stalest is the longest time between the execution of an invalidation and the beginning of a read that was answered with
	// something older.
	Stalest time.Duration
	// LongestWait is the longest time between the beginning of a write and its being in force.
	LongestWait time.Duration
	Violations  []Violation
}

// String is the report in one line, and one more for each of the first ten violations.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d reads (%d failed, %d old, %d linearizable), %d writes, stalest %s, longest wait %s, %d violations",
		r.Reads, r.Failed, r.Old, r.Linearizable, r.Writes, r.Stalest.Round(10*time.Microsecond), r.LongestWait.Round(10*time.Microsecond), len(r.Violations))
	for i, v := range r.Violations {
		if i == 10 {
			break
		}
		fmt.Fprintf(&b, "\n  %s: %s", v.Promise, v.Text)
	}
	return b.String()
}

// Check judges the history. bound is how old an answer may be after an invalidation was executed. Nothing may be recorded
// meanwhile.
func (h *History) Check(bound time.Duration) Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := Report{Reads: len(h.reads), Writes: len(h.writes)}
	records := map[string]*record{}
	of := func(key string) *record {
		if records[key] == nil {
			records[key] = &record{}
		}
		return records[key]
	}
	for _, w := range h.writes {
		of(w.key).writes = append(of(w.key).writes, w)
		if w.inForce != never {
			r.LongestWait = max(r.LongestWait, w.inForce-w.began)
		}
	}
	for _, rec := range records {
		rec.order()
	}
	for _, read := range h.reads {
		if read.ended == never {
			r.Failed++
			continue
		}
		rec := of(read.key)
		if read.Linearizable {
			r.Linearizable++
			rec.reads = append(rec.reads, read)
		}
		r.judge(rec, read, bound)
	}
	for key, rec := range records {
		if len(rec.reads) > 0 && !rec.linearizable() {
			r.Violations = append(r.Violations, Violation{"linearizable", fmt.Sprintf("the %d linearizable reads of %s fit no order of its writes", len(rec.reads), key)})
		}
	}
	return r
}

// judge looks at one answer. What happened in the very nanosecond in which the read began may have happened after it.
func (r *Report) judge(rec *record, read *Reading, bound time.Duration) {
	broken := func(promise string, least uint64) {
		r.Violations = append(r.Violations, Violation{promise, fmt.Sprintf("%s read %s from %s to %s and got version %d, at least %d was promised",
			read.Process, read.key, read.began, read.ended, read.version, least)})
	}
	if least := rec.executed.at(read.began - bound - 1); read.version < least {
		broken("bound", least)
	}
	if least := rec.inForce.at(read.began - 1); read.version < least {
		broken("in force", least)
	}
	if read.version < read.Floor {
		broken("token", read.Floor)
	}
	if read.version > rec.begun.at(read.ended) {
		broken("future", 0)
	}
	if read.version < rec.committed.at(read.began-1) {
		r.Old++
	}
	if since, ok := rec.executed.since(read.version); ok && since < read.began {
		r.Stalest = max(r.Stalest, read.began-since)
	}
}

// record is the history of one record.
type record struct {
	writes                              []*Writing
	reads                               []*Reading // linearizable
	begun, committed, executed, inForce timeline
}

func (rec *record) order() {
	for _, line := range []struct {
		line *timeline
		at   func(*Writing) time.Duration
	}{
		{&rec.begun, func(w *Writing) time.Duration { return w.began }},
		{&rec.committed, func(w *Writing) time.Duration { return w.committed }},
		{&rec.executed, func(w *Writing) time.Duration { return w.executed }},
		{&rec.inForce, func(w *Writing) time.Duration { return w.inForce }},
	} {
		*line.line = newTimeline(rec.writes, line.at)
	}
}

// timeline says which was the highest version by which time.
type timeline []moment

type moment struct {
	at      time.Duration
	version uint64 // the highest until then
}

func newTimeline(writes []*Writing, at func(*Writing) time.Duration) timeline {
	var line timeline
	for _, w := range writes {
		if at(w) != never {
			line = append(line, moment{at(w), w.version})
		}
	}
	slices.SortFunc(line, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(line); i++ {
		line[i].version = max(line[i].version, line[i-1].version)
	}
	return line
}

// at is the highest version that the line had at a time, that moment included.
func (l timeline) at(t time.Duration) uint64 {
	i, found := slices.BinarySearchFunc(l, t, func(m moment, t time.Duration) int { return cmp.Compare(m.at, t) })
	for found && i+1 < len(l) && l[i+1].at == t {
		i++
	}
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return l[i].version
}

// since is when the line first had a version above one.
func (l timeline) since(version uint64) (time.Duration, bool) {
	i, _ := slices.BinarySearchFunc(l, version, func(m moment, version uint64) int {
		if m.version > version {
			return 1
		}
		return -1
	})
	if i == len(l) {
		return 0, false
	}
	return l[i].at, true
}

// register is a record as porcupine sees it: a write puts a version, a read answers it.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		if version, write := input.(uint64); write {
			return true, version
		}
		return state == output, state
	},
}

// linearizable asks porcupine. A write that was not committed has not ended.
func (rec *record) linearizable() bool {
	var ops []porcupine.Operation
	for _, w := range rec.writes {
		ops = append(ops, porcupine.Operation{Input: w.version, Call: int64(w.began), Return: int64(w.committed)})
	}
	for i, r := range rec.reads {
		ops = append(ops, porcupine.Operation{ClientId: i + 1, Call: int64(r.began), Return: int64(r.ended), Output: r.version})
	}
	return porcupine.CheckOperations(register, ops)
}
