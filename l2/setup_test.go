package l2_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

// bundle is a store and what a story about it needs.
type bundle struct {
	*l2.Store
	t      *testing.T
	client redis.UniversalClient
	real   bool
}

func newStore(t *testing.T, client redis.UniversalClient, change ...func(*l2.Config)) *l2.Store {
	t.Helper()
	cfg := l2.Config{Client: client, Namespace: "ns", Tenant: "t1"}
	for _, c := range change {
		c(&cfg)
	}
	s, err := l2.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// each tells a story on miniredis and on a real server.
func each(t *testing.T, story func(b bundle)) {
	t.Helper()
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		story(bundle{Store: newStore(t, client), t: t, client: client, real: real})
	})
}

func (b bundle) id(raw string) l2.ID { return newID(b.t, raw) }

func newID(t testing.TB, raw string) l2.ID {
	t.Helper()
	id, err := l2.NewID(raw)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// lookup gets with a new nonce.
func (b bundle) lookup(raw string) (l2.Reply, l2.Nonce) {
	b.t.Helper()
	nonce := l2.NewNonce()
	r, err := b.Get(b.t.Context(), l2.Lookup{ID: b.id(raw), Nonce: nonce})
	if err != nil {
		b.t.Fatal(err)
	}
	return r, nonce
}

// expect gets with a new nonce and requires an outcome.
func (b bundle) expect(raw string, want l2.Outcome) (l2.Reply, l2.Nonce) {
	b.t.Helper()
	r, nonce := b.lookup(raw)
	if r.Outcome != want {
		b.t.Fatalf("get %q: %v, want %v", raw, r.Outcome, want)
	}
	return r, nonce
}

func (b bundle) fill(raw string, epoch l2.Epoch, nonce l2.Nonce, value string, asOf uint64) l2.FillResult {
	b.t.Helper()
	return b.fillMirrored(raw, epoch, nonce, value, "", asOf)
}

func (b bundle) fillMirrored(raw string, epoch l2.Epoch, nonce l2.Nonce, value, mirror string, asOf uint64) l2.FillResult {
	b.t.Helper()
	r, err := b.Fill(b.t.Context(), l2.Fill{
		ID: b.id(raw), Epoch: epoch, Nonce: nonce, Envelope: []byte(value), Mirror: []byte(mirror), TTL: time.Minute, AsOf: asOf,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// put gets the lease and fills it.
func (b bundle) put(raw, value string, asOf uint64) {
	b.t.Helper()
	r, nonce := b.expect(raw, l2.Leased)
	if got := b.fill(raw, r.Position.Epoch, nonce, value, asOf); got != l2.Stored {
		b.t.Fatalf("fill %q: %v, want stored", raw, got)
	}
}

// mirror is what a reader of another system finds; "" without one.
func (b bundle) mirror(raw string) string {
	b.t.Helper()
	v, err := b.client.Get(b.t.Context(), "original:"+b.id(raw).String()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		b.t.Fatal(err)
	}
	return v
}

func (b bundle) invalidate(asOf uint64, raws ...string) l2.Invalidated {
	b.t.Helper()
	inv := l2.Invalidation{AsOf: asOf}
	for _, raw := range raws {
		inv.IDs = append(inv.IDs, b.id(raw))
	}
	done, err := b.Invalidate(b.t.Context(), b.Partition(inv.IDs[0].Hash()), inv)
	if err != nil {
		b.t.Fatal(err)
	}
	return done
}

func (b bundle) renew(process string, epoch l2.Epoch, applied, count uint64) l2.RenewReply {
	b.t.Helper()
	r := l2.Renew(b.t.Context(), b.client, []l2.Renewal{{
		Store: b.Store, Process: process, Epoch: epoch, Applied: applied, Count: count,
	}})[0]
	if r.Err != nil {
		b.t.Fatal(r.Err)
	}
	return r
}

func (b bundle) acks(pos l2.Position, self string, drop ...l2.Ack) l2.AckReply {
	b.t.Helper()
	r, err := b.Acks(b.t.Context(), 0, pos, self, drop)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// key is the name of one of the partition's keys.
func key(suffix string) string { return "lc:{ns@t1.0}:" + suffix }

func (b bundle) del(suffix string) {
	b.t.Helper()
	if err := b.client.Del(b.t.Context(), key(suffix)).Err(); err != nil {
		b.t.Fatal(err)
	}
}

func (b bundle) pttl(suffix string) time.Duration {
	b.t.Helper()
	d, err := b.client.PTTL(b.t.Context(), key(suffix)).Result()
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// subscribe listens to a partition's channel; the function answers the next message.
func (b bundle) subscribe() func() l2.Message {
	b.t.Helper()
	ps := b.client.Subscribe(b.t.Context(), b.Channel(0))
	b.t.Cleanup(func() { _ = ps.Close() })
	if _, err := ps.Receive(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return func() l2.Message {
		b.t.Helper()
		ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
		defer cancel()
		got, err := ps.ReceiveTimeout(ctx, 5*time.Second)
		if err != nil {
			b.t.Fatal(err)
		}
		msg, ok := got.(*redis.Message)
		if !ok {
			b.t.Fatalf("received a %T", got)
		}
		m, err := l2.ParseMessage([]byte(msg.Payload))
		if err != nil {
			b.t.Fatal(err)
		}
		return m
	}
}

// replicationTime is how long a server may take for what it does in its own time.
const replicationTime = 20 * time.Second
