package l2_test

import (
	"strings"
	"testing"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func as(t *testing.T, server *redistest.Server, rules ...any) bundle {
	t.Helper()
	args := append([]any{"ACL", "SETUSER", "app", "reset", "on", ">s3cret@:/", "~lc:*", "&lc:*", "+@all", "-@admin"}, rules...)
	server.Do(args...)
	client := server.ClientAs("app", "s3cret@:/")
	return bundle{Store: newStore(t, client), t: t, client: client, real: true}
}

func TestUserWithoutInfoIsWeakAndWorks(t *testing.T) {
	server := redistest.Start(t)
	weak := as(t, server, "-info")
	weak.put("k", "value", 1)
	weak.expect("k", l2.Hit)
	first := weak.renew("p", "", 0, 0)
	if !first.Weak {
		t.Fatal("the renewal does not say weak")
	}
	weak.invalidate(2, "k")
	weak.expect("k", l2.Leased)

	// One that sees the replication id cannot tell what happened before it was noted: a new epoch, and then peace.
	strong := bundle{Store: newStore(t, server.Client()), t: t, client: server.Client(), real: true}
	second := strong.renew("q", "", 0, 0)
	if second.Weak || second.Position.Epoch == first.Position.Epoch {
		t.Fatalf("%+v, want a new epoch", second)
	}
	if got := weak.renew("p", "", 0, 1); got.Position != second.Position {
		t.Fatalf("%v, want %v", got.Position, second.Position)
	}
	if got := strong.renew("q", "", 0, 1); got.Position != second.Position {
		t.Fatalf("%v, want %v", got.Position, second.Position)
	}
}

func TestUserWithoutPublishInvalidatesAndSaysSo(t *testing.T) {
	for name, rule := range map[string]string{"command": "-publish", "channel": "resetchannels"} {
		t.Run(name, func(t *testing.T) {
			b := as(t, redistest.Start(t), rule)
			b.put("k", "value", 1)
			if b.renew("p", "", 0, 0).Degraded {
				t.Fatal("degraded before anything was published")
			}
			done := b.invalidate(2, "k")
			if !done.Degraded || done.Position.Seq != 1 {
				t.Fatalf("%+v, want seq 1 and degraded", done)
			}
			b.expect("k", l2.Leased)
			if !b.renew("p", "", 0, 1).Degraded {
				t.Fatal("the renewal does not say degraded")
			}
			if !b.acks(done.Position, "me").Degraded {
				t.Fatal("acks do not say degraded")
			}
			if _, err := b.Reset(t.Context(), 0, ""); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestErrorsHoldNoKeysValuesOrSecrets(t *testing.T) {
	server := redistest.Start(t)
	b := as(t, server)
	secrets := []string{"s3cret", "topsecretid", "topsecretvalue"}
	r, nonce := b.expect("topsecretid", l2.Leased)
	var errs []error
	try := func() {
		_, err := b.Get(t.Context(), l2.Lookup{ID: b.id("topsecretid"), Nonce: nonce})
		errs = append(errs, err)
		_, err = b.Fill(t.Context(), l2.Fill{
			ID: b.id("topsecretid"), Epoch: r.Position.Epoch, Nonce: nonce, Envelope: []byte("topsecretvalue"), TTL: 1e9,
		})
		errs = append(errs, err)
		_, err = b.Invalidate(t.Context(), 0, l2.Invalidation{IDs: []l2.ID{b.id("topsecretid")}})
		errs = append(errs, err)
	}
	server.Do("ACL", "SETUSER", "app", "resetkeys", "~nothing")
	try()
	server.Do("ACL", "SETUSER", "app", "allkeys", "-@write")
	try()
	server.Do("ACL", "SETUSER", "app", "+@all", "resetpass", ">other")
	b.client = server.ClientAs("app", "s3cret@:/")
	b.Store = newStore(t, b.client)
	try()
	server.Kill()
	try()
	failed := 0
	for _, err := range errs {
		if err == nil {
			continue // a busy answer needs no right to write
		}
		failed++
		for _, secret := range secrets {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q holds %q", err, secret)
			}
		}
	}
	if failed < len(errs)-1 {
		t.Errorf("%d of %d calls failed", failed, len(errs))
	}
}
