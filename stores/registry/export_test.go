package registry

import (
	"time"

	"github.com/layercache/layercache/stores/layout"
)

// Edit is document.lua by itself: ARGV is a document, a member's name and the text of its new value. It answers the
// document, what the member held as text and as a word; nothing if the document is none.
var Edit = layout.NewScript(documentLua + `
local at = members(ARGV[1])
if not at then return {} end
return {with(ARGV[1], ARGV[2], ARGV[3]), raw(ARGV[1], at, ARGV[2]) or '', word(ARGV[1], at, ARGV[2]) or ''}
`)

// Clock is clock.lua's text of a time: ARGV is seconds and microseconds since 1970.
var Clock = layout.NewScript(clockLua + `return rfc3339(tonumber(ARGV[1]), tonumber(ARGV[2]))`)

// Held is how many agents of the tenant "" a Memory has, also those who are gone.
func Held(m *Memory) int {
	r := m.tenant("")
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.agents)
}

// Waiting is how many heartbeats wait for their batch to be written.
func Waiting(s *SQL) (n int) {
	s.beats.mu.Lock()
	defer s.beats.mu.Unlock()
	for _, x := range s.beats.open {
		n += len(x.beats)
	}
	return n
}

// BeatWithin sets how long a batch of heartbeats may take. It is called before the first.
func BeatWithin(s *SQL, d time.Duration) { s.beats.within = d }
