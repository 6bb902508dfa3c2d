package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

// size is how many threads the set and the index of the original prefix name.
func size(t testing.TB, client redis.UniversalClient) (set, index int64) {
	t.Helper()
	set, err := client.SCard(t.Context(), "agents:threads").Result()
	if err != nil {
		t.Fatal(err)
	}
	index, err = client.ZCard(t.Context(), "agents:threads.index").Result()
	if err != nil {
		t.Fatal(err)
	}
	return set, index
}

func TestAnIndexOfThreadsThatExpireDoesNotOnlyGrow(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		const kept, ended = 20, 1000
		for i := range kept {
			save(t, s, "kept"+strconv.Itoa(i), "x")
		}
		short := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: time.Millisecond})
		for i := range ended {
			save(t, short, "ended"+strconv.Itoa(i), "x")
		}
		// A save that makes the index longer looks at four of it, so that about a third as many as live are dead.
		set, index := size(t, client)
		if index > ended/2 || set != index {
			t.Errorf("%d in the set and %d in the index after %d threads that ended", set, index, ended)
		}
		dead := client.ZCard(t.Context(), "agents:threads.index").Val() - kept
		for i := range 20 * kept {
			save(t, s, "kept"+strconv.Itoa(i%kept), "x") // makes nothing longer
		}
		if _, index = size(t, client); index > kept+dead {
			t.Errorf("%d in the index, it had %d", index, kept+dead)
		}
		for i := range 200 {
			save(t, s, "more"+strconv.Itoa(i), "x")
		}
		if set, index = size(t, client); index > 2*(kept+200) || set != index {
			t.Errorf("%d in the set and %d in the index of %d", set, index, kept+200)
		}
	})
}

func TestTheDeadLeaveTheIndexAlsoWhereNoThreadIsNew(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		s, short := open(t, checkpoint.Config{Backend: b}), open(t, checkpoint.Config{Backend: b, TTL: soon})
		save(t, s, "live", "x")
		const ended = 200
		for i := range ended {
			save(t, short, "ended"+strconv.Itoa(i), "x")
		}
		eventually(t, "the end", func() bool { return client.DBSize(t.Context()).Val() == 4 })
		for range 2000 {
			save(t, s, "live", "x")
		}
		if set, index := size(t, client); index > ended/4 || set != index {
			t.Errorf("%d in the set and %d in the index of one thread", set, index)
		}
	})
}

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

func TestAListWhoseIndexIsLostDoesNotEndAsIfThatWereAll(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		ours := open(t, checkpoint.Config{Backend: b})
		foreign := open(t, checkpoint.Config{Backend: b, Foreign: true})
		o := original{t, client}
		for name, test := range map[string]struct {
			*checkpoint.Store
			save func(id string)
		}{
			"ours":         {ours, func(id string) { save(t, ours, id, "x") }},
			"among others": {foreign, func(id string) { save(t, foreign, id, "x") }},
			"left behind":  {ours, func(id string) { o.save(id, "x", 0) }},
		} {
			flush(t, client)
			o.save("a b", "an odd id", 0)
			for _, id := range []string{"a", "b", "c", "d"} {
				test.save(id)
			}
			page, err := test.List(t.Context(), "", 2)
			if err != nil || page.Next == "" {
				t.Fatal(err)
			}
			client.Del(t.Context(), "agents:threads.index")
			_, err = test.List(t.Context(), page.Next, 2)
			unknown(t, name+": the second page", err)
			if got := ids(t, test.Store, 3); len(got) != 4 {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}

// evictor deletes the index before each script.
type evictor struct {
	redis.Hook
	index *redis.Client
}

func (evictor) DialHook(next redis.DialHook) redis.DialHook { return next }
func (evictor) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (e evictor) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		e.index.Del(ctx, "agents:threads.index")
		return next(ctx, cmd)
	}
}

func TestAnIndexThatIsLostAgainAndAgainIsNoEmptyList(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		save(t, s, "t", "x")
		direct := client.(*redis.Client)
		evicting := redis.NewClient(direct.Options())
		t.Cleanup(func() { _ = evicting.Close() })
		evicting.AddHook(evictor{index: direct})
		s = open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: evicting})})
		page, err := s.List(t.Context(), "", 10)
		unknown(t, "a list", err)
		if len(page.Threads) > 0 {
			t.Errorf("%+v", page)
		}
	})
}

// What the set has besides was never in the index.
func TestAListEndsWhenAllThatIsLeftOfItHasEnded(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		o := original{t, client}
		for name, test := range map[string]struct {
			id     string
			shared bool
		}{
			"an odd id":               {id: "a b"},
			"an odd id, Foreign":      {id: "a b", shared: true},
			"the empty id":            {id: ""},
			"the empty id, Foreign":   {id: "", shared: true},
			"an id of after page one": {id: "new", shared: true},
		} {
			flush(t, client)
			s := open(t, checkpoint.Config{Backend: b, Foreign: test.shared})
			for _, id := range []string{"t1", "t2", "t3"} {
				save(t, s, id, "x")
			}
			page, err := s.List(t.Context(), "", 2)
			if err != nil || page.Next == "" {
				t.Fatal(err)
			}
			o.save(test.id, "x", 0)
			for _, id := range []string{"t1", "t2", "t3"} {
				if err := s.Delete(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			if last, err := s.List(t.Context(), page.Next, 2); err != nil || len(last.Threads) > 0 || last.Next != "" {
				t.Errorf("%s: %+v, %v", name, last, err)
			}
			if _, ok := o.load(test.id); !ok || !slices.Equal(o.list(), []string{test.id}) {
				t.Errorf("%s: %t, %q", name, ok, o.list())
			}
		}
	})
}

func TestATTLBelowAMillisecondIsNotNone(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		for _, id := range []string{"saved", "kept"} {
			ttl := time.Nanosecond
			if id == "kept" {
				ttl = time.Hour
			}
			if _, err := b.Save(t.Context(), id, checkpoint.Write{TTL: ttl}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Keep(t.Context(), "kept", checkpoint.Keep{TTL: time.Nanosecond}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of both", func() bool {
			return client.Exists(t.Context(), "agents:thread:saved", "agents:thread:kept").Val() == 0
		})
	})
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

func TestExpiredThreadsDoNotStayListed(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		dead := 300
		if real {
			dead = 5000 // more than one script of a list looks at
		}
		b := onRedis(t, checkpoint.RedisConfig{Client: client})
		s, short := open(t, checkpoint.Config{Backend: b}), open(t, checkpoint.Config{Backend: b, TTL: soon})
		save(t, s, "oldest", "x")
		pipe := client.Pipeline() // dead ones in bulk
		for i := range dead {
			id := fmt.Sprintf("dead %d", i)
			pipe.SAdd(t.Context(), "agents:threads", id)
			pipe.ZAdd(t.Context(), "agents:threads.index", redis.Z{Score: float64(time.Now().UnixMicro() + int64(i)), Member: id})
			pipe.Set(t.Context(), "agents:thread.mark:"+strings.ReplaceAll(id, " ", "%20"), "1 1 0", 0)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		save(t, short, "short", "x")
		eventually(t, "end", func() bool { return absent(t, short, "short") })
		if got := ids(t, s, 10); !slices.Equal(got, []string{"oldest"}) {
			t.Errorf("%d listed: %.200q", len(got), got)
		}
		if set, index := size(t, client); set != 1 || index != 1 {
			t.Errorf("%d and %d left", set, index)
		}
		if marks := client.Keys(t.Context(), "*mark*").Val(); len(marks) != 1 {
			t.Errorf("%d marks left", len(marks))
		}
	})
}

func TestStateIndexAndEndAreWrittenInOneStep(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: time.Hour})
	saved := save(t, s, "t", "1") // the server knows the scripts now
	want(t, s, "t", "1")
	for name, call := range map[string]func() error{
		"save": func() error { _, err := s.Save(t.Context(), "t", []byte("2")); return err },
		"saveif": func() error {
			_, err := s.SaveIf(t.Context(), "t", []byte("2"), saved.Version)
			return ignoreConflict(err)
		},
		"touch":  func() error { return s.Touch(t.Context(), "t") },
		"pin":    func() error { return s.Pin(t.Context(), "t") },
		"unpin":  func() error { return s.Unpin(t.Context(), "t") },
		"load":   func() error { _, err := s.Load(t.Context(), "t"); return err },
		"list":   func() error { _, err := s.List(t.Context(), "", 10); return err },
		"delete": func() error { return s.Delete(t.Context(), "u") },
	} {
		if err := call(); err != nil { // makes the script known
			t.Fatalf("%s: %v", name, err)
		}
		before := redistest.CountCommands(t, client)
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := redistest.CountCommands(t, client).Since(before).Scripts(); n != 1 {
			t.Errorf("%s: %d round trips", name, n)
		}
	}
	// A full Redis refuses the first write of a save, and then there must be no other.
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 1)
	if _, err := s.Save(t.Context(), "new", []byte("x")); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Fatalf("on a full Redis: %v", err)
	}
	if client.Exists(t.Context(), "agents:thread:new", "agents:thread.mark:new").Val() != 0 ||
		client.SIsMember(t.Context(), "agents:threads", "new").Val() {
		t.Error("half of a thread is there")
	}
	if page, err := s.List(t.Context(), "", 10); err != nil || len(page.Threads) != 1 {
		t.Errorf("a full Redis lists %+v, %v", page, err)
	}
	client.SRem(t.Context(), "agents:threads", "t") // nor does it matter that the set cannot be healed now
	if page, err := s.List(t.Context(), "", 10); err != nil || len(page.Threads) != 1 {
		t.Errorf("a full Redis lists %+v, %v", page, err)
	}
	if err := s.Delete(t.Context(), "t"); err != nil {
		t.Errorf("a full Redis does not delete: %v", err)
	}
	if set, index := size(t, client); set != 0 || index != 0 {
		t.Errorf("%d and %d", set, index)
	}
}

func ignoreConflict(err error) error {
	if errors.Is(err, checkpoint.ErrConflict) {
		return nil
	}
	return err
}

// hook does something to the pipeline of a save.
type hook struct {
	redis.Hook
	pipeline func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error
}

func (hook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return h.pipeline(ctx, cmds, next) }
}

// A new state is written under a name of its own first. Nothing of that stays, and without it nothing is saved.
func TestASaveThatIsCutInTheMiddleChangesNothingAndLeavesNothingForEver(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		fresh := func() []string { return client.Keys(t.Context(), "agents:thread.new:*").Val() }
		saved := save(t, s, "t", "1")
		if _, err := s.SaveIf(t.Context(), "t", []byte("x"), saved.Version+1); !errors.Is(err, checkpoint.ErrConflict) {
			t.Fatal(err)
		}
		if left := fresh(); len(left) != 0 {
			t.Errorf("%q are left", left)
		}
		cut := func(h hook) *checkpoint.Store {
			o := *client.(*redis.Client).Options()
			broken := redis.NewClient(&o)
			t.Cleanup(func() { _ = broken.Close() })
			broken.AddHook(h)
			return open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: broken})})
		}
		lost := cut(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			return next(ctx, cmds[1:]) // the new state is evicted before the script
		}})
		_, err := lost.Save(t.Context(), "t", []byte("2"))
		unknown(t, "a new state that was lost", err)
		if !strings.Contains(err.Error(), "nothing is saved") {
			t.Error(err)
		}
		dead := cut(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			_ = next(ctx, cmds[:1]) // the process dies after the first half
			cmds[1].SetErr(errDown)
			return errDown
		}})
		_, err = dead.Save(t.Context(), "t", []byte("2"))
		unknown(t, "a save of a process that died", err)
		if v := want(t, s, "t", "1").Version; v != saved.Version {
			t.Error("something was saved")
		}
		left := fresh()
		if len(left) != 1 || client.PTTL(t.Context(), left[0]).Val() <= 0 {
			t.Errorf("%q are left, for ever", left)
		}
		client.ScriptFlush(t.Context()) // a server that was started anew
		save(t, s, "t", "3")
		want(t, s, "t", "3")
		if left := fresh(); len(left) != 1 {
			t.Errorf("%q are left", left)
		}
	})
}

func TestATTLUnderOneSecondIsNotTruncated(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: 1900 * time.Millisecond})
		save(t, s, "t", "x")
		for _, key := range []string{"agents:thread:t", "agents:thread.mark:t"} {
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= time.Second || ttl > 1900*time.Millisecond {
				t.Errorf("%s: %s", key, ttl)
			}
		}
		short := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client}), TTL: 999 * time.Millisecond})
		save(t, short, "u", "x")
		if ttl := client.PTTL(t.Context(), "agents:thread:u").Val(); ttl <= 0 || ttl > 999*time.Millisecond {
			t.Errorf("%s", ttl)
		}
	})
}

func TestNoTwoPairsOfNamespaceAndIDCollide(t *testing.T) {
	_, client := redistest.Mini(t)
	for _, prefix := range []string{"a:b", "a*", "{a}", "a b", "@a", ":"} {
		if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: client, Prefix: prefix}); err == nil ||
			!strings.HasPrefix(err.Error(), "checkpoint: RedisConfig.Prefix must ") {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	const secret = "se:cret"
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: client, Tenant: secret}); err == nil ||
		strings.Contains(err.Error(), secret) {
		t.Errorf("tenant: %v", err)
	}
	// With ':' these would be the same keys.
	a := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client, Prefix: "a"})})
	b := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client, Prefix: "a-thread"})})
	save(t, a, "thread:x", "a")
	save(t, b, "x", "b")
	save(t, a, "x", "c")
	want(t, a, "thread:x", "a")
	want(t, b, "x", "b")
}

func TestAClusterNeedsTheTaggedLayout(t *testing.T) {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: client}); err == nil ||
		!strings.Contains(err.Error(), "RedisConfig.Tagged") {
		t.Errorf("%v", err)
	}
	onRedis(t, checkpoint.RedisConfig{Client: client, Tagged: true})
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{}); err == nil || !strings.Contains(err.Error(), "RedisConfig.Client") {
		t.Errorf("without a client: %v", err)
	}
	lazy := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = lazy.Close() })
	if _, err := checkpoint.NewRedis(checkpoint.RedisConfig{Client: lazy}); err == nil ||
		!strings.Contains(err.Error(), "ContextTimeoutEnabled") {
		t.Errorf("with a client that ignores deadlines: %v", err)
	}
}

func TestTenantsCannotReadListEvictOrDeleteEachOthersThreads(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		tenant := func(name string) *checkpoint.Store {
			return process(t, client, func(c *checkpoint.Config) {
				c.Tenant = name
				c.Backend = onRedis(t, checkpoint.RedisConfig{Client: client, Tenant: name})
			})
		}
		stores := map[string]*checkpoint.Store{"": tenant(""), "acme": tenant("acme"), "acme2": tenant("acme2")}
		hostile := []string{"t", "*", "@acme:agents:thread:t", "acme:t", "../t", "t\x00", "{t}", ":", "@acme"}
		for name, s := range stores {
			ready(t, s)
			for _, id := range hostile {
				save(t, s, id, name)
			}
		}
		for name, s := range stores {
			for _, id := range hostile {
				want(t, s, id, name)
			}
			if got := ids(t, s, 2); len(got) != len(hostile) {
				t.Errorf("%q lists %q", name, got)
			}
		}
		for _, id := range hostile {
			if err := stores["acme"].Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if got := ids(t, stores["acme"], 10); len(got) != 0 {
			t.Errorf("%q", got)
		}
		for _, name := range []string{"", "acme2"} {
			for _, id := range hostile {
				want(t, stores[name], id, name)
			}
			if got := ids(t, stores[name], 10); len(got) != len(hostile) {
				t.Errorf("%q lists %q", name, got)
			}
		}
		if client.Exists(t.Context(), "agents:thread:t").Val() != 1 {
			t.Error("the empty tenant has other keys than the original system")
		}
		// A token or a cursor of one says nothing to another.
		token := save(t, stores["acme2"], "t", "2").Token()
		if _, err := stores[""].Load(t.Context(), "t", readthrough.AtLeast(token)); !errors.Is(err, readthrough.ErrBadToken) {
			t.Errorf("another tenant's token: %v", err)
		}
	})
}

func TestLosingASingleKeyLosesNoUpdateAndAtMostTheOrder(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
		n := 50 // miniredis is slow
		if real {
			n = 1200 // more than one script adopts
		}
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		var saved checkpoint.Saved
		fill := func() {
			flush(t, client)
			for i := range n {
				saved = save(t, s, strconv.Itoa(i), "x")
			}
		}
		all := func(key string) {
			t.Helper()
			got := ids(t, s, 100)
			slices.Sort(got)
			if listed := len(slices.Compact(got)); listed != n {
				t.Errorf("%d threads are listed without %s", listed, key)
			}
			if set, index := size(t, client); set != int64(n) || index != int64(n) {
				t.Errorf("%d and %d without %s", set, index, key)
			}
		}
		fill()
		for _, key := range []string{"agents:threads", "agents:threads.index"} {
			if client.Del(t.Context(), key).Val() != 1 {
				t.Fatalf("there was no %s", key)
			}
			all(key)
		}
		last := strconv.Itoa(n - 1)
		client.Del(t.Context(), "agents:thread.mark:"+last)
		if _, err := s.SaveIf(t.Context(), last, []byte("y"), saved.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("without a mark nobody knows the version: %v", err)
		}
		if _, err := s.SaveIf(t.Context(), last, []byte("y"), want(t, s, last, "x").Version); err != nil {
			t.Error(err)
		}
		client.Del(t.Context(), "agents:thread:7")
		if !absent(t, s, "7") {
			t.Error("there is a thread without its state")
		}
		if _, err := s.SaveIf(t.Context(), "7", []byte("y"), 0); err != nil {
			t.Error(err)
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

// The sizes of replies are the point of pages.
func TestAListIsPagesAndNeverUnbounded(t *testing.T) {
	_, client := redistest.Mini(t)
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
	for i := range 1100 {
		save(t, s, strconv.Itoa(i), "x")
	}
	for limit, most := range map[int]int{0: 100, 1: 1, 1000: 1000, 1001: 1000, 1 << 40: 1000} {
		page, err := s.List(t.Context(), "", limit)
		if err != nil || len(page.Threads) != most || page.Next == "" {
			t.Errorf("limit %d: %d, %q, %v", limit, len(page.Threads), page.Next, err)
		}
		if page.Threads[0].ID != "1099" {
			t.Errorf("the newest is %s", page.Threads[0].ID)
		}
	}
	if _, err := s.List(t.Context(), "", -1); err == nil {
		t.Error("a negative limit")
	}
}

func TestAServerThatAnswersNonsenseIsUnavailable(t *testing.T) {
	client := redistest.Start(t).Client()
	s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
	client.RPush(t.Context(), "agents:thread:t", "a list")
	if _, err := s.Load(t.Context(), "t"); !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := s.SaveIf(t.Context(), "t", []byte("x"), 1); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	save(t, s, "t", "repaired")
	want(t, s, "t", "repaired")
	client.Del(t.Context(), "agents:threads.index")
	client.Set(t.Context(), "agents:threads.index", "x", 0)
	if page, err := s.List(t.Context(), "", 1); !errors.Is(err, readthrough.ErrUnavailable) || page.Threads != nil {
		t.Errorf("%v, %v", page, err)
	}
	client.Set(t.Context(), "agents:thread:big", bytes.Repeat([]byte("x"), 17<<20), 0)
	_, err := s.Load(t.Context(), "big")
	if large, ok := errors.AsType[*checkpoint.TooLargeError](err); !ok || large.Size != 17<<20 ||
		!errors.Is(err, readthrough.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
