package checkpoint_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/checkpoint"
)

// A clock that was set back gives orders that have been.
func TestNoVersionComesTwiceWhileTheClockIsBehind(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, m *miniredis.Miniredis, s *checkpoint.Store){
		"deleted": func(t *testing.T, _ *miniredis.Miniredis, s *checkpoint.Store) {
			if err := s.Delete(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
		},
		"expired": func(t *testing.T, m *miniredis.Miniredis, s *checkpoint.Store) {
			m.FastForward(2 * time.Hour)
			if got := ids(t, s, 10); !slices.Equal(got, []string{"other"}) { // drops it
				t.Fatalf("%q", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, client := redistest.Mini(t)
			b := onRedis(t, checkpoint.RedisConfig{Client: client})
			s, endless := open(t, checkpoint.Config{Backend: b, TTL: time.Hour}), open(t, checkpoint.Config{Backend: b})
			at := time.Unix(1_900_000_000, 0)
			m.SetTime(at)
			save(t, endless, "other", "x")
			m.SetTime(at.Add(-2 * time.Second))
			old := save(t, s, "t", "old life")
			end(t, m, s)
			m.SetTime(at.Add(-time.Second))
			if fresh := save(t, s, "t", "new life"); fresh.Version <= old.Version {
				t.Errorf("version %d after %d", fresh.Version, old.Version)
			}
			if _, err := s.SaveIf(t.Context(), "t", nil, old.Version); !errors.Is(err, checkpoint.ErrConflict) {
				t.Errorf("saved over another life: %v", err)
			}
			if got := ids(t, s, 1); !slices.Equal(got, []string{"t", "other"}) {
				t.Errorf("%q", got)
			}
			m.SetTime(at.Add(time.Minute)) // what was kept for it goes
			if got := ids(t, s, 1); len(got) != 2 {
				t.Errorf("%q", got)
			}
			if n := client.ZCard(t.Context(), "agents:threads.index").Val(); n != 2 {
				t.Errorf("%d in the index of two threads", n)
			}
		})
	}
}

// What the mark knows is not lost with it.
func TestNoVersionComesTwiceWhereTheIndexIsLostWhileTheClockIsBehind(t *testing.T) {
	const state, index = "agents:thread:t", "agents:threads.index"
	for name, end := range map[string]func(t *testing.T, m *miniredis.Miniredis, s *checkpoint.Store){
		"deleted": func(t *testing.T, _ *miniredis.Miniredis, s *checkpoint.Store) {
			if err := s.Delete(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
		},
		"listed and deleted": func(t *testing.T, _ *miniredis.Miniredis, s *checkpoint.Store) {
			ids(t, s, 10)
			if err := s.Delete(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
		},
		"listed and expired": func(t *testing.T, m *miniredis.Miniredis, s *checkpoint.Store) {
			ids(t, s, 10)
			m.FastForward(2 * time.Hour)
			ids(t, s, 10)
		},
		"its state is lost": func(_ *testing.T, m *miniredis.Miniredis, _ *checkpoint.Store) { m.Del(state) },
		"its state is lost, and it is listed": func(t *testing.T, m *miniredis.Miniredis, s *checkpoint.Store) {
			m.Del(state)
			ids(t, s, 10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, client := redistest.Mini(t)
			s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: time.Hour})
			at := time.Unix(1_900_000_000, 0)
			m.SetTime(at)
			old := save(t, s, "t", "old life")
			m.SetTime(at.Add(-time.Hour))
			m.Del(index)
			end(t, m, s)
			m.SetTime(at)
			if fresh := save(t, s, "t", "new life"); fresh.Version <= old.Version {
				t.Errorf("version %d after %d", fresh.Version, old.Version)
			}
			if _, err := s.SaveIf(t.Context(), "t", nil, old.Version); !errors.Is(err, checkpoint.ErrConflict) {
				t.Errorf("saved over another life: %v", err)
			}
			m.SetTime(at.Add(time.Minute)) // what was kept for it goes
			ids(t, s, 10)
			if n := client.ZCard(t.Context(), index).Val(); n != 1 {
				t.Errorf("%d in the index of one thread", n)
			}
		})
	}
}

func TestAMarkThatIsNotOursCountsForNothing(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		for _, mark := range []string{"", "x", "1", "999999999999999999999999 1 1", "1 999999999999999999999999 1", "-1 1 1"} {
			save(t, s, "t", "1")
			client.Set(t.Context(), "agents:thread.mark:t", mark, 0)
			loaded, err := s.Load(t.Context(), "t")
			if err != nil {
				t.Fatalf("%q: %v", mark, err)
			}
			if _, err := s.SaveIf(t.Context(), "t", []byte("2"), loaded.Version); err != nil {
				t.Errorf("%q: %v", mark, err)
			}
			if err := s.Delete(t.Context(), "t"); err != nil {
				t.Errorf("%q: %v", mark, err)
			}
		}
	})
}

func TestASaveReplacesAMarkThatIsNotOurs(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: time.Hour})
		const key = "agents:thread.mark:t"
		old := save(t, s, "t", "1").Version
		for _, mark := range []string{"", "0", "5 1 0", "99999999999999999 1 0", "words, the last is 0", "a list"} {
			client.Del(t.Context(), key)
			if mark == "a list" {
				client.RPush(t.Context(), key, mark)
			} else {
				client.Set(t.Context(), key, mark, 0)
			}
			fresh := save(t, s, "t", "2").Version
			if fresh <= old {
				t.Errorf("%q: version %d after %d", mark, fresh, old)
			}
			saved, err := s.SaveIf(t.Context(), "t", []byte("3"), fresh)
			if err != nil {
				t.Fatalf("%q: %v", mark, err)
			}
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 {
				t.Errorf("%q: the new mark has no end", mark)
			}
			old = saved.Version
		}
	})
}

func TestDeleteRemembersNoVersionOfAMarkThatIsNotOurs(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		const key = "agents:thread.mark:t"
		for _, mark := range []string{"9999999999999999 1 0", "9007199254740992 1 0", "99999999999999999 1 0", "1e15 1 0", "a list"} {
			save(t, s, "t", "1")
			client.Del(t.Context(), key)
			if mark == "a list" {
				client.RPush(t.Context(), key, mark)
			} else {
				client.Set(t.Context(), key, mark, 0)
			}
			if err := s.Delete(t.Context(), "t"); err != nil {
				t.Fatalf("%q: %v", mark, err)
			}
			if v := save(t, s, "t", "2").Version; v > checkpoint.Version(time.Now().Add(time.Hour).UnixMicro()) {
				t.Fatalf("%q: version %d after it", mark, v)
			}
		}
	})
}

func TestVersionsAndOrderComeFromTheServersClockAndNeverGoBack(t *testing.T) {
	m, client := redistest.Mini(t)
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
	at := time.Unix(1_900_000_000, 0)
	m.SetTime(at)
	first := save(t, s, "t", "1")
	if first.Version != checkpoint.Version(at.UnixMicro()) {
		t.Fatalf("%d at %d", first.Version, at.UnixMicro())
	}
	m.SetTime(at.Add(-time.Hour))
	second := save(t, s, "u", "1")
	third := save(t, s, "t", "1")
	if first.Version >= second.Version || second.Version >= third.Version {
		t.Errorf("%d, %d, %d", first.Version, second.Version, third.Version)
	}
	if got := ids(t, s, 1); !slices.Equal(got, []string{"t", "u"}) {
		t.Errorf("%q", got)
	}
	client.Del(t.Context(), "agents:threads.index") // the clock is behind, and nothing but the mark knows
	if fourth := save(t, s, "t", "1"); third.Version >= fourth.Version {
		t.Errorf("%d after %d", fourth.Version, third.Version)
	}
	// Far past 2^53 Lua would print other digits.
	m.SetTime(time.UnixMicro(1<<53 - 10))
	for i := range 5 {
		if v := save(t, s, "t", strconv.Itoa(i)).Version; v != checkpoint.Version(1<<53-10+i) {
			t.Fatalf("%d", v)
		}
	}
}

// Of a thread that is there too: its own mark says nothing of the others' orders.
func TestASaveIsListedFirstAlsoWhileTheClockIsBehind(t *testing.T) {
	m, client := redistest.Mini(t)
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: time.Hour})
	at := time.Unix(1_900_000_000, 0)
	m.SetTime(at)
	first := save(t, s, "t", "x").Version
	m.SetTime(at.Add(2 * time.Second))
	save(t, s, "other", "x")
	m.SetTime(at.Add(time.Second))
	for _, write := range []func() (checkpoint.Saved, error){
		func() (checkpoint.Saved, error) { return s.SaveIf(t.Context(), "t", []byte("y"), first) },
		func() (checkpoint.Saved, error) { return s.Save(t.Context(), "t", []byte("y")) },
	} {
		if _, err := write(); err != nil {
			t.Fatal(err)
		}
		if got := ids(t, s, 10); !slices.Equal(got, []string{"t", "other"}) {
			t.Errorf("%q", got)
		}
		save(t, s, "other", "x")
	}
}

// An empty state has the length of none.
func TestSaveIfMissesAnEmptyStateThatWasLost(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		empty := save(t, s, "t", "").Version
		saved, err := s.SaveIf(t.Context(), "t", nil, empty)
		if err != nil {
			t.Fatal(err)
		}
		client.Del(t.Context(), "agents:thread:t")
		if _, err := s.SaveIf(t.Context(), "t", []byte("x"), saved.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("saved over a thread that was lost: %v", err)
		}
	})
}
