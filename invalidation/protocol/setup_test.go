package protocol_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
)

const (
	bound   = 1000 * time.Nanosecond // B of the tests: instants are small numbers
	gapWait = 20 * time.Nanosecond
)

// bench drives one receiver and shows its actions as text.
type bench struct {
	protocol.Receiver
	t   *testing.T
	now protocol.Instant
}

func newBench(t *testing.T) *bench {
	return &bench{Receiver: protocol.NewReceiver(bound, gapWait), t: t}
}

// at sets the clock.
func (b *bench) at(now protocol.Instant) *bench {
	b.now = now
	return b
}

// living is a bench that lives in epoch A, has applied seq and holds a lease from 0.
func living(t *testing.T, seq uint64) *bench {
	t.Helper()
	b := newBench(t)
	b.want(b.renewed("A", seq), fmt.Sprintf("flush start, lease %d, renew", int64(bound)))
	b.at(1)
	return b
}

// renewed begins a renewal and answers it at once.
func (b *bench) renewed(epoch string, seq uint64) []protocol.Action {
	n := b.Begin(b.now)
	return b.Answer(b.now, n.Number, epoch, seq, nil)
}

func (b *bench) message(m protocol.Message) []protocol.Action { return b.Message(b.now, m, nil) }

// named is a message of epoch A that names hashes: its seq, unless others are given.
func named(seq uint64, hashes ...uint64) protocol.Message {
	if len(hashes) == 0 {
		hashes = []uint64{seq}
	}
	return protocol.Message{Epoch: "A", Seq: seq, Hashes: hashes}
}

func (b *bench) tick() []protocol.Action { return b.Tick(b.now, nil) }

// want compares actions with their text.
func (b *bench) want(got []protocol.Action, want string) {
	b.t.Helper()
	if text := show(got); text != want {
		b.t.Fatalf("at %d: %q, want %q", b.now, text, want)
	}
}

var reasons = map[protocol.Reason]string{
	protocol.ReasonStart: "start", protocol.ReasonEpoch: "epoch", protocol.ReasonGap: "gap", protocol.ReasonAll: "all",
	protocol.ReasonUnknown: "unknown",
}

func show(actions []protocol.Action) string {
	var parts []string
	for _, a := range actions {
		switch a.Kind {
		case protocol.Evict:
			parts = append(parts, fmt.Sprintf("evict %v", a.Hashes))
		case protocol.Flush:
			parts = append(parts, "flush "+reasons[a.Reason])
		case protocol.Lease:
			if a.Until == protocol.Never {
				parts = append(parts, "no lease")
			} else {
				parts = append(parts, fmt.Sprintf("lease %d", a.Until))
			}
		case protocol.Renew:
			parts = append(parts, "renew")
		case protocol.Reset:
			parts = append(parts, "reset "+a.Epoch)
		}
	}
	return strings.Join(parts, ", ")
}
