package readthrough

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// errSchema: the value in Redis was written with another codec or schema than this process reads.
var errSchema = errors.New("another codec or schema")

// fillTimeout bounds a call to Redis behind a caller.
const fillTimeout = time.Second

// decode reads the envelope of a hit.
func (x *fetch[K, V]) decode(reply l2.Reply) (_ *item[V], err error) {
	defer recovered(&err) // a codec that panics takes the value for corrupt
	c := x.c
	e, err := l2.ParseEnvelope(reply.Envelope, c.store.Scope(), x.id, c.limits)
	if err != nil {
		return nil, err
	}
	it := &item[V]{
		absent: e.Absent, tier: L2, asOf: e.AsOf, read: e.Created, fresh: x.asked, part: x.part, lease: c.bus.Lease(x.part),
	}
	if e.Absent {
		return it, nil
	}
	if e.Codec != c.codec.ID() || e.Schema != c.cfg.Schema {
		return nil, errSchema
	}
	if it.value, err = c.codec.Decode(e.Payload); err != nil {
		return nil, err
	}
	return it, nil
}

// reject counts a value of Redis that could not be used.
func (c *Cache[K, V]) reject(err error) {
	event := telemetry.PayloadRejectedCorrupt
	if r, ok := errors.AsType[*l2.RejectError](err); ok {
		event = rejections[r.Reason]
	} else if errors.Is(err, errSchema) {
		event = telemetry.PayloadRejectedSchema
	}
	c.tel.Count(c.cfg.Name, event, 1)
}

var rejections = map[l2.Reason]telemetry.Event{
	l2.Corrupt: telemetry.PayloadRejectedCorrupt, l2.Foreign: telemetry.PayloadRejectedForeign,
	l2.UnknownVersion: telemetry.PayloadRejectedVersion, l2.Oversize: telemetry.PayloadRejectedOversize,
}

// encode makes the envelope of an item.
func (c *Cache[K, V]) encode(id l2.ID, it *item[V]) (envelope []byte, err error) {
	defer recovered(&err)
	e := l2.Envelope{Codec: c.codec.ID(), Schema: c.cfg.Schema, AsOf: it.asOf, Created: it.read, Absent: it.absent}
	if !it.absent {
		payload, err := c.codec.Append(nil, it.value)
		if err != nil {
			return nil, err
		}
		if len(payload) > c.limits.MaxDecoded {
			c.tel.Count(c.cfg.Name, telemetry.PayloadRejectedOversize, 1)
			return nil, fmt.Errorf("readthrough: Config.MaxDecoded is %d bytes, the encoded value has %d", c.limits.MaxDecoded, len(payload))
		}
		e.Payload = payload
	}
	if size := l2.EnvelopeOverhead + len(e.Payload); size > c.limits.MaxWire {
		c.tel.Count(c.cfg.Name, telemetry.PayloadRejectedOversize, 1)
		return nil, fmt.Errorf("readthrough: Config.MaxWire is %d bytes, the value with its envelope has %d", c.limits.MaxWire, size)
	}
	return l2.AppendEnvelope(nil, c.store.Scope(), id, e), nil
}

// filling is a loaded item on its way to L2.
type filling[V any] struct {
	id    l2.ID
	epoch l2.Epoch // answered with the lease
	nonce l2.Nonce
	it    *item[V]
	ttl   time.Duration
}

// fillBehind offers items to L2 after their callers were answered, in one pipeline, and then frees the load's slot: fills
// are bounded by MaxLoads too. It is called before the load has ended, so that Close waits for it.
func (c *Cache[K, V]) fillBehind(fillings []*filling[V], free func()) {
	c.behind.Go(func() { // ends with its calls
		defer free()
		ctx, cancel := context.WithTimeout(context.Background(), fillTimeout)
		defer cancel()
		fills := make([]l2.Fill, 0, len(fillings))
		var sent, failed []*filling[V]
		for _, f := range fillings {
			envelope, err := c.encode(f.id, f.it)
			if err != nil {
				c.tel.Report(c.cfg.Name, "encode", err)
				failed = append(failed, f)
				continue
			}
			sent = append(sent, f)
			fills = append(fills, l2.Fill{
				ID: f.id, Epoch: f.epoch, Nonce: f.nonce, Envelope: envelope, Mirror: c.mirror(f.it),
				TTL: max(f.ttl, time.Millisecond), AsOf: f.it.asOf,
			})
		}
		results, err := c.store.FillMany(ctx, fills)
		if err != nil {
			c.tel.Report(c.cfg.Name, "fill", err)
		}
		for i, f := range sent {
			if i >= len(results) || results[i] == 0 {
				failed = append(failed, f)
			}
		}
		leases := make([]l2.FillLease, len(failed))
		for i, f := range failed {
			leases[i] = l2.FillLease{ID: f.id, Nonce: f.nonce}
		}
		_ = c.store.Release(ctx, leases...) // last: it has taken no time from those that can be kept. If it fails, they run out
	})
}

// release gives the fill leases of loads that do not fill back, so that nobody waits for them.
func (c *Cache[K, V]) release(loads ...*fetch[K, V]) {
	var leases []l2.FillLease
	for _, x := range loads {
		if x.nonce != "" {
			leases = append(leases, l2.FillLease{ID: x.id, Nonce: x.nonce})
			x.nonce = ""
		}
	}
	if len(leases) == 0 {
		return
	}
	c.behind.Go(func() { // ends with its call
		ctx, cancel := context.WithTimeout(context.Background(), fillTimeout)
		defer cancel()
		_ = c.store.Release(ctx, leases...) // if that fails, they run out
	})
}
