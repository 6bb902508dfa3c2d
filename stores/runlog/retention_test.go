package runlog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/runlog"
)

// Must not repeat: silent gaps after trimming.
func TestAReaderWhoAsksForTrimmedEventsIsToldSo(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect(func(c *runlog.Config) { c.MaxEvents = 10 })
		for range 100 {
			add(t, s, "r", text("x"))
		}
		for _, after := range []uint64{0, 5, 88} {
			_, err := s.ListAfter(t.Context(), "r", runlog.Cursor{Seq: after}, 10)
			trimmed, ok := errors.AsType[*runlog.TrimmedError](err)
			if !ok || !errors.Is(err, runlog.ErrTrimmed) || trimmed.After != after || trimmed.First < 90 || trimmed.First > 91 {
				t.Fatalf("after %d: %v", after, err)
			}
			page, err := s.ListAfter(t.Context(), "r", trimmed.Resume(), 100)
			if err != nil || page.Events[0].Seq != trimmed.First || page.LastSeq != 100 || len(page.Events) != int(101-trimmed.First) {
				t.Fatalf("%+v, %v", page, err)
			}
		}
		if p := list(t, s, "r", 91, 100); len(p.Events) != 9 {
			t.Errorf("%+v", p)
		}
		for _, err := range s.Follow(t.Context(), "r", runlog.Cursor{}) {
			if !errors.Is(err, runlog.ErrTrimmed) {
				t.Errorf("a follower: %v", err)
			}
		}
	})
}

// Else nothing goes by age after a failover, until the clock of the new primary is where that of the old one was.
func TestEventsOfAPrimaryWhoseClockWasAheadGoByAgeToo(t *testing.T) {
	const age, ahead = 16 * time.Hour, 100 * 24 * time.Hour
	now := time.Unix(1_800_000_000, 0)
	for name, test := range map[string]func(t *testing.T, at func(time.Time) *runlog.Store, client redisClient){
		"appended": func(t *testing.T, at func(time.Time) *runlog.Store, _ redisClient) {
			add(t, at(now.Add(ahead)), "r", text("1"))
			add(t, at(now.Add(ahead+age/16)), "r", text("2"))
			add(t, at(now), "r", text("3"))
			add(t, at(now.Add(age/2)), "r", text("4"))
		},
		"imported": func(t *testing.T, at func(time.Time) *runlog.Store, client redisClient) {
			for seq, when := range []time.Time{now.Add(ahead), now.Add(ahead + age/16), now, now.Add(age / 2)} {
				originalEntry(t, client, "r", uint64(seq+1), "s1")
				imports(t, at(when), client, "r")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, client := redistest.Mini(t)
			s := open(t, runlog.Config{Backend: onRedis(t, client), MaxAge: age})
			at := func(when time.Time) *runlog.Store {
				m.SetTime(when)
				return s
			}
			test(t, at, client)
			for _, c := range []struct {
				when  time.Time
				first uint64
			}{
				{now.Add(age + time.Millisecond), 4},
				{now.Add(age*3/2 + time.Millisecond), 5},
			} {
				add(t, at(c.when), "r", text("x"))
				_, err := s.ListAfter(t.Context(), "r", runlog.Cursor{}, 10)
				if trimmed, ok := errors.AsType[*runlog.TrimmedError](err); !ok || trimmed.First != c.first {
					t.Errorf("%s later: %v, want it trimmed up to %d", c.when.Sub(now), err, c.first)
				}
			}
			for _, mark := range strings.Fields(client.HGet(t.Context(), "{runs:r}:meta", "marks").Val()) {
				if _, ms, _ := strings.Cut(mark, ":"); ms > fmt.Sprint(now.Add(2*age).UnixMilli()) {
					t.Errorf("the mark %s has stayed", mark)
				}
			}
		})
	}
}

// Must not repeat: keys without any retention.
func TestEveryKeyExpires(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client), MaxAge: time.Hour, KeepAfterEnd: time.Minute})
	old := original(t, client, "old", 3, "s")
	check := func(what string, most time.Duration) {
		t.Helper()
		keys := client.Keys(t.Context(), "{runs:*").Val()
		if len(keys) == 0 {
			t.Fatal("there are no keys")
		}
		for _, key := range keys {
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > most {
				t.Errorf("%s: %s expires in %s", what, key, ttl)
			}
		}
	}
	add(t, s, "r", text("0"))
	check("after an append", time.Hour)
	add(t, s, "r", end())
	check("after the end", time.Minute)
	add(t, s, "r2", texts(64)...)
	if _, err := s.Import(t.Context(), runlog.Original{Client: client}, old); err != nil {
		t.Fatal(err)
	}
	check("after an import", time.Hour)
	for _, key := range client.Keys(t.Context(), "*").Val() {
		if !strings.HasPrefix(key, "{runs:") && !strings.HasPrefix(key, "run:") {
			t.Errorf("%s is left", key)
		}
	}
}

// Else there is a moment at which some of them are gone, and the run is damaged instead of over. That Redis 7.0 does not have
// one time for a whole script shows in one of some hundred runs only; what shows in each is that the time is told, and not how
// long it is until then.
func TestTheKeysOfARunExpireAtOneTime(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client), MaxAge: time.Hour, KeepAfterEnd: time.Minute})
	before := redistest.CountCommands(t, client)
	for i := range 100 {
		run := fmt.Sprint("r", i)
		if i%2 == 0 {
			add(t, s, run, text("x"))
		} else {
			imports(t, s, client, original(t, client, run, 1, "s"))
		}
		if i%4 > 1 {
			add(t, s, run, end())
		}
		at := map[time.Duration]bool{}
		for _, key := range []string{"events", "meta", "ids"} {
			at[client.PExpireTime(t.Context(), "{runs:"+run+"}:"+key).Val()] = true
		}
		if len(at) != 1 {
			t.Errorf("%s expires at %v", run, at)
		}
	}
	if got := redistest.CountCommands(t, client).Since(before); got["pexpire"] != 0 || got["pexpireat"] == 0 || got["pexpireat"]%3 != 0 {
		t.Errorf("%v", got)
	}
}

// A script that takes out all of them at once holds up everybody else's commands.
func TestManyEventsGoInPartsWithSeveralAppends(t *testing.T) {
	client := redistest.Start(t).Client()
	many := open(t, runlog.Config{Backend: onRedis(t, client), MaxEvents: 100_000})
	few := open(t, runlog.Config{Backend: onRedis(t, client), MaxEvents: 10})
	const part, filled = 10_000, 22 * 1024
	for name, test := range map[string]struct {
		*runlog.Store
		stays int64 // at most
	}{
		"by number": {few, 11 + 63}, // of a block
		"by age":    {many, 10},
	} {
		t.Run(name, func(t *testing.T) {
			if err := few.Delete(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			for range filled / 1024 {
				add(t, many, "r", texts(1024)...)
			}
			if test.Store == many { // all that is there was there in 1970
				client.HSet(t.Context(), "{runs:r}:meta", "mark", 0, "marks", "", "last", fmt.Sprintf("%d:1", filled))
			}
			held := func() int64 { return client.ZCard(t.Context(), "{runs:r}:ids").Val() }
			for before := held(); before > test.stays; before = held() {
				add(t, test.Store, "r", text("x"))
				gone := before + 1 - held()
				if gone > part || gone <= 0 {
					t.Fatalf("an append has taken out %d of %d events", gone, before)
				}
			}
			p, err := test.ListAfter(t.Context(), "r", runlog.Cursor{Seq: filled}, 10)
			if err != nil || len(p.Events) != 3 {
				t.Errorf("%+v, %v; want those that were appended meanwhile", p, err)
			}
		})
	}
}
