package session

import (
	"context"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/telemetry"
)

// answer is what a load found: a session, or something else in its place.
type answer struct {
	session Session
	fault   *DecodeError
}

// loader reads sessions from the backend.
type loader struct {
	backend Backend
	name    string
	keep    time.Duration // how long memory keeps an answer at most; 0: not at all
	rearm   time.Duration // 0: reading re-arms nothing
	tel     telemetry.Telemetry
}

var _ readthrough.Loader[ID, answer] = loader{}

// Load implements readthrough.Loader. Something that is no session is an answer, and not a failure: it says nothing against
// the backend, and no older session is served instead. It is not kept.
func (l loader) Load(ctx context.Context, id ID) (readthrough.Loaded[answer], error) {
	rec, left, found, err := l.backend.Load(ctx, id, l.rearm)
	fault := faultOf(err)
	var s Session
	switch {
	case fault != nil:
	case err != nil:
		return readthrough.Loaded[answer]{}, err
	case !found:
		return readthrough.Loaded[answer]{}, readthrough.ErrNotFound
	default:
		s, fault = decode(id, rec)
	}
	if fault != nil {
		l.tel.Count(l.name, telemetry.PayloadRejectedCorrupt, 1)
		return readthrough.Loaded[answer]{Value: answer{fault: fault}, TTL: -1}, nil //nolint:nilerr // the fault is in the value
	}
	return readthrough.Loaded[answer]{Value: answer{session: s}, TTL: l.life(left)}, nil
}

// life is how long memory may keep a session with so much left: never longer than the session lives. Negative: not at all.
func (l loader) life(left time.Duration) time.Duration {
	keep := l.keep
	if left >= 0 {
		keep = min(keep, left)
	}
	if keep < time.Millisecond { // nothing would mean the default
		return -1
	}
	return keep
}
