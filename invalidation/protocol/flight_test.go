package protocol_test

import (
	"testing"

	"github.com/layercache/layercache/invalidation/protocol"
)

func TestJoinable(t *testing.T) {
	const now, valid = 1000, 1001
	sound := protocol.Flight{Begun: true, Started: 501, Sound: true}
	for name, c := range map[string]struct {
		flight protocol.Flight
		until  protocol.Instant
		want   bool
	}{
		"young, sound, under a lease":   {sound, valid, true},
		"half a bound old":              {protocol.Flight{Begun: true, Started: 500, Sound: true}, valid, false},
		"invalidated meanwhile":         {protocol.Flight{Begun: true, Started: 501}, valid, false},
		"no lease now":                  {sound, now, false},
		"never a lease":                 {sound, protocol.Never, false},
		"not begun":                     {protocol.Flight{}, protocol.Never, true},
		"not begun, guard not taken":    {protocol.Flight{Started: -5000}, valid, true},
		"begun before, lease held ever": {protocol.Flight{Begun: true, Started: 0, Sound: true}, protocol.Forever, false},
	} {
		if got := protocol.Joinable(c.flight, now, c.until, bound); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
