package l2_test

import (
	"slices"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestRenewalAnswersThePosition(t *testing.T) {
	each(t, func(b bundle) {
		first := b.renew("p", "", 0, 0)
		if first.Weak == b.real || first.Degraded || first.LongestLease != 10*time.Second {
			b.t.Fatalf("%+v", first)
		}
		done := b.invalidate(1, "k")
		if got := b.renew("p", first.Position.Epoch, 0, 1); got.Position != done.Position {
			b.t.Fatalf("%v, want %v", got.Position, done.Position)
		}
	})
}

func TestProcessIsALaggardUntilItRegistersTheEpochAndTheSeq(t *testing.T) {
	each(t, func(b bundle) {
		epoch := b.renew("p", "", 0, 0).Position.Epoch
		pos := b.invalidate(1, "k").Position
		stranger := l2.Epoch("0123456789abcdef0123456789abcdef")
		for i, step := range []struct {
			epoch   l2.Epoch
			applied uint64
			lags    bool
		}{
			{"", 0, true},
			{"", 1, true},        // knows no epoch: the server's is not its own
			{stranger, 99, true}, // another life's counter says nothing
			{epoch, 0, true},
			{epoch, 1, false},
			{epoch, 2, false},
			{epoch, 1 << 60, false},
		} {
			b.renew("p", step.epoch, step.applied, uint64(i))
			got := b.acks(pos, "me").Laggards
			want := []l2.Ack{{Process: "p", Epoch: step.epoch, Seq: step.applied, Count: uint64(i)}}
			if !step.lags {
				want = nil
			}
			if !slices.Equal(got, want) {
				b.t.Fatalf("after (%q, %d): laggards %v, want %v", step.epoch, step.applied, got, want)
			}
		}
	})
}

func TestWaiterDoesNotWaitForItself(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 0)
		pos := b.invalidate(1, "k").Position
		if got := b.acks(pos, "p").Laggards; len(got) != 0 {
			b.t.Fatalf("laggards %v", got)
		}
	})
}

func TestLaggardsAreAskedAndOthersAreNot(t *testing.T) {
	each(t, func(b bundle) {
		epoch := b.renew("p", "", 0, 0).Position.Epoch
		pos := b.invalidate(1, "k").Position
		next := b.subscribe()
		b.acks(pos, "me")
		m := next()
		if !m.AckRequest || !m.NoInvalidation || m.Epoch != epoch || m.Seq != 1 || len(m.Hashes) != 0 {
			b.t.Fatalf("message %+v, want an ack request", m)
		}
		b.renew("p", epoch, 1, 1)
		b.acks(pos, "me") // nobody to ask: the next message is the invalidation
		done := b.invalidate(2, "k").Position
		if m := next(); m.NoInvalidation || m.Seq != done.Seq {
			b.t.Fatalf("message %+v, want the invalidation", m)
		}
	})
}

func TestRegistrationIsDroppedOnlyIfUnchanged(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 1)
		pos := b.invalidate(1, "k").Position
		seen := b.acks(pos, "me").Laggards
		b.renew("p", "", 0, 2) // alive after all
		if got := b.acks(pos, "me", seen...).Laggards; len(got) != 1 || got[0].Count != 2 {
			b.t.Fatalf("laggards %v: the renewed registration is gone", got)
		}
		seen = b.acks(pos, "me").Laggards
		if got := b.acks(pos, "me", seen...).Laggards; len(got) != 0 {
			b.t.Fatalf("laggards %v: the unchanged registration is still there", got)
		}
	})
}

func TestAcksOfAnotherEpochListNobody(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 1)
		pos := b.invalidate(1, "k").Position
		now, err := b.Reset(b.t.Context(), 0, "")
		if err != nil {
			b.t.Fatal(err)
		}
		b.renew("p", "", 0, 2)
		if got := b.acks(pos, "me"); len(got.Laggards) != 0 || got.Position != now {
			b.t.Fatalf("%+v, want position %v and nobody", got, now)
		}
	})
}

func TestProcessThatLeavesIsNotWaitedFor(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 1)
		b.renew("q", "", 0, 1)
		pos := b.invalidate(1, "k").Position
		if err := b.Leave(b.t.Context(), 0, l2.Ack{Process: "p", Count: 1}); err != nil {
			b.t.Fatal(err)
		}
		if got := b.acks(pos, "me").Laggards; len(got) != 1 || got[0].Process != "q" {
			b.t.Fatalf("laggards %v, want q alone", got)
		}
	})
}

func TestUnreadableRegistrationIsALaggard(t *testing.T) {
	each(t, func(b bundle) {
		pos := b.invalidate(1, "k").Position
		b.client.HSet(b.t.Context(), key("a"), "p", "garbage")
		if got := b.acks(pos, "me").Laggards; !slices.Equal(got, []l2.Ack{{Process: "p"}}) {
			b.t.Fatalf("laggards %v", got)
		}
	})
}

func TestRenewalsOfSeveralPartitionsAreAnsweredOneByOne(t *testing.T) {
	_, client := redistest.Mini(t)
	s := newStore(t, client, func(c *l2.Config) { c.Partitions = 2 })
	replies := l2.Renew(t.Context(), client, []l2.Renewal{
		{Store: s, Partition: 0, Process: "p"},
		{Store: s, Partition: 2, Process: "p"},
		{Store: s, Partition: 1, Process: "!"},
		{Store: s, Partition: 1, Process: "p"},
	})
	for i, fails := range []bool{false, true, true, false} {
		if (replies[i].Err != nil) != fails {
			t.Errorf("reply %d: %v", i, replies[i].Err)
		}
	}
	if replies[0].Position.Epoch == replies[3].Position.Epoch {
		t.Error("two partitions share an epoch")
	}
}

func TestLateLeaveSparesAProcessThatHasRegisteredAgain(t *testing.T) {
	each(t, func(b bundle) {
		b.renew("p", "", 0, 1)
		b.renew("p", "", 0, 2)
		pos := b.invalidate(1, "k").Position
		if err := b.Leave(b.t.Context(), 0, l2.Ack{Process: "p", Count: 1}); err != nil {
			b.t.Fatal(err)
		}
		if got := b.acks(pos, "me").Laggards; len(got) != 1 || got[0].Process != "p" {
			b.t.Fatalf("laggards %v, want p, which serves", got)
		}
	})
}
