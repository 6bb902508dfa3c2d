package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/session"
)

// original does what a process of the original system does, and tells nobody.
type original struct {
	t      *testing.T
	client redis.UniversalClient
}

func (o original) save(v session.Session) {
	o.t.Helper()
	rec, err := session.Encode(v)
	if err != nil {
		o.t.Fatal(err)
	}
	k := key(v.ID)
	if err := errors.Join(o.client.HSet(o.t.Context(), k, "agent_id", rec.AgentID, "started_at_ns", rec.StartedAtNS).Err(),
		o.client.Expire(o.t.Context(), k, time.Hour).Err()); err != nil {
		o.t.Fatal(err)
	}
}

func (o original) delete(id session.ID) {
	o.t.Helper()
	if err := o.client.Del(o.t.Context(), key(id)).Err(); err != nil {
		o.t.Fatal(err)
	}
}

func TestForeignWritesAreSeenAtOnceWithForeign(t *testing.T) {
	overRedis(t, func(t *testing.T, f *fleet) {
		foreign := func(c *session.Config) { c.Foreign = true }
		stores := map[string]*session.Store{
			"linked":   f.open(t, foreign),
			"unlinked": f.open(t, foreign, func(c *session.Config) { c.Link = nil }),
			"alone":    f.open(t, func(c *session.Config) { c.Link = nil }), // nobody would tell it
			"off":      f.open(t, func(c *session.Config) { c.Name, c.MemoryTTL = "off", -1 }),
		}
		o := original{t, f.client(t)}
		for n := byte(1); n < 10; n++ {
			o.save(of(sid(1), n))
			for name, s := range stores {
				for range 2 {
					if got, err := s.Load(t.Context(), sid(1)); err != nil || got != of(sid(1), n) {
						t.Fatalf("%s: %+v, %v after a foreign save", name, got, err)
					}
				}
			}
			o.delete(sid(1))
			for _, s := range stores {
				wantAbsent(t, s, sid(1))
				wantAbsent(t, s, sid(1))
			}
		}
		// The other direction: the original sees ours at once, as it has no memory.
		for _, s := range stores {
			save(t, s, of(sid(2), 2))
			if n := o.client.HLen(t.Context(), key(sid(2))).Val(); n != 2 {
				t.Fatalf("%d fields", n)
			}
			if err := s.Delete(t.Context(), sid(2)); err != nil {
				t.Fatal(err)
			}
			if n := o.client.Exists(t.Context(), key(sid(2))).Val(); n != 0 {
				t.Fatal("still there")
			}
		}
	})
}

func TestForeignWritesAreSeenWithinForeignTTL(t *testing.T) {
	const foreignTTL = 200 * time.Millisecond
	overRedis(t, func(t *testing.T, f *fleet) {
		var m meddler
		s := f.open(t, m.meddle, func(c *session.Config) { c.Foreign, c.ForeignTTL, c.Bound = true, foreignTTL, 10*time.Second })
		ready(t, s)
		o := original{t, f.client(t)}
		hits := int64(0)
		for n := byte(1); n < 6; n++ {
			o.save(of(sid(1), n))
			written := time.Now()
			var last time.Time
			eventually(t, "foreign save", func() bool {
				began, before := time.Now(), m.loads.Load()
				got, err := s.Load(t.Context(), sid(1))
				if err == nil && m.loads.Load() == before {
					hits++
				}
				if err == nil && got == of(sid(1), n) {
					return true
				}
				last = began
				return false
			})
			if late := last.Sub(written); late > foreignTTL {
				t.Errorf("an old answer to a load that began %s after the write", late)
			}
		}
		if hits == 0 {
			t.Error("no answer came from memory")
		}
	})
}

// A slow read of the backend is not shared with callers that come long after it began.
func TestALoadIsNotJoinedForLongerThanForeignTTL(t *testing.T) {
	var m meddler
	f := onRedis(t)
	s := f.open(t, m.meddle, func(c *session.Config) { c.Foreign, c.ForeignTTL, c.Bound = true, 20*time.Millisecond, 10*time.Second })
	ready(t, s)
	o := original{t, f.client(t)}
	o.save(of(sid(1), 1))
	hold := make(chan struct{})
	m.hold.Store(&hold)
	old := make(chan error, 1)
	before := m.loads.Load()
	go func() { old <- second(s.Load(t.Context(), sid(1), readthrough.SkipL1())) }() // ends with its load
	eventually(t, "read", func() bool { return m.loads.Load() > before })
	o.save(of(sid(1), 2))
	written := time.Now()
	m.hold.Store(nil)
	eventually(t, "time", func() bool { return time.Since(written) > 20*time.Millisecond })
	want(t, s, of(sid(1), 2), readthrough.SkipL1())
	close(hold)
	if err := <-old; err != nil {
		t.Fatal(err)
	}
}

// B is the namespace's, and ForeignTTL each process's own.
func TestProcessesNeedNotAgreeOnForeignTTL(t *testing.T) {
	f := onRedis(t)
	for _, ttl := range []time.Duration{20 * time.Millisecond, time.Second, 0} {
		s := f.open(t, func(c *session.Config) { c.Foreign, c.ForeignTTL = ttl > 0, ttl })
		ready(t, s)
		save(t, s, of(sid(1), 1))
	}
}
