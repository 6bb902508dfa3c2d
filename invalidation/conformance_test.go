package invalidation_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

// member is one of several caches of a namespace.
type member struct {
	invalidation.Bus
	target *recorder
}

// conformance is what every Bus promises. newMember joins one more cache to the same namespace.
func conformance(t *testing.T, newMembers func(t *testing.T) (newMember func() member)) {
	claims := []struct {
		name  string
		proof func(t *testing.T, a, b member)
	}{
		{"a lease is held after a renewal", func(t *testing.T, a, b member) {
			if err := a.Renew(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if l := a.Lease(0); !l.Valid(invalidation.Now()) || l.Held() != l.Until() {
				t.Fatalf("until %d, held %d, now %d", l.Until(), l.Held(), invalidation.Now())
			}
			if h := a.Health(); h.Lease == 0 || h.Err != nil || h.State > invalidation.Weak {
				t.Fatalf("%+v", h)
			}
		}},
		{"an invalidation is applied here when it returns and everywhere when it is in force", func(t *testing.T, a, b member) {
			x := id(t, "x")
			here, there := a.target.voids(x), b.target.voids(x)
			r := a.Invalidate(t.Context(), []l2.ID{x}, 0)
			if a.target.voids(x) <= here || !r.Executed() || r.Err() != nil {
				t.Fatalf("here: %v, executed %t, %v", a.target.all(), r.Executed(), r.Err())
			}
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			// Who has not heard of it has no lease.
			if b.Lease(0).Valid(invalidation.Now()) && b.target.voids(x) <= there {
				t.Fatalf("there: %v", b.target.all())
			}
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal("a second wait:", err)
			}
		}},
		{"an invalidation of everything is applied everywhere when it is in force", func(t *testing.T, a, b member) {
			x := id(t, "x")
			here, there := a.target.voids(x), b.target.voids(x)
			r := a.InvalidateAll(t.Context(), 0)
			if a.target.voids(x) <= here {
				t.Fatalf("here: %v", a.target.all())
			}
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b.Lease(0).Valid(invalidation.Now()) && b.target.voids(x) <= there {
				t.Fatalf("there: %v", b.target.all())
			}
		}},
		{"a writer's version reaches its own cache", func(t *testing.T, a, b member) {
			a.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 42)
			a.InvalidateAll(t.Context(), 43)
			if a.target.count("own x 42") != 1 || a.target.count("raise all 43") != 1 {
				t.Fatal(a.target.all())
			}
		}},
		{"the caller's cancellation does not stop an invalidation", func(t *testing.T, a, b member) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			for _, r := range []*invalidation.Receipt{a.Invalidate(ctx, []l2.ID{id(t, "x")}, 0), a.InvalidateAll(ctx, 0)} {
				redistest.Eventually(t, patience, "execution", r.Executed)
			}
		}},
		{"an invalidation of nothing does nothing", func(t *testing.T, a, b member) {
			before := len(a.target.all())
			r := a.Invalidate(t.Context(), nil, 0)
			if err := r.Wait(t.Context()); err != nil || !r.Executed() || r.Token() != "" && len(a.target.all()) != before {
				t.Fatal(err, r.Token(), a.target.all())
			}
		}},
		{"a token is read by every member", func(t *testing.T, a, b member) {
			r := a.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 7)
			if floor, err := b.Tokens().Parse(r.Token()); err != nil || floor.AsOf != 7 || r.AsOf() != 7 {
				t.Fatalf("%+v, %v", floor, err)
			}
			r = a.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 0)
			floor, err := b.Tokens().Parse(r.Token())
			if err != nil {
				t.Fatal(err)
			}
			want, named := floor.Position(0)
			if !named || want.Epoch == "" {
				t.Fatalf("%q names %+v", r.Token(), want)
			}
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			redistest.Eventually(t, patience, "position of the token", func() bool {
				have := b.Position(0)
				return have.Epoch == want.Epoch && have.Seq >= want.Seq
			})
		}},
		{"a receipt names the life it was executed in", func(t *testing.T, a, b member) {
			if err := a.Renew(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			r := a.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 0)
			now, err := b.Epoch(t.Context())
			if err != nil || now == "" || r.Epoch() != now {
				t.Fatalf("executed in %q, now %q, %v", r.Epoch(), now, err)
			}
		}},
		{"a closed member holds no lease, and others do not wait for it", func(t *testing.T, a, b member) {
			leasedMembers(t, a, b)
			for range 2 {
				if err := b.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if b.Lease(0).Valid(invalidation.Now()) {
				t.Fatal("a closed member holds a lease")
			}
			if err := b.Renew(t.Context(), 0); !errors.Is(err, invalidation.ErrClosed) {
				t.Fatalf("renewed: %v", err)
			}
			first := a.Invalidate(t.Context(), []l2.ID{id(t, "x")}, 0)
			if err := first.Wait(t.Context()); err != nil { // sits out a young epoch
				t.Fatal(err)
			}
			quick(t, a, bound/2)
		}},
		{"it is closed while everything goes on", func(t *testing.T, a, b member) {
			x := id(t, "x")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var wg sync.WaitGroup
			for range 4 {
				for _, m := range []member{a, b} {
					wg.Go(func() { _ = m.Invalidate(ctx, []l2.ID{x}, 0).Wait(ctx) })
					wg.Go(func() { _ = m.InvalidateAll(ctx, 0).Wait(ctx) })
					wg.Go(func() { _ = m.Renew(ctx, 0) })
					wg.Go(func() { m.Health(); m.Position(0); m.Usable(ctx, x); m.Observe(0, "") })
				}
				wg.Go(func() { _ = b.Close(ctx) })
			}
			wg.Wait()
			if ctx.Err() != nil {
				t.Fatal("something hung")
			}
			if err := b.Close(t.Context()); err != nil || b.Lease(0).Valid(invalidation.Now()) {
				t.Fatal(err)
			}
		}},
	}
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) {
			newMember := newMembers(t)
			c.proof(t, newMember(), newMember())
		})
	}
}

func leasedMembers(t *testing.T, members ...member) {
	t.Helper()
	for _, m := range members {
		redistest.Eventually(t, patience, "lease", func() bool { return m.Lease(0).Valid(invalidation.Now()) })
	}
}

func TestRedisConforms(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		conformance(t, func(t *testing.T) func() member {
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			return func() member {
				p := join(t, client)
				return member{Bus: p, target: p.target}
			}
		})
	})
}

func TestLocalConforms(t *testing.T) {
	conformance(t, func(t *testing.T) func() member {
		local := &invalidation.Local{}
		return func() member { return localMember(t, local, invalidation.Membership{}) }
	})
}

func TestLocalWithALogConforms(t *testing.T) {
	conformance(t, func(t *testing.T) func() member {
		local := &invalidation.Local{}
		log := &logbook{}
		return func() member {
			m := localMember(t, local, invalidation.Membership{Log: log, Bound: bound, Sole: true})
			if err := m.Renew(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			return m
		}
	})
}

// localMember joins a cache to a Local. It is closed when the test ends.
func localMember(t *testing.T, local *invalidation.Local, m invalidation.Membership) member {
	t.Helper()
	target := &recorder{}
	m.Namespace, m.Target = "ns", target
	b, err := local.Join(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return member{Bus: b, target: target}
}
