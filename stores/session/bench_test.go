package session_test

import (
	"testing"
	"time"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

// What does a session cost that is answered from memory, and what the calls that reach Redis, on the loopback interface? The
// raw calls of the original system are the yardstick.
func BenchmarkStore(b *testing.B) {
	f := onRedis(b)
	s, raw, ctx := f.open(b, func(c *session.Config) { c.Bound = 10 * time.Second }), f.client(b), b.Context()
	ready(b, s)
	v := of(sid(1), 1)
	saveAsync(b, s, v)
	run := func(name string, call func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("load/memory", func() error { return second(s.Load(ctx, v.ID)) })
	run("load/redis", func() error { return second(s.Load(ctx, v.ID, readthrough.SkipL1())) })
	run("load/original", func() error { return raw.HMGet(ctx, key(v.ID), "agent_id", "started_at_ns").Err() })
	run("touch", func() error { return s.Touch(ctx, v.ID) })
	run("save/async", func() error { return second(s.SaveAsync(ctx, v)) })
	run("save/original", func() error {
		if err := raw.HSet(ctx, key(v.ID), "agent_id", v.AgentID[:], "started_at_ns", "1").Err(); err != nil {
			return err
		}
		return raw.Expire(ctx, key(v.ID), time.Hour).Err()
	})
}
