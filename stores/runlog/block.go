package runlog

import (
	"strconv"
	"strings"
)

// A block is at most blockEvents, and of several events at most some blockBytes: who wants one of them is sent them all.
const (
	blockEvents = 64
	blockBytes  = 32 << 10
)

// block is several events in one entry of a stream, as Redis is sent them. See entry.lua.
type block struct{ ids, lengths, events []byte }

// blocksOf packs events, at most so many into each block.
func blocksOf(drafts []Draft, most int64) []block {
	blocks := make([]block, 0, 1+len(drafts)/blockEvents)
	for len(drafts) > 0 {
		n, size := 0, 0
		for n < len(drafts) && int64(n) < min(most, blockEvents) && (n == 0 || size+len(drafts[n].Body) <= blockBytes) {
			size += len(drafts[n].Body)
			n++
		}
		b := block{ids: make([]byte, 0, 36*n), lengths: make([]byte, 0, 5*n), events: make([]byte, 0, 64*n+size)}
		for i := range drafts[:n] {
			if i > 0 {
				b.lengths = append(b.lengths, ' ')
			}
			b.ids = drafts[i].ID.append(b.ids)
			before := len(b.events)
			b.events = drafts[i].tail(b.events)
			b.lengths = strconv.AppendInt(b.lengths, int64(len(b.events)-before), 10)
		}
		blocks, drafts = append(blocks, b), drafts[n:]
	}
	return blocks
}

// appendEntry appends the events of an entry that come from a number on, or the last one if that is later. An entry that is
// nothing of ours is a Record without Data.
func appendEntry(records []Record, from uint64, id string, content any) ([]Record, error) {
	digits, _, _ := strings.Cut(id, "-")
	last, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return records, errAnswer
	}
	if data, single := content.(string); single {
		return append(records, Record{Seq: last, Data: []byte(data)}), nil
	}
	parts, err := texts(content, nil)
	if err != nil || len(parts) != 4 {
		return records, errAnswer
	}
	ids, between, events := parts[0], parts[2], parts[3]
	lengths, ok := lengthsOf(parts[1], len(events))
	n := uint64(len(lengths))
	if !ok || n > last || len(ids) != 36*len(lengths) {
		return append(records, Record{Seq: last}), nil
	}
	for seq := last - n + 1; len(lengths) > 0; seq++ {
		id, text := ids[:36], events[:lengths[0]]
		ids, events, lengths = ids[36:], events[lengths[0]:], lengths[1:]
		if seq < min(from, last) {
			continue
		}
		data := make([]byte, 0, len(eventIDBefore)+len(id)+len(seqBefore)+20+len(between)+len(text))
		data = append(append(append(data, eventIDBefore...), id...), seqBefore...)
		data = append(append(strconv.AppendUint(data, seq, 10), between...), text...)
		records = append(records, Record{Seq: seq, Data: data})
	}
	return records, nil
}

// lengthsOf reads the lengths of texts that are so long together. ok: there are some, and they are.
func lengthsOf(field string, total int) (lengths []int, ok bool) {
	for digits := range strings.FieldsSeq(field) {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 0 || n > total {
			return nil, false
		}
		total -= n
		lengths = append(lengths, n)
	}
	return lengths, total == 0 && len(lengths) > 0
}
