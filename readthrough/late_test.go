package readthrough_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
)

// observer is a client that counts what it sends, and hears too late of what it has looked up.
type observer struct {
	late               atomic.Bool
	renewals, releases atomic.Int64 // releases in one pipeline count once
}

// keysOf is how many keys the script of a command has: 4 that of a renewal, 5 that of a release, 6 those of a lookup and a fill.
func keysOf(cmd redis.Cmder) string {
	if args := cmd.Args(); len(args) > 2 {
		return fmt.Sprint(args[2])
	}
	return ""
}

func (o *observer) sent(cmds ...redis.Cmder) {
	if slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return keysOf(cmd) == "4" }) {
		o.renewals.Add(1)
	}
	if slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return keysOf(cmd) == "5" }) {
		o.releases.Add(1)
	}
}

func (o *observer) heard(err error, cmds ...redis.Cmder) error {
	for _, cmd := range cmds {
		if o.late.Load() && keysOf(cmd) == "6" {
			err = os.ErrDeadlineExceeded
			cmd.SetErr(err)
		}
	}
	return err
}

func (o *observer) DialHook(next redis.DialHook) redis.DialHook { return next }

func (o *observer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		o.sent(cmd)
		return o.heard(next(ctx, cmd), cmd)
	}
}

func (o *observer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		o.sent(cmds...)
		return o.heard(next(ctx, cmds), cmds...)
	}
}

// Nobody else asks for renewals soon: the lease is good for a minute, and it is not L1 that is read.
func TestReadsWhoseAnswersAreLateAskWhetherRedisIsThereAndLeaveNoLease(t *testing.T) {
	for name, read := range map[string]func(c *cache) error{
		"alone": func(c *cache) error { _, err := c.Get(t.Context(), "k", readthrough.SkipL1()); return err },
		"together": func(c *cache) error {
			_, err := c.GetMany(t.Context(), []string{"k"}, readthrough.SkipL1())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, o := redistest.Start(t), &observer{}
			client, probe := server.Client(), server.Client()
			client.AddHook(o)
			src := newSource(map[string]int{"k": 1, "other": 2})
			c := open(t, config{Name: "test", Redis: client, Loader: src, Bound: time.Minute})
			ready(t, c)
			wantGet(t, c, "other", 2, readthrough.SkipL1()) // Redis knows the script now
			o.late.Store(true)
			redistest.Eventually(t, 10*time.Second, "ten renewals", func() bool {
				if err := read(c); err != nil {
					t.Error(err)
				}
				return o.renewals.Load() > 10
			})
			redistest.Eventually(t, 5*time.Second, "fill lease given back", func() bool {
				return probe.Exists(t.Context(), prefix+"l:k").Val() == 0
			})
		})
	}
}
