package storetest

import (
	"bytes"
	"math/rand/v2"

	"github.com/layercache/layercache/stores/runlog"
)

// model compares with the obvious: a list of events.
func (s runLogs) model() { s.compare(20, 60, 5, 300) }

func (s runLogs) modelOfBatches() { s.compare(2000, 500, 200, 80) }

// compare appends batches of new drafts and of some from a pool, which may be there already, and reads anywhere.
func (s runLogs) compare(keep int64, pool, batch, steps int) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	s.Logf("seed %d", seed)
	s.keep.MaxEvents = keep
	all := deltas(pool)
	all[pool/2] = started("s")
	session := ""
	want := [][]byte{nil} // of all numbers
	place := map[runlog.EventID]int{}
	for step := range steps {
		drafts := deltas(1 + random.IntN(batch))
		if random.IntN(2) == 0 {
			at := random.IntN(pool)
			for i := range drafts {
				if random.IntN(20) == 0 {
					at = random.IntN(pool)
				}
				drafts[i] = all[at%pool]
				at++
			}
		}
		a := s.append("r", drafts...)
		for i, d := range drafts {
			seq, there := place[d.ID]
			if !there {
				seq = len(want)
				place[d.ID] = seq
				if session == "" {
					session = d.Session
				}
				want = append(want, d.Record("r", uint64(seq), session))
			}
			if got := a.Events[i]; there && !bytes.Equal(got.Stored, want[seq]) || !there && (got.Stored != nil || got.Seq != uint64(seq)) {
				s.Fatalf("step %d: event %d is %d %s, want %d, there %t", step, i, got.Seq, got.Stored, seq, there)
			}
		}
		last := len(want) - 1
		kept := s.slice("r", 0, 100_000).Records
		first := last - len(kept) + 1
		if n := int64(len(kept)); n < min(int64(last), keep) || n > keep+s.keep.Slack() {
			s.Fatalf("step %d: %d records of %d", step, n, last)
		}
		after := random.IntN(last + 1)
		limit := 1 + random.IntN(100)
		part := s.slice("r", uint64(after), limit)
		if n := min(limit, last-max(after, first-1)); len(part.Records) != n || part.Seq != uint64(last) || part.Session != session {
			s.Fatalf("step %d: %d records after %d of %d to %d, want %d: %+v", step, len(part.Records), after, first, last, n, part)
		}
		tail, err := s.b.Tail(s.Context(), "r")
		if err != nil || len(tail.Records) != 1 || tail.Records[0].Seq != uint64(last) {
			s.Fatalf("step %d: %+v, %v", step, tail, err)
		}
		for at, records := range map[int][]runlog.Record{first: kept, max(after+1, first): part.Records, last: tail.Records} {
			for i, rec := range records {
				if rec.Seq != uint64(at+i) || !bytes.Equal(rec.Data, want[at+i]) {
					s.Fatalf("step %d: number %d is %d %s, want %s", step, at+i, rec.Seq, rec.Data, want[at+i])
				}
			}
		}
		for id, seq := range place {
			if seq < first {
				delete(place, id)
			}
		}
	}
}
