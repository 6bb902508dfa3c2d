package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/ratelimit"
)

// child is a process that acts for agents.
type child struct {
	store *ratelimit.Store
}

// serve does what the parent orders until it says no more.
func serve(in io.Reader, out io.Writer) int {
	orders, told := json.NewDecoder(in), json.NewEncoder(out)
	var s setting
	if orders.Decode(&s) != nil {
		return exitFailed
	}
	store, end, err := s.open()
	if err != nil {
		_ = told.Encode(result{Error: err.Error()})
		return exitFailed
	}
	c := child{store: store}
	for told.Encode(result{}) == nil { // ready
		var o order
		if orders.Decode(&o) != nil {
			break
		}
		r, err := c.do(o)
		if err != nil {
			r.Error = err.Error()
		}
		if told.Encode(r) != nil {
			break
		}
	}
	if end() != nil {
		return exitFailed
	}
	return exitDone
}

// patience is longer than any call takes, on a machine with more processes than cores. A service would set less.
const patience = 5 * time.Second

func (s setting) open() (store *ratelimit.Store, end func() error, err error) {
	client, err := l2.NewClient(l2.ClientConfig{
		URL: s.RedisURL, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	})
	if err != nil {
		return nil, nil, err
	}
	backend, err := ratelimit.NewRedis(ratelimit.RedisConfig{Client: client, Tenant: s.Tenant})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	store, err = ratelimit.New(ratelimit.Config{Backend: backend, Processes: s.Processes, Timeout: patience})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return store, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return errors.Join(store.Close(ctx), client.Close())
	}, nil
}

func (c child) do(o order) (r result, err error) {
	ctx, began := context.Background(), time.Now()
	switch o.Part {
	case dimensions:
		r, err = c.act(ctx)
	case fixed:
		r, err = c.keepPace(ctx, fixedPace, o.Duration)
	case smooth:
		r, err = c.keepPace(ctx, smoothPace, o.Duration)
	case exact:
		r, err = decide(o.Duration, 1, func() (ratelimit.Result, error) { return c.store.Allow(ctx, "exact", 1, exactLimit) })
	case leased:
		r, err = c.decideByLease(ctx, o.Duration)
	default:
		err = fmt.Errorf("unknown part %q", o.Part)
	}
	r.Took = time.Since(began)
	return r, err
}

// act lets every agent act, in this process as in all others, until one of the limits refuses.
func (c child) act(ctx context.Context) (r result, err error) {
	var group sync.WaitGroup
	var allowed [agents]atomic.Int64
	var refused [3]atomic.Int64
	var failed atomic.Pointer[error]
	act := func(agent int) {
		wants := demands(agent)
		for {
			v, err := c.store.AllowAll(ctx, wants...)
			if err != nil {
				failed.Store(&err)
				return
			}
			if !v.Allowed {
				refused[v.Refused].Add(1)
				return
			}
			allowed[agent].Add(1)
		}
	}
	for agent := range agents {
		for range hands[agent] {
			group.Go(func() { act(agent) })
		}
	}
	group.Wait()
	for i := range allowed {
		r.Agents[i] = allowed[i].Load()
	}
	for i := range refused {
		r.Refused[i] = refused[i].Load()
	}
	if err := failed.Load(); err != nil {
		return r, *err
	}
	return r, nil
}

// keepPace spends what it can get, and waits as long as it is told to.
func (c child) keepPace(ctx context.Context, limit ratelimit.Limit, d time.Duration) (r result, err error) {
	r.Slots = make([]int64, (d+slot-1)/slot)
	for began := time.Now(); ; {
		a, err := c.store.Allow(ctx, "pace", 1, limit)
		if err != nil {
			return r, err
		}
		since := time.Since(began)
		if a.Allowed {
			r.Allowed++
			r.Slots[min(int(since/slot), len(r.Slots)-1)]++
		}
		if since+a.RetryAfter >= d {
			return r, nil
		}
		if a.RetryAfter > 0 {
			<-time.After(a.RetryAfter)
		}
	}
}

func (c child) decideByLease(ctx context.Context, d time.Duration) (r result, err error) {
	lease, err := c.store.Lease(ratelimit.LeaseConfig{Key: "leased", Limit: leasedLimit})
	if err != nil {
		return r, err
	}
	r, err = decide(d, 1000, func() (ratelimit.Result, error) { return lease.Allow(ctx, 1) })
	closing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r, errors.Join(err, lease.Close(closing))
}

// decide makes decisions for so long, and looks at the clock once in a batch.
func decide(d time.Duration, batch int, one func() (ratelimit.Result, error)) (r result, err error) {
	for began := time.Now(); time.Since(began) < d; {
		for range batch {
			a, err := one()
			if err != nil {
				return r, err
			}
			if a.Allowed {
				r.Allowed++
			}
		}
		r.Decisions += int64(batch)
	}
	return r, nil
}
