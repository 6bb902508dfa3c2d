package protocol_test

import (
	"testing"

	"github.com/layercache/layercache/invalidation/protocol"
)

func TestNewReceiverHoldsNoLease(t *testing.T) {
	b := newBench(t)
	if b.ValidUntil != protocol.Never || b.Wake() != protocol.Forever || b.Epoch != "" {
		t.Fatalf("%+v", b.Receiver)
	}
}

func TestFirstAnswerFlushesThenGivesTheLeaseThenRegisters(t *testing.T) {
	b := newBench(t).at(5)
	n := b.Begin(b.now)
	if n.Epoch != "" || n.Applied != 0 {
		t.Fatalf("asked with %+v", n)
	}
	b.want(b.at(50).Answer(b.now, n.Number, "A", 7, nil), "flush start, lease 1005, renew")
	if n := b.Begin(b.now); n.Epoch != "A" || n.Applied != 7 {
		t.Fatalf("the next renewal registers %+v", n)
	}
}

func TestLeaseCountsFromTheSendingOfTheRenewal(t *testing.T) {
	b := living(t, 7)
	n := b.at(100).Begin(b.now)
	b.want(b.at(900).Answer(b.now, n.Number, "A", 7, nil), "lease 1100")
	if b.ValidUntil != 1100 {
		t.Fatalf("valid until %d", b.ValidUntil)
	}
}

func TestLeaseNeverGetsShorter(t *testing.T) {
	b := living(t, 7)
	first := b.at(100).Begin(b.now)
	second := b.at(200).Begin(b.now)
	b.want(b.Answer(b.now, first.Number, "A", 7, nil), "lease 1100")
	b.want(b.Answer(b.now, second.Number, "A", 7, nil), "lease 1200")
	b.want(b.Answer(b.now, first.Number, "A", 7, nil), "")
}

func TestAnswersToRenewalsOlderThanOneAnsweredAreIgnored(t *testing.T) {
	b := living(t, 7)
	first := b.at(100).Begin(b.now)
	second := b.at(200).Begin(b.now)
	b.want(b.Answer(b.now, second.Number, "A", 7, nil), "lease 1200")
	b.want(b.Answer(b.now, first.Number, "B", 0, nil), "")
	if b.Epoch != "A" {
		t.Fatal("an old answer changed the epoch")
	}
}

func TestAnswersToFailedRenewalsAreIgnored(t *testing.T) {
	b := living(t, 7)
	n := b.at(100).Begin(b.now)
	b.Fail(n.Number)
	b.want(b.Answer(b.now, n.Number, "A", 7, nil), "")
	b.want(b.Answer(b.now, 99, "A", 7, nil), "")
}

func TestNextMessageIsAppliedInOrder(t *testing.T) {
	b := living(t, 7)
	b.want(b.message(named(8, 80, 81)), "evict [80 81]")
	b.want(b.message(named(9)), "evict [9]")
	if b.Applied != 9 || b.Wake() != protocol.Forever {
		t.Fatalf("applied %d, wake %d", b.Applied, b.Wake())
	}
}

func TestDuplicateIsNotAppliedAgain(t *testing.T) {
	b := living(t, 7)
	for _, seq := range []uint64{1, 7} {
		b.want(b.message(named(seq)), "")
	}
	b.want(b.message(protocol.Message{Epoch: "A", Seq: 7, All: true}), "")
	b.message(named(9))
	b.want(b.message(named(9)), "evict [9]") // behind a gap: evicting again costs less than remembering
	b.want(b.message(named(8)), "evict [8]")
	if b.Applied != 9 {
		t.Fatalf("applied %d", b.Applied)
	}
}

func TestMessagesOutOfOrderCloseTheGapWithoutAFlush(t *testing.T) {
	b := living(t, 7).at(100)
	for _, seq := range []uint64{11, 9, 10} {
		b.want(b.message(named(seq)), show([]protocol.Action{{Kind: protocol.Evict, Hashes: []uint64{seq}}}))
		if b.Applied != 7 || b.Wake() != 120 {
			t.Fatalf("after %d: applied %d, wake %d", seq, b.Applied, b.Wake())
		}
	}
	b.want(b.message(named(8)), "evict [8]")
	if b.Applied != 11 || b.Wake() != protocol.Forever {
		t.Fatalf("applied %d, wake %d", b.Applied, b.Wake())
	}
	b.want(b.at(500).tick(), "")
}

func TestMessageThatDoesNotComeIsAFlush(t *testing.T) {
	b := living(t, 7).at(100)
	b.message(named(9))
	b.message(named(12))
	b.want(b.at(119).tick(), "")
	b.want(b.at(120).tick(), "flush gap")
	if b.Applied != 12 || b.Wake() != protocol.Forever {
		t.Fatalf("applied %d, wake %d", b.Applied, b.Wake())
	}
	b.want(b.message(named(8)), "") // too late: covered
	b.want(b.message(named(13)), "evict [13]")
}

func TestStreamThatIsOnlyLateIsNotFlushed(t *testing.T) {
	b := living(t, 7).at(100)
	b.message(named(9)) // 8 is late until 120
	b.at(115).message(named(11))
	b.want(b.message(named(8)), "evict [8]")
	if b.Wake() != 135 {
		t.Fatalf("wake %d: the time of 10 began when 9 was reached", b.Wake())
	}
	b.want(b.at(130).tick(), "")
	b.want(b.message(named(10)), "evict [10]")
	if b.Applied != 11 || b.Wake() != protocol.Forever {
		t.Fatalf("applied %d, wake %d", b.Applied, b.Wake())
	}
}

func TestTooManyMessagesBehindAGapAreAFlush(t *testing.T) {
	b := living(t, 0).at(100)
	for seq := uint64(2); seq <= 1025; seq++ {
		b.want(b.message(named(seq)), show([]protocol.Action{{Kind: protocol.Evict, Hashes: []uint64{seq}}}))
	}
	b.want(b.message(named(1026)), "evict [1026], flush gap")
	if b.Applied != 1026 || b.Wake() != protocol.Forever {
		t.Fatalf("applied %d, wake %d", b.Applied, b.Wake())
	}
}

func TestMessageWithoutNamesFlushesAndCoversWhatWasMissing(t *testing.T) {
	b := living(t, 7).at(100)
	b.message(named(9))
	b.want(b.message(protocol.Message{Epoch: "A", Seq: 12, All: true}), "flush all")
	if b.Applied != 12 || b.Wake() != protocol.Forever {
		t.Fatalf("applied %d, wake %d", b.Applied, b.Wake())
	}
	b.want(b.message(named(14)), "evict [14]")
	b.want(b.message(protocol.Message{Epoch: "A", Seq: 13, All: true}), "flush all")
	if b.Applied != 14 {
		t.Fatalf("applied %d", b.Applied)
	}
}

func TestUnreadableMessageIsAFlushAndARenewal(t *testing.T) {
	b := living(t, 7)
	b.want(b.Unknown(nil), "flush unknown, renew")
	if b.Applied != 7 || b.ValidUntil == protocol.Never {
		t.Fatal("a message without a number moved the position")
	}
}

func TestMessageOfAnotherEpochIsAHintOnly(t *testing.T) {
	b := living(t, 7)
	for _, m := range []protocol.Message{
		{Epoch: "B", Seq: 1, Hashes: []uint64{1}},
		{Epoch: "B", Seq: 9, All: true},
		{Epoch: "B", Seq: 0, Pure: true},
		{Epoch: "B", Seq: 3, Pure: true, AckRequest: true},
	} {
		b.want(b.message(m), "renew")
	}
	if b.Epoch != "A" || b.Applied != 7 || b.Wake() != protocol.Forever {
		t.Fatalf("%+v", b.Receiver)
	}
	b.want(newBench(t).message(named(1)), "renew")
}

func TestAnotherEpochInAnAnswerFlushesBeforeTheLease(t *testing.T) {
	b := living(t, 7).at(100)
	b.message(named(9)) // a gap, which ends with the epoch
	b.want(b.renewed("B", 3), "flush epoch, lease 1100, renew")
	if b.Epoch != "B" || b.Applied != 3 || b.Wake() != protocol.Forever {
		t.Fatalf("%+v", b.Receiver)
	}
	b.want(b.message(named(8)), "renew") // of the old one
	b.want(b.message(protocol.Message{Epoch: "B", Seq: 4, Hashes: []uint64{4}}), "evict [4]")
}

func TestAnswersOnTheWayWhenTheEpochChangedAreIgnored(t *testing.T) {
	b := living(t, 7).at(100)
	first, second := b.Begin(b.now), b.Begin(b.now)
	b.want(b.Answer(b.now, first.Number, "B", 0, nil), "flush epoch, lease 1100, renew")
	b.want(b.Answer(b.now, second.Number, "A", 7, nil), "")
}

func TestLeaseWaitsForTheMessagesTheServerHadExecuted(t *testing.T) {
	b := living(t, 7).at(100)
	n := b.Begin(b.now)
	b.want(b.at(105).Answer(b.now, n.Number, "A", 9, nil), "")
	if !b.Granted() || b.Wake() != 125 || b.ValidUntil != 1000 {
		t.Fatalf("granted %t, wake %d, valid until %d", b.Granted(), b.Wake(), b.ValidUntil)
	}
	b.want(b.message(named(8)), "evict [8]")
	b.want(b.message(named(9)), "evict [9], lease 1100")
	if b.Granted() || b.Wake() != protocol.Forever {
		t.Fatalf("granted %t, wake %d", b.Granted(), b.Wake())
	}
}

func TestLeaseThatWaitedTooLongIsGivenAfterAFlush(t *testing.T) {
	b := living(t, 7).at(100)
	n := b.Begin(b.now)
	b.at(105).Answer(b.now, n.Number, "A", 9, nil)
	b.want(b.at(125).tick(), "flush gap, lease 1100")
	if b.Applied != 9 {
		t.Fatalf("applied %d", b.Applied)
	}
}

func TestLateStreamDoesNotKeepALeaseWaiting(t *testing.T) {
	b := living(t, 7).at(100)
	n := b.Begin(b.now)
	b.Answer(b.now, n.Number, "A", 10, nil)
	b.at(110).message(named(8))
	if b.Wake() != 120 {
		t.Fatalf("wake %d, want 120: the lease's time, not the message's", b.Wake())
	}
	b.want(b.at(120).tick(), "flush gap, lease 1100")
}

func TestEachOfSeveralGrantsIsGivenAsSoonAsItMay(t *testing.T) {
	b := living(t, 7).at(100)
	first := b.Begin(b.now)
	b.Answer(b.now, first.Number, "A", 8, nil)
	second := b.at(102).Begin(b.now)
	b.Answer(b.now, second.Number, "A", 9, nil)
	b.want(b.message(named(8)), "evict [8], lease 1100")
	b.want(b.message(named(9)), "evict [9], lease 1102")
}

func TestAnswerBehindWhatWasAppliedMeanwhileIsNotARollback(t *testing.T) {
	b := living(t, 7).at(100)
	n := b.Begin(b.now)
	b.message(named(8))
	b.message(named(9))
	b.want(b.Answer(b.now, n.Number, "A", 7, nil), "lease 1100")
	if b.Applied != 9 {
		t.Fatalf("applied %d", b.Applied)
	}
}

func TestAnswerBehindWhatWasAppliedWhenAskedIsARollback(t *testing.T) {
	b := living(t, 7).at(100)
	b.want(b.renewed("A", 6), "reset A")
	if b.ValidUntil != 1000 || b.Applied != 7 {
		t.Fatalf("valid until %d, applied %d: a rollback gives no lease", b.ValidUntil, b.Applied)
	}
	b.want(b.renewed("B", 0), "flush epoch, lease 1100, renew")
}

func TestAckRequestIsAnsweredWithARenewal(t *testing.T) {
	b := living(t, 7)
	ask := named(8)
	ask.AckRequest = true
	b.want(b.message(ask), "evict [8], renew")
	b.want(b.message(ask), "renew") // the ack may have been lost
	b.want(b.message(protocol.Message{Epoch: "A", Seq: 8, Pure: true, AckRequest: true}), "renew")
	if n := b.Begin(b.now); n.Applied != 8 {
		t.Fatalf("acknowledges %d", n.Applied)
	}
	b.want(b.message(named(9)), "evict [9]") // asked once, answered once
}

func TestAckAskedForBehindAGapIsGivenWhenItCloses(t *testing.T) {
	b := living(t, 7).at(100)
	ask := named(9)
	ask.AckRequest = true
	b.want(b.message(ask), "evict [9]")
	b.want(b.message(named(8)), "evict [8], renew")

	b.want(b.at(200).message(protocol.Message{Epoch: "A", Seq: 12, Pure: true, AckRequest: true}), "")
	b.want(b.at(220).tick(), "flush gap, renew")
	if n := b.Begin(b.now); n.Applied != 12 {
		t.Fatalf("acknowledges %d", n.Applied)
	}
}

func TestPureMessageTellsOfAGapAndInvalidatesNothing(t *testing.T) {
	b := living(t, 7).at(100)
	b.want(b.message(protocol.Message{Epoch: "A", Seq: 7, Pure: true}), "")
	if b.Wake() != protocol.Forever {
		t.Fatal("a gap where there is none")
	}
	b.want(b.message(protocol.Message{Epoch: "A", Seq: 8, Pure: true}), "")
	if b.Applied != 7 || b.Wake() != 120 {
		t.Fatalf("applied %d, wake %d", b.Applied, b.Wake())
	}
}

func TestRevokeEndsTheLeaseAndThoseOnTheirWay(t *testing.T) {
	b := living(t, 7).at(100)
	waiting := b.Begin(b.now)
	b.Answer(b.now, waiting.Number, "A", 8, nil)
	flying := b.Begin(b.now)
	b.want(b.Revoke(nil), "no lease")
	b.want(b.message(named(8)), "evict [8]")
	b.want(b.Answer(b.now, flying.Number, "A", 8, nil), "")
	if b.ValidUntil != protocol.Never {
		t.Fatalf("valid until %d", b.ValidUntil)
	}
	b.want(b.at(150).renewed("A", 8), "lease 1150")
}

func TestObserveTellsOfAnotherEpochAndSinceWhen(t *testing.T) {
	b := living(t, 7)
	if b.at(10).Observe(10, "A") || b.Seen != "A" || b.SeenSince != 0 {
		t.Fatalf("seen %q since %d", b.Seen, b.SeenSince)
	}
	if !b.Observe(20, "B") || b.Seen != "B" || b.SeenSince != 20 || b.Epoch != "A" {
		t.Fatalf("seen %q since %d, living in %q", b.Seen, b.SeenSince, b.Epoch)
	}
	b.Observe(30, "B")
	if b.SeenSince != 20 {
		t.Fatal("the epoch got younger")
	}
	b.at(40).renewed("B", 0)
	if b.Seen != "B" || b.SeenSince != 20 || b.Observe(50, "B") {
		t.Fatal("an answer is an observation")
	}
}

func TestAckNamesTheEpochTheProcessLivesIn(t *testing.T) {
	b := living(t, 7)
	b.Observe(10, "B")
	if n := b.Begin(20); n.Epoch != "A" || n.Applied != 7 {
		t.Fatalf("registers %+v for a server in B", n)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	b := living(t, 7).at(100)
	b.message(named(9))
	n := b.Begin(b.now)
	b.Answer(b.now, n.Number, "A", 11, nil)
	flying := b.Begin(b.now)
	c := &bench{Receiver: b.Clone(), t: t, now: b.now}
	b.renewed("B", 0)
	c.want(c.message(named(8)), "evict [8]")
	c.want(c.message(named(10)), "evict [10]")
	c.want(c.message(named(11)), "evict [11], lease 1100")
	c.want(c.Answer(c.now, flying.Number, "A", 11, nil), "lease 1100")
}

func TestNeverAndForeverStayWhatTheyAre(t *testing.T) {
	if protocol.Never.Add(bound) != protocol.Never || protocol.Forever.Add(bound) != protocol.Forever {
		t.Fatal("moved")
	}
	if got := protocol.Instant(5).Add(bound).Sub(5); got != bound {
		t.Fatal(got)
	}
}
