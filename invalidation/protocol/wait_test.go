package protocol_test

import (
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

// B of these waits. A young epoch is one seen for less than term.
const (
	lease = 100 * time.Millisecond
	term  = protocol.Instant(106 * time.Millisecond) // lease and margin
)

func TestMarginCoversClockDriftAndResolution(t *testing.T) {
	for bound, want := range map[time.Duration]time.Duration{
		lease: 6 * time.Millisecond, 10 * time.Second: 105 * time.Millisecond, 0: 5 * time.Millisecond,
	} {
		if got := protocol.Margin(bound); got != want {
			t.Errorf("%s: %s, want %s", bound, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	const answered = protocol.Instant(1000 * time.Millisecond)
	wait := protocol.Wait{Epoch: "A", Seq: 5, Answered: answered, Longest: lease}
	old := answered - term // the epoch has been known for long enough
	ack := func(epoch string, seq uint64) protocol.Ack { return protocol.Ack{Process: "p", Epoch: epoch, Seq: seq} }
	poll := func(laggards ...protocol.Ack) protocol.Poll {
		return protocol.Poll{Asked: "A", AskedSeq: 5, Epoch: "A", Laggards: laggards}
	}
	for name, c := range map[string]struct {
		change func(w *protocol.Wait)
		after  protocol.Instant // since the answer
		poll   protocol.Poll
		seen   string
		since  protocol.Instant
		want   protocol.Verdict
	}{
		"nobody is left":                        {poll: poll(), seen: "A", since: old, want: protocol.InForce},
		"somebody is behind":                    {poll: poll(ack("A", 4)), seen: "A", since: old, want: protocol.Waiting},
		"somebody lives in another epoch":       {poll: poll(ack("B", 9)), seen: "A", since: old, want: protocol.Waiting},
		"somebody has registered nothing":       {poll: poll(ack("", 0)), seen: "A", since: old, want: protocol.Waiting},
		"late for another waiter only":          {poll: protocol.Poll{Asked: "A", AskedSeq: 9, Epoch: "A", Laggards: []protocol.Ack{ack("A", 5)}}, seen: "A", since: old, want: protocol.InForce},
		"asked about less":                      {poll: protocol.Poll{Asked: "A", AskedSeq: 4, Epoch: "A"}, seen: "A", since: old, want: protocol.Waiting},
		"asked about another epoch":             {poll: protocol.Poll{Asked: "Z", AskedSeq: 9, Epoch: "A"}, seen: "A", since: old, want: protocol.Waiting},
		"the epoch is young":                    {poll: poll(), seen: "A", since: old + 1, want: protocol.Waiting},
		"another epoch was seen since":          {poll: poll(), seen: "B", since: old, want: protocol.Waiting},
		"no epoch was ever seen":                {poll: poll(), since: protocol.Never, want: protocol.Waiting},
		"the epoch moved":                       {poll: protocol.Poll{Asked: "A", AskedSeq: 5, Epoch: "B"}, seen: "B", since: old, want: protocol.Moved},
		"the epoch moved, but leases are out":   {after: term, poll: protocol.Poll{Asked: "A", AskedSeq: 5, Epoch: "B"}, seen: "B", since: old, want: protocol.InForce},
		"just before the deadline":              {after: term - 1, poll: poll(ack("A", 4)), seen: "A", since: old, want: protocol.Waiting},
		"at the deadline":                       {after: term, poll: poll(ack("A", 4)), seen: "A", since: old, want: protocol.InForce},
		"everything: no ack counts":             {change: func(w *protocol.Wait) { w.Everything = true }, poll: poll(), seen: "A", since: old, want: protocol.Waiting},
		"everything: the deadline does":         {change: func(w *protocol.Wait) { w.Everything = true }, after: term, poll: poll(), seen: "A", since: old, want: protocol.InForce},
		"others have longer leases":             {change: func(w *protocol.Wait) { w.Longest = 2 * lease }, after: term, poll: poll(ack("A", 4)), seen: "A", since: old, want: protocol.Waiting},
		"young for longer leases than our own":  {change: func(w *protocol.Wait) { w.Longest = 2 * lease }, poll: poll(), seen: "A", since: old, want: protocol.Waiting},
		"a registration ahead is not a laggard": {poll: poll(ack("A", 6)), seen: "A", since: old, want: protocol.InForce},
	} {
		t.Run(name, func(t *testing.T) {
			w := wait
			if c.change != nil {
				c.change(&w)
			}
			if got := w.Judge(answered+c.after, c.poll, c.seen, c.since); got != c.want {
				t.Fatalf("verdict %d, want %d", got, c.want)
			}
		})
	}
}

func TestDeadlineIsALeaseAndAMarginAfterTheAnswer(t *testing.T) {
	w := protocol.Wait{Answered: 7, Longest: lease}
	if w.Deadline() != 7+term || w.Expired(6+term) || !w.Expired(7+term) {
		t.Fatalf("deadline %d", w.Deadline())
	}
}

func TestRipeSaysWhenAcksBeginToCount(t *testing.T) {
	w := protocol.Wait{Epoch: "A", Longest: lease}
	if got := w.Ripe("A", 10); got != 10+term {
		t.Fatalf("ripe at %d", got)
	}
	if got := w.Ripe("B", 10); got != protocol.Forever {
		t.Fatalf("ripe at %d in another epoch", got)
	}
}
