package checkpoint_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
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
		set, index := size(t, client)
		for n := 0; n < 20_000 && index > ended/4; n += 500 { // one in a hundred looks at ten
			for range 500 {
				save(t, s, "live", "x")
			}
			set, index = size(t, client)
		}
		if index > ended/4 || set != index {
			t.Errorf("%d in the set and %d in the index of one thread", set, index)
		}
	})
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

func TestASaveEntersItsIDAgainWhereSetAndIndexWereLost(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		save(t, s, "t", "1")
		client.Del(t.Context(), "agents:threads", "agents:threads.index")
		save(t, s, "t", "2")
		if set, index := size(t, client); set != 1 || index != 1 {
			t.Errorf("%d in the set and %d in the index of one thread", set, index)
		}
	})
}

// The set enters its id again for that.
func TestAThreadThatLostItsStateAndIsSavedAgainIsListedAlsoWithoutTheIndex(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := open(t, checkpoint.Config{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})})
		save(t, s, "t", "1")
		original{t, client}.delete("t")
		save(t, s, "t", "2")
		client.Del(t.Context(), "agents:threads.index")
		if got := ids(t, s, 10); !slices.Equal(got, []string{"t"}) {
			t.Errorf("%q", got)
		}
	})
}

// Each part has a prefix of its own, and so a slot.
func TestAMoveOfTheSlotLosesNoThreadNoPinAndNoVersion(t *testing.T) {
	const n, pinned, changed = 20, "7", "3"
	index := func(key string) bool {
		return strings.HasSuffix(key, ":threads") || strings.HasSuffix(key, ":threads.index")
	}
	list := func(t *testing.T, s *checkpoint.Store) {
		t.Helper()
		page, err := s.List(t.Context(), "", n)
		if err == nil && len(page.Threads) != n {
			t.Errorf("%d of %d threads are listed, without an error", len(page.Threads), n)
		}
		for _, thread := range page.Threads {
			if thread.Pinned != (thread.ID == pinned) {
				t.Errorf("%s is listed as pinned: %t", thread.ID, thread.Pinned)
			}
		}
	}
	saves := func(t *testing.T, s *checkpoint.Store) {
		t.Helper()
		for range 500 { // one in a hundred looks at other threads
			save(t, s, "0", "2")
		}
	}
	cluster := redistest.StartCluster(t)
	for prefix, part := range map[string]struct {
		first  func(key string) bool // what is moved first
		during func(t *testing.T, s *checkpoint.Store)
	}{
		"index-first": {index, list},
		"index-last":  {func(key string) bool { return !index(key) }, list},
		"states-last": {func(key string) bool { return !strings.Contains(key, ":thread:") }, list},
		"marks-last":  {func(key string) bool { return !strings.Contains(key, ":thread.mark:") }, list},
		"saves":       {func(key string) bool { return index(key) || strings.HasSuffix(key, ":0") }, saves},
	} {
		t.Run(prefix, func(t *testing.T) {
			client := cluster.Client()
			s := open(t, checkpoint.Config{
				Backend: onRedis(t, checkpoint.RedisConfig{Client: client, Prefix: prefix, Tagged: true}), TTL: time.Hour,
			})
			for i := range n {
				save(t, s, strconv.Itoa(i), "1")
			}
			version := load(t, s, changed).Version
			if err := s.Pin(t.Context(), pinned); err != nil {
				t.Fatal(err)
			}
			move := cluster.BeginMove("{" + prefix + "}")
			if move.Keys(part.first) == 0 {
				t.Fatal("the slot is empty")
			}
			part.during(t, s)
			move.End()
			if got := ids(t, s, n); len(got) != n {
				t.Errorf("%d of %d threads are listed after the move", len(got), n)
			}
			if _, err := s.SaveIf(t.Context(), changed, []byte("2"), version); err != nil {
				t.Errorf("nobody else has saved: %v", err)
			}
			save(t, s, pinned, "2")
			if left := client.PTTL(t.Context(), "{"+prefix+"}:thread:"+pinned).Val(); left > 0 {
				t.Errorf("the pinned thread ends in %s", left)
			}
		})
	}
}
