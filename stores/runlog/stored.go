package runlog

import (
	"bytes"
	"strconv"
	"time"
)

// stored reads an envelope as AppendJSON writes it, several times as fast as encoding/json does. It answers false for any
// other text, and for ids that are not plain ASCII: UnmarshalJSON reads those, and would answer the same to these.
func stored(data []byte) (e Envelope, ok bool) {
	rest, found := bytes.CutPrefix(data, []byte(`{"event_id":"`))
	id, rest, closed := bytes.Cut(rest, []byte(`","seq":`))
	seq, rest, more := bytes.Cut(rest, []byte(`,"run_id":"`))
	run, rest, still := bytes.Cut(rest, []byte(`","session_id":`))
	if !found || !closed || !more || !still || e.EventID.UnmarshalText(id) != nil || !plain(run) || len(run) == 0 {
		return e, false
	}
	n, err := strconv.ParseUint(string(seq), 10, 64)
	if err != nil || n == 0 || n > MaxSeq || seq[0] == '0' {
		return e, false
	}
	e.Seq, e.RunID = n, string(run)
	if after, none := bytes.CutPrefix(rest, []byte(`null,"event":`)); none {
		rest = after
	} else {
		quoted, after, found := bytes.Cut(rest, []byte(`","event":`))
		session, opened := bytes.CutPrefix(quoted, []byte(`"`))
		if !found || !opened || !plain(session) || len(session) > MaxSession {
			return e, false
		}
		e.SessionID, rest = string(session), after
	}
	const before = `,"emitted_at":"`
	end := bytes.LastIndex(rest, []byte(before))
	if end < 0 {
		return e, false
	}
	at, closed := bytes.CutSuffix(rest[end+len(before):], []byte(`"}`))
	if !closed || !plain(at) || e.EmittedAt.UnmarshalText(at) != nil {
		return e, false
	}
	e.Event = bytes.Clone(rest[:end])
	e.EmittedAt = e.EmittedAt.In(time.UTC)
	_, _, err = tagged(e.Event)
	return e, err == nil && written(e.EmittedAt)
}

// plain text stands for itself between quotes.
func plain(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
