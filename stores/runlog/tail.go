package runlog

import (
	"maps"
	"sync"
	"time"
)

// tails remembers the last event of runs, each for at most ttl after it was asked for. Of two answers of one life of a run
// that may have overtaken each other the one with the higher number stays, and what was asked for before the run was forgotten
// is not answered, so that a process never reads behind its own appends or what it has deleted. Of a longer event than maxTail
// no more is kept than that it is there, so that it is not answered, and nothing older either.
type tails struct {
	ttl time.Duration // 0 or less: nothing is remembered
	max int64

	mu    sync.Mutex // guards the fields below
	runs  map[string]tail
	since time.Time // when all were forgotten
	swept time.Time // when those whose time has come were dropped
}

const maxTail = 16 << 10

// tail is what is known of a run. It stays for ttl after it was put, since until then an answer that it has overtaken may
// come.
type tail struct {
	last  Envelope  // zero: the run was forgotten
	until time.Time // when it is not answered any more; zero: it never is
	since time.Time // what was asked for before may be of another life
	put   time.Time
}

// get answers the last event of a run if it is known.
func (t *tails) get(run string) (Envelope, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.runs[run]
	if !ok || !time.Now().Before(known.until) {
		return Envelope{}, false
	}
	return known.last, true
}

// put remembers what the Backend was asked for, for ttl or for what is left of the run.
func (t *tails) put(run string, last Envelope, asked time.Time, left time.Duration) {
	if t.ttl <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	known, ok := t.runs[run]
	if !ok {
		known.since = t.since
	}
	next := tail{last: last, until: asked.Add(min(t.ttl, left)), since: known.since, put: now}
	switch {
	case asked.After(known.put): // if its number is lower, what is known was lost with a primary or in a restart
	case known.last.life == last.life && known.last.Seq > last.Seq:
		return
	case known.last.life != "" && known.last.life != last.life: // nobody knows which life is over
		next = tail{since: now, put: now}
	}
	if !asked.After(next.since) {
		next.until = time.Time{}
	}
	if len(last.Event) > maxTail {
		next.last.Event, next.until = nil, time.Time{}
	}
	t.setLocked(run, next)
}

// forget is called after a run was deleted, or has events that were not put, or may have.
func (t *tails) forget(run string) {
	if t.ttl <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.setLocked(run, tail{since: now, put: now})
}

// setLocked drops now and then those whose time has come, and all where that makes no room.
func (t *tails) setLocked(run string, next tail) {
	_, ok := t.runs[run]
	full := !ok && int64(len(t.runs)) >= t.max
	if full || next.put.Sub(t.swept) >= t.ttl {
		maps.DeleteFunc(t.runs, func(_ string, known tail) bool { return next.put.Sub(known.put) >= t.ttl })
		t.swept = next.put
	}
	if full && int64(len(t.runs)) >= t.max {
		clear(t.runs)
		t.since = next.put
	}
	if t.runs == nil {
		t.runs = map[string]tail{}
	}
	t.runs[run] = next
}
