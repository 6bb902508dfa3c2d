package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/telemetry"
)

// childVariable is set in the environment of a child.
const childVariable = "LAYERCACHE_QUICKSTART_CHILD"

// grace is how long a child may take to end once its stdin has.
const grace = 2 * time.Second

// child is this process as the parent sees it.
type child struct {
	mu  sync.Mutex // guards out
	out *json.Encoder

	orders chan order
}

// serve does what the parent orders until it says stop, and answers the exit code. That the parent is gone, or has given
// up, is no fault of the child.
func serve(in io.Reader, out io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &child{out: json.NewEncoder(out), orders: make(chan order)}
	go c.listen(in, cancel) // ends with stdin, or with the process
	if err := c.obey(ctx); err != nil && ctx.Err() == nil {
		c.tell(notice{Fact: noticeBroken, Error: err.Error()})
		return exitFailed
	}
	return exitDone
}

// listen reads orders. When there are no more it ends the work, and the process if the work does not end.
func (c *child) listen(in io.Reader, cancel context.CancelFunc) {
	for lines := json.NewDecoder(in); ; {
		var o order
		if lines.Decode(&o) != nil {
			break
		}
		c.orders <- o
	}
	time.AfterFunc(grace, func() { os.Exit(exitFailed) })
	cancel()
	close(c.orders)
}

// tell sends a notice. A parent that does not hear it is gone, which listen notices.
func (c *child) tell(n notice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.out.Encode(n)
}

var errNoMoreOrders = errors.New("orders ended early or came out of turn")

// obey opens the stores, decides from start to stop, and closes them.
func (c *child) obey(ctx context.Context) (err error) {
	o := <-c.orders
	if o.Verb != orderOpen || o.Setting == nil {
		return errNoMoreOrders
	}
	m := &meter{Telemetry: telemetry.Nop}
	backend, err := o.Setting.open(ctx, stores.WithTelemetry(m))
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err = errors.Join(err, backend.Close(closing))
	}()
	ids := agentIDs(o.Setting.Mask)
	w := newWorker(ctx, backend.Policies(), mixture(ids, uint64(o.Setting.Number)))
	c.tell(notice{Fact: noticeReady})

	if o = <-c.orders; o.Verb != orderStart {
		return errNoMoreOrders
	}
	defer c.progress(w)()
	found, err := w.work(c.orders, c.tell)
	if err != nil {
		return err
	}
	found.Reported = m.failures()
	c.tell(notice{Fact: noticeResult, Result: found})
	return nil
}

// open opens the stores of a run, in the parent and in its children, and waits until they can answer.
func (s *setting) open(ctx context.Context, opts ...stores.Option) (*stores.Backend, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	backend, err := stores.Open(ctx, stores.Config{
		PolicyStore: "redis",
		Redis:       stores.RedisConfig{URL: stores.NewSecret(s.RedisURL)},
		SQL:         stores.SQLConfig{URL: stores.NewSecret(s.DatabaseURL)},
		Tenant:      s.Tenant,
	}, opts...)
	if err != nil {
		return nil, err
	}
	if err := backend.Ready(ctx); err != nil {
		return nil, errors.Join(err, backend.Close(ctx))
	}
	return backend, nil
}

// progress tells the number of decisions now and then, until stop is called.
func (c *child) progress(w *worker) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with stop
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.tell(notice{Fact: noticeDecisions, Decisions: w.decided.Load()})
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}
