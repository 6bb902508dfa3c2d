package readthrough

import (
	"context"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// load reads past L1: it joins a load under way that may have read already (joined), or begins one.
func (c *Cache[K, V]) load(ctx context.Context, key K, id l2.ID, d demand) (it *item[V], joined bool, err error) {
	if err := c.enter(); err != nil {
		return nil, false, err
	}
	landing := c.flights.join(ctx, flightKey(id, d), id.Hash(), c.bus.Lease(c.partition(id)), d.linearizable,
		func(f *flight) (*item[V], error) {
			defer c.active.Done()
			ctx, cancel := c.detach(ctx)
			defer cancel()
			return c.newFetch(f, key, id, d).run(ctx)
		})
	if !landing.began {
		c.active.Done()
	}
	it, err = c.await(ctx, landing)
	return it, !landing.began && !d.linearizable, err
}

// flightKey says which loads are the same: of one id, with one demand.
func flightKey(id l2.ID, d demand) string {
	kind := ""
	switch {
	case d.linearizable:
		kind = "\x00l"
	case d.skipL1:
		kind = "\x00s"
	case d.bounded:
		kind = "\x00t"
	}
	return id.String() + kind + string(d.token)
}

// detach makes the context of a load: the values of the first caller's, a deadline of its own.
func (c *Cache[K, V]) detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), c.cfg.LoadTimeout, errLoadTimeout)
}

// await waits for a load until the caller's context ends. An outcome that is there already counts all the same.
func (c *Cache[K, V]) await(ctx context.Context, l landing) (*item[V], error) {
	select {
	case r := <-l.result:
		it, _ := r.Val.(*item[V])
		return it, r.Err
	default:
	}
	var span telemetry.Span
	if !l.began {
		_, span = c.tel.Start(ctx, telemetry.Op{Name: telemetry.OpJoin, Namespace: c.cfg.Name, Keys: 1})
		span.Link(l.leader)
	}
	select {
	case r := <-l.result:
		if span != nil {
			span.End(telemetry.OK, r.Err)
		}
		it, _ := r.Val.(*item[V])
		return it, r.Err
	case <-ctx.Done():
		if span != nil {
			span.End(telemetry.Failed, ctx.Err())
		}
		return nil, ctx.Err()
	}
}
