package checkpoint_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/checkpoint"
)

// original does what a process of the original system does, with its commands.
type original struct {
	testing.TB
	client redis.UniversalClient
}

func (o original) save(id, state string, ttl time.Duration) {
	o.Helper()
	if err := o.client.Set(o.Context(), "agents:thread:"+id, state, ttl).Err(); err != nil {
		o.Fatal(err)
	}
	if err := o.client.SAdd(o.Context(), "agents:threads", id).Err(); err != nil {
		o.Fatal(err)
	}
}

func (o original) load(id string) (string, bool) {
	o.Helper()
	state, err := o.client.Get(o.Context(), "agents:thread:"+id).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		o.Fatal(err)
	}
	return state, err == nil
}

func (o original) list() []string {
	o.Helper()
	ids, err := o.client.SMembers(o.Context(), "agents:threads").Result()
	if err != nil {
		o.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

func (o original) delete(id string) {
	o.Helper()
	o.client.Del(o.Context(), "agents:thread:"+id)
	o.client.SRem(o.Context(), "agents:threads", id)
}

func shared(c *checkpoint.Config) { c.Foreign = true }

func TestTheOriginalSystemReadsOursAndWeRead(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		s := process(t, client, shared)
		const state = `{"todos":[{"content":"c","status":"pending"}],"files":{"a.txt":"<é>"},"scratchpad":{"k":9007199254740993}}`
		save(t, s, "ours", state)
		if got, ok := o.load("ours"); !ok || got != state {
			t.Errorf("the original system reads %q", got)
		}
		o.save("theirs", state, 0)
		want(t, s, "theirs", state)
		if got := o.list(); !slices.Equal(got, []string{"ours", "theirs"}) {
			t.Errorf("the original system lists %q", got)
		}
		if got := ids(t, s, 1); !slices.Equal(got, []string{"theirs", "ours"}) {
			t.Errorf("we list %q", got)
		}
		o.delete("ours")
		if !absent(t, s, "ours") {
			t.Error("it was deleted")
		}
		if err := s.Delete(t.Context(), "theirs"); err != nil {
			t.Fatal(err)
		}
		if _, ok := o.load("theirs"); ok || len(o.list()) != 0 || len(ids(t, s, 10)) != 0 {
			t.Error("something is left")
		}
	})
}

func TestForeignWritesAreSeenAtOnceWithL1OffAndWithinForeignTTLElse(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		off := process(t, client, shared)
		short := process(t, client, shared, func(c *checkpoint.Config) { c.ForeignTTL = soon })
		ready(t, off, short)
		o.save("t", "1", 0)
		want(t, off, "t", "1")
		want(t, short, "t", "1")
		o.save("t", "2", 0)
		written := time.Now()
		want(t, off, "t", "2")
		eventually(t, "sight of the foreign write", func() bool {
			asked := time.Now()
			state := string(load(t, short, "t").Data)
			if state == "1" && asked.Sub(written) > soon {
				t.Fatalf("the old state %s after it was replaced", asked.Sub(written))
			}
			return state == "2"
		})
		o.delete("t")
		if !absent(t, off, "t") {
			t.Error("a thread that was deleted is answered")
		}
		eventually(t, "sight of the foreign deletion", func() bool { return absent(t, short, "t") })
		o.save("t", "3", 0) // an absence is not remembered
		want(t, off, "t", "3")
		want(t, short, "t", "3")
	})
}

func TestALoadIsNotJoinedForLongerThanForeignTTL(t *testing.T) {
	client := redistest.Start(t).Client()
	m := &meddler{Backend: onRedis(t, checkpoint.RedisConfig{Client: client})}
	s := process(t, client, shared, func(c *checkpoint.Config) {
		c.Backend, c.ForeignTTL, c.Bound = m, 20*time.Millisecond, 10*time.Second
	})
	ready(t, s)
	o := original{t, client}
	o.save("t", "1", 0)
	hold := make(chan struct{})
	m.hold.Store(&hold)
	old := make(chan error, 1)
	go func() { // ends with its load
		_, err := s.Load(t.Context(), "t", readthrough.SkipL1())
		old <- err
	}()
	eventually(t, "read", func() bool { return m.loads.Load() > 0 })
	o.save("t", "2", 0)
	written := time.Now()
	m.hold.Store(nil)
	eventually(t, "time", func() bool { return time.Since(written) > 20*time.Millisecond })
	want(t, s, "t", "2", readthrough.SkipL1())
	close(hold)
	if err := <-old; err != nil {
		t.Fatal(err)
	}
}

// B is the namespace's, and ForeignTTL each process's own.
func TestProcessesNeedNotAgreeOnForeignTTL(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		for _, ttl := range []time.Duration{20 * time.Millisecond, time.Second, 0} {
			s := process(t, client, func(c *checkpoint.Config) { c.Foreign, c.ForeignTTL = ttl > 0, ttl })
			ready(t, s)
			save(t, s, "t", "x")
			if err := s.Delete(t.Context(), "t"); err != nil {
				t.Errorf("ForeignTTL %s: %v", ttl, err)
			}
		}
	})
}

// Its mark is found by nobody else.
func TestAPinOfAThreadThatOnlyAnotherProgramSavedEndsWithIt(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		s := process(t, client, shared, func(c *checkpoint.Config) { c.TTL = time.Hour })
		o.save("t", "1", 0)
		if err := s.Pin(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		o.delete("t")
		if got := ids(t, s, 10); len(got) > 0 {
			t.Fatalf("%q", got)
		}
		if left := client.Keys(t.Context(), "agents:*").Val(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		o.save("t", "another life", time.Hour)
		save(t, s, "t", "2")
		if ttl := client.PTTL(t.Context(), "agents:thread:t").Val(); ttl <= 0 {
			t.Errorf("the new life has the pin of the old one: %s", ttl)
		}
	})
}

// The original system accepts it. We cannot, but its id must not stay in the set when its thread has ended.
func TestTheEmptyIDOfAnotherProgramLeavesTheSetWithItsThread(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := process(t, client)
		save(t, s, "t", "1")
		o := original{t, client}
		o.save("", "1", 0)
		if got := ids(t, s, 10); len(got) != 1 || !client.SIsMember(t.Context(), "agents:threads", "").Val() {
			t.Fatalf("%q", got)
		}
		client.Del(t.Context(), "agents:thread:")
		if got := ids(t, s, 10); len(got) != 1 || client.SIsMember(t.Context(), "agents:threads", "").Val() {
			t.Errorf("%q, and the set has the empty id: %t", got, client.SIsMember(t.Context(), "agents:threads", "").Val())
		}
	})
}

func TestSaveIfNoticesAForeignWrite(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		s := process(t, client, shared)
		mine := save(t, s, "t", "one")
		if got := want(t, s, "t", "one").Version; got != mine.Version {
			t.Fatalf("saved as %d, loaded as %d", mine.Version, got)
		}
		_, err := s.SaveIf(t.Context(), "t", []byte("x"), 0)
		if conflict, ok := errors.AsType[*checkpoint.ConflictError](err); !ok || conflict.Current != mine.Version {
			t.Fatalf("%v, want a conflict with %d", err, mine.Version)
		}
		o.save("t", "two", 0) // of the same length
		_, err = s.SaveIf(t.Context(), "t", []byte("lost"), mine.Version)
		conflict, ok := errors.AsType[*checkpoint.ConflictError](err)
		if !ok {
			t.Fatalf("over a foreign write: %v", err)
		}
		theirs := want(t, s, "t", "two")
		if theirs.Version != conflict.Current {
			t.Errorf("version %d, the conflict said %d", theirs.Version, conflict.Current)
		}
		next, err := s.SaveIf(t.Context(), "t", []byte("three"), theirs.Version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SaveIf(t.Context(), "t", []byte("x"), theirs.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("%v", err)
		}
		o.delete("t")
		if _, err := s.SaveIf(t.Context(), "t", []byte("x"), next.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("over a foreign deletion: %v", err)
		}
		o.save("t", "four", 0)
		if _, err := s.SaveIf(t.Context(), "t", []byte("x"), 0); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("over a thread that another program made: %v", err)
		}
	})
}

// A Redis that the original system has used before, and then only we.
func TestThreadsThatTheOriginalSystemLeftAreLoadedListedAndSavedWithoutForeign(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		o.save("old", "1", 0)
		o.save("older", "1", 0)
		o.client.SAdd(t.Context(), "agents:threads", "ended") // as the original system leaves it
		s := process(t, client)
		ready(t, s)
		mine := save(t, s, "new", "1")
		if got := ids(t, s, 2); len(got) != 3 {
			t.Errorf("%q", got)
		}
		if got := o.list(); !slices.Equal(got, []string{"new", "old", "older"}) {
			t.Errorf("the set has %q", got)
		}
		left := want(t, s, "old", "1")
		if _, err := s.SaveIf(t.Context(), "old", []byte("2"), left.Version); err != nil {
			t.Error(err)
		}
		if _, err := s.SaveIf(t.Context(), "old", []byte("3"), left.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("%v", err)
		}
		if err := s.Pin(t.Context(), "older"); err != nil {
			t.Error(err)
		}
		// Undeclared, a foreign write of another length is noticed all the same.
		o.save("new", "another", 0)
		if _, err := s.SaveIf(t.Context(), "new", []byte("lost"), mine.Version); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("%v", err)
		}
		want(t, s, "new", "another")
	})
}

func TestForeignEndsAndPinsAreKeptApart(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		s := process(t, client, shared, func(c *checkpoint.Config) { c.TTL = time.Hour })
		save(t, s, "t", "1")
		if err := s.Pin(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		o.save("t", "2", soon) // takes the pin's effect away
		eventually(t, "end", func() bool { return absent(t, s, "t") })
		save(t, s, "t", "3")
		if ttl := client.PTTL(t.Context(), "agents:thread:t").Val(); ttl <= 0 {
			t.Errorf("a new thread has the old one's pin: %s", ttl)
		}
		o.save("u", "1", 0)
		if err := s.Pin(t.Context(), "u"); err != nil {
			t.Fatal(err)
		}
		page, err := s.List(t.Context(), "", 10)
		if err != nil || len(page.Threads) != 2 || page.Threads[0].ID != "u" || !page.Threads[0].Pinned {
			t.Errorf("%+v, %v", page, err)
		}
	})
}

func TestAPinWhoseEffectAnotherProgramTookAwayIsListedAsNoneAndKeepsNoLoadFromRefreshing(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		s := process(t, client, shared, func(c *checkpoint.Config) { c.TTL, c.RefreshOnLoad = time.Hour, true })
		save(t, s, "t", "1")
		if err := s.Pin(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		o.save("t", "2", time.Minute)
		page, err := s.List(t.Context(), "", 10)
		if err != nil || len(page.Threads) != 1 || page.Threads[0].Pinned {
			t.Errorf("%+v, %v", page, err)
		}
		want(t, s, "t", "2")
		for _, key := range []string{"agents:thread:t", "agents:thread.mark:t"} {
			if left := client.PTTL(t.Context(), key).Val(); left <= time.Minute {
				t.Errorf("after a load %s ends in %s", key, left)
			}
		}
		save(t, s, "t", "3")
		page, err = s.List(t.Context(), "", 10)
		if left := client.PTTL(t.Context(), "agents:thread:t").Val(); err != nil || left > 0 || !page.Threads[0].Pinned {
			t.Errorf("saved here it ends in %s: %+v, %v", left, page, err)
		}
	})
}

// The original system does not encode: the key of such an id is another one than ours.
func TestAnOddIDOfTheOriginalSystemIsLeftInItsSet(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		o := original{t, client}
		s := process(t, client, shared)
		o.save("a b", "theirs", 0)
		save(t, s, "a c", "ours")
		for range 3 {
			if got := ids(t, s, 10); !slices.Equal(got, []string{"a c"}) {
				t.Errorf("we list %q", got)
			}
		}
		if got := strings.Join(o.list(), ","); got != "a b,a c" {
			t.Errorf("the set has %q", got)
		}
		client.Del(t.Context(), "agents:thread:a b")
		ids(t, s, 10)
		if got := strings.Join(o.list(), ","); got != "a c" {
			t.Errorf("the set has %q", got)
		}
	})
}

func TestManyForeignThreadsAreListed(t *testing.T) {
	client := redistest.Start(t).Client()
	pipe := client.Pipeline()
	var all []string
	for i := range 5000 {
		id := "t" + strings.Repeat("x", i%7) + strconv.Itoa(i)
		pipe.Set(t.Context(), "agents:thread:"+id, "x", 0)
		pipe.SAdd(t.Context(), "agents:threads", id)
		all = append(all, id)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][]change{{shared}, nil} {
		client.Del(t.Context(), "agents:threads.index")
		got := ids(t, process(t, client, change...), 700)
		slices.Sort(got)
		slices.Sort(all)
		if !slices.Equal(got, all) {
			t.Errorf("%d of %d are listed", len(got), len(all))
		}
	}
}

// That program finds threads by the set.
func TestASaveAfterAnotherProgramsDeletionEntersTheIDAgain(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		s := process(t, client, shared, func(c *checkpoint.Config) { c.TTL = time.Hour })
		save(t, s, "t", "1")
		original{t, client}.delete("t")
		save(t, s, "t", "2")
		if !client.SIsMember(t.Context(), "agents:threads", "t").Val() {
			t.Error("the thread is there, and its id is not in the set")
		}
	})
}

// A version that a process gave which knows of no other programs says nothing of what those write.
func TestAVersionFromBeforeForeignIsAConflict(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		given := save(t, process(t, client), "t", "mine1").Version
		original{t, client}.save("t", "other", 0) // as long
		s := process(t, client, shared)
		if _, err := s.SaveIf(t.Context(), "t", []byte("mine2"), given); !errors.Is(err, checkpoint.ErrConflict) {
			t.Errorf("saved over what another program wrote: %v", err)
		}
		want(t, s, "t", "other")
	})
}

func TestASaveReplacesAStateOfAnotherType(t *testing.T) {
	each(t, func(t *testing.T, client redis.UniversalClient, _ bool) {
		for _, s := range []*checkpoint.Store{process(t, client), process(t, client, shared)} {
			save(t, s, "t", "1")
			client.Del(t.Context(), "agents:thread:t")
			client.HSet(t.Context(), "agents:thread:t", "f", "v")
			save(t, s, "t", "2")
			want(t, s, "t", "2", readthrough.SkipL1())
		}
	})
}
