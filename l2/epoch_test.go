package l2_test

import (
	"errors"
	"testing"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestLossOfAStateKeyBeginsANewEpoch(t *testing.T) {
	for _, lost := range []string{"e", "s", "b", "a"} {
		t.Run(lost, func(t *testing.T) {
			each(t, func(b bundle) {
				b.put("k", "value", 1)
				lease, nonce := b.expect("other", l2.Leased)
				old := b.renew("p", "", 0, 1)
				b.del(lost)

				r, _ := b.lookup("k")
				if r.Outcome == l2.Hit || r.Position.Epoch == old.Position.Epoch || r.Position.Seq != 0 {
					b.t.Fatalf("%v at %v: the epoch should be new", r.Outcome, r.Position)
				}
				if got := b.fill("other", lease.Position.Epoch, nonce, "old", 9); got != l2.RefusedEpoch {
					b.t.Fatalf("fill under the old epoch: %v", got)
				}
				if acks := b.acks(r.Position, "me"); len(acks.Laggards) != 0 {
					b.t.Fatalf("registrations of the old epoch are still there: %v", acks.Laggards)
				}
				if again, _ := b.lookup("x"); again.Position.Epoch != r.Position.Epoch {
					b.t.Fatal("a second epoch was made")
				}
			})
		})
	}
}

func TestLossOfTheSentinelAloneBeginsANewEpoch(t *testing.T) {
	each(t, func(b bundle) {
		old := b.renew("p", "", 0, 1)
		b.client.HDel(b.t.Context(), key("a"), "!")
		if got := b.renew("p", "", 0, 2); got.Position.Epoch == old.Position.Epoch {
			b.t.Fatal("the epoch is still the old one")
		}
	})
}

func TestUnreadableStateBeginsANewEpoch(t *testing.T) {
	for _, broken := range []string{"e", "s", "b", "a"} {
		t.Run(broken, func(t *testing.T) {
			each(t, func(b bundle) {
				old := b.renew("p", "", 0, 1)
				b.del(broken)
				b.client.LPush(b.t.Context(), key(broken), "of another type")
				got := b.renew("p", "", 0, 2)
				if got.Position.Epoch == old.Position.Epoch {
					b.t.Fatal("the epoch is still the old one")
				}
				if again := b.renew("p", "", 0, 3); again.Position != got.Position {
					b.t.Fatalf("%v and then %v", got.Position, again.Position)
				}
			})
		})
	}
}

func TestACounterThatCannotCountBeginsANewEpoch(t *testing.T) {
	for _, s := range []string{"", "x", "-1", "007", "99999999999999999999"} {
		each(t, func(b bundle) {
			old := b.renew("p", "", 0, 1)
			b.client.Set(b.t.Context(), key("s"), s, 0)
			if got := b.invalidate(1, "k"); got.Position.Epoch == old.Position.Epoch || got.Position.Seq != 1 {
				b.t.Errorf("%q: %v", s, got.Position)
			}
		})
	}
}

func TestLossOfALeaseRefusesItsFill(t *testing.T) {
	each(t, func(b bundle) {
		r, nonce := b.expect("k", l2.Leased)
		b.del("l:k")
		if got := b.fill("k", r.Position.Epoch, nonce, "value", 1); got != l2.RefusedLease {
			b.t.Fatalf("fill: %v", got)
		}
	})
}

func TestLossOfAValueIsAMiss(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "value", 1)
		b.del("d:k")
		b.expect("k", l2.Leased)
	})
}

func TestFlushAllBeginsANewEpoch(t *testing.T) {
	each(t, func(b bundle) {
		r, nonce := b.expect("k", l2.Leased)
		b.client.FlushAll(b.t.Context())
		if got := b.fill("k", r.Position.Epoch, nonce, "value", 1); got != l2.RefusedEpoch {
			b.t.Fatalf("fill: %v, want refused: epoch", got)
		}
	})
}

func TestValueOfAnotherEpochIsAMissAndIsReplaced(t *testing.T) {
	each(t, func(b bundle) {
		b.put("k", "old", 1)
		if _, err := b.Reset(b.t.Context(), 0, ""); err != nil {
			b.t.Fatal(err)
		}
		b.put("k", "new", 2)
		if hit, _ := b.expect("k", l2.Hit); string(hit.Envelope) != "new" {
			b.t.Fatalf("got %q", hit.Envelope)
		}
	})
}

func TestRestartWithAnOldCopyBeginsANewEpoch(t *testing.T) {
	server := redistest.Start(t)
	b := bundle{Store: newStore(t, server.Client()), t: t, client: server.Client(), real: true}
	b.put("k", "revoked", 1)
	old := b.renew("p", "", 0, 1)
	server.Do("SAVE")
	b.invalidate(2, "k") // after the copy was made
	server.Restart()

	if n := server.Do("EXISTS", key("e"), key("d:k")); n != int64(2) {
		t.Fatalf("the copy was not loaded: %v keys", n)
	}
	r, _ := b.lookup("k")
	if r.Outcome == l2.Hit || r.Position.Epoch == old.Position.Epoch {
		t.Fatalf("%v %q in epoch %s: the revoked value is back", r.Outcome, r.Envelope, r.Position.Epoch)
	}
}

func TestReplicaRefusesEveryScript(t *testing.T) {
	primary, replica := redistest.Start(t, "--repl-diskless-sync-delay", "0"), redistest.Start(t)
	b := bundle{Store: newStore(t, primary.Client()), t: t, client: primary.Client(), real: true}
	b.put("k", "value", 1)
	host, port := "127.0.0.1", primary.Addr()[len("127.0.0.1:"):]
	replica.Do("REPLICAOF", host, port)
	client := replica.Client()
	redistest.Eventually(t, replicationTime, "replicated value", func() bool {
		return client.Exists(t.Context(), key("d:k")).Val() == 1
	})
	onReplica := newStore(t, client)
	if r, err := onReplica.Get(t.Context(), l2.Lookup{ID: newID(t, "k")}); !errors.Is(err, l2.ErrReplica) {
		t.Fatalf("get on a replica: %v, %v, want ErrReplica", r.Outcome, err)
	}

	// Promoted, it is a new life of the state: what the old primary knew and this one does not cannot be told.
	before := b.renew("p", "", 0, 1)
	replica.Do("REPLICAOF", "NO", "ONE")
	promoted := l2.Renew(t.Context(), client, []l2.Renewal{{Store: onReplica, Process: "p"}})[0]
	if promoted.Err != nil || promoted.Position.Epoch == before.Position.Epoch {
		t.Fatalf("promoted: epoch %s, %v: want a new one", promoted.Position.Epoch, promoted.Err)
	}
}

func TestResetReplacesOnlyTheEpochItNames(t *testing.T) {
	each(t, func(b bundle) {
		ctx := b.t.Context()
		first := b.renew("p", "", 0, 1).Position
		next := b.subscribe()
		second, err := b.Reset(ctx, 0, first.Epoch)
		if err != nil || second.Epoch == first.Epoch || second.Seq != 0 {
			b.t.Fatalf("%v, %v, want a new epoch", second, err)
		}
		if m := next(); m.Epoch != second.Epoch || !m.NoInvalidation || m.AckRequest {
			b.t.Fatalf("message %+v, want one of the new epoch %s", m, second.Epoch)
		}
		if again, err := b.Reset(ctx, 0, first.Epoch); err != nil || again != second {
			b.t.Fatalf("reset of an epoch long gone: %v, %v, want %v", again, err, second)
		}
		if third, err := b.Reset(ctx, 0, ""); err != nil || third.Epoch == second.Epoch {
			b.t.Fatalf("unconditional reset: %v, %v, want a new epoch", third, err)
		}
	})
}

func TestUnconditionalResetOfALostStateMakesOneEpoch(t *testing.T) {
	each(t, func(b bundle) {
		p, err := b.Reset(b.t.Context(), 0, "")
		if err != nil {
			b.t.Fatal(err)
		}
		if r := b.renew("p", "", 0, 1); r.Position != p {
			b.t.Fatalf("%v, want %v", r.Position, p)
		}
	})
}
