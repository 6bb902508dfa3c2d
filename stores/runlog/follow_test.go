package runlog_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/runlog"
)

// followed is a follower under way.
type followed struct {
	t      testing.TB
	mu     sync.Mutex // guards events and err
	events []runlog.Envelope
	err    error
	done   chan struct{}
	stop   context.CancelFunc
}

func follow(t testing.TB, s *runlog.Store, run string, after runlog.Cursor) *followed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &followed{t: t, done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(f.done)
		for e, err := range s.Follow(ctx, run, after) {
			f.mu.Lock()
			if err != nil {
				f.err = err
			} else {
				f.events = append(f.events, e)
			}
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

func (f *followed) has(n int) {
	f.t.Helper()
	redistest.Eventually(f.t, patience, strconv.Itoa(n)+" events", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err != nil {
			f.t.Fatal(f.err)
		}
		return len(f.events) >= n
	})
}

func (f *followed) ended() error {
	f.t.Helper()
	select {
	case <-f.done:
		return f.err
	case <-time.After(patience):
		f.t.Fatal("it goes on")
		return nil
	}
}

// exactly fails the test unless it has seen the numbers from first to last, each once.
func (f *followed) exactly(first, last uint64) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) != int(last-first+1) {
		f.t.Errorf("%d events, want %d to %d", len(f.events), first, last)
	}
	for i, e := range f.events {
		if e.Seq != first+uint64(i) {
			f.t.Fatalf("event %d has number %d", i, e.Seq)
		}
	}
}

// Must not repeat: no way to follow a run live from a sequence without losing or repeating an event.
func TestAFollowerSeesEveryEventOnceAndEndsWithTheRun(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s, other := connect(), connect()
		before := follow(t, other, "r", runlog.Cursor{}) // of a run that is not there yet
		add(t, s, "r", texts(600)...)
		middle := follow(t, other, "r", runlog.Cursor{Seq: 300})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 50 {
					if _, err := s.Append(t.Context(), "r", text("x")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		before.has(700)
		late := follow(t, s, "r", runlog.Cursor{Seq: 600})
		all.Wait()
		add(t, s, "r", text("x"), end())
		for f, first := range map[*followed]uint64{before: 1, middle: 301, late: 601} {
			if err := f.ended(); err != nil {
				t.Error(err)
			}
			f.exactly(first, 802)
		}
		if f := follow(t, s, "r", runlog.Cursor{Seq: 802}); f.ended() != nil || len(f.events) != 0 {
			t.Errorf("%v, %v after the end", f.events, f.err)
		}
	})
}

func TestAFollowerOfARunThatHasEndedSeesAllItsPages(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect()
		add(t, s, "r", texts(600)...)
		add(t, s, "r", end())
		f := follow(t, s, "r", runlog.Cursor{})
		if err := f.ended(); err != nil {
			t.Error(err)
		}
		f.exactly(1, 601)
	})
}

// deaf is a backend that wakes nobody and says when it was looked at.
type deaf struct {
	runlog.Backend
	looked chan struct{}
}

func (deaf) Watch(string, func()) (func(), error) { return func() {}, nil }

func (d deaf) List(ctx context.Context, run string, after uint64, limit int) (runlog.Slice, error) {
	s, err := d.Backend.List(ctx, run, after, limit)
	select {
	case d.looked <- struct{}{}:
	default:
	}
	return s, err
}

// It has a number alone and learns the life of the run with its first look, also if there are no events in it.
func TestAFollowerFromAPlainNumberSeesNoEventsOfAnotherLife(t *testing.T) {
	backend := deaf{&runlog.Memory{}, make(chan struct{}, 1)}
	s := open(t, runlog.Config{Backend: backend, Local: &invalidation.Local{}, Poll: 50 * time.Millisecond})
	add(t, s, "r", text("1"))
	f := follow(t, s, "r", runlog.Cursor{Seq: 1})
	<-backend.looked
	if err := s.Delete(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	add(t, s, "r", append(texts(3), end())...)
	if err := f.ended(); !errors.Is(err, runlog.ErrRestarted) && !errors.Is(err, runlog.ErrGone) || len(f.events) != 0 {
		t.Errorf("%v, %d events of another life", err, len(f.events))
	}
}

// What is appended between the first look and the subscription is not told: the confirmation of the subscription is.
func TestAFollowerMissesNothingBeforeItIsSubscribed(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client, err := l2.NewClient(patient(proxy.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	direct := open(t, runlog.Config{Backend: onRedis(t, server.Client())})
	s := open(t, runlog.Config{Backend: onRedis(t, client), Poll: time.Minute})
	for delay, i := 80*time.Millisecond, 0; ; delay, i = 2*delay, i+1 { // until the machine was quick enough
		run := fmt.Sprint("r", i)
		add(t, direct, run, text("1"))
		list(t, s, run, 0, 1) // a connection is there
		proxy.Delay(delay)
		f := follow(t, s, run, runlog.Cursor{})
		f.has(1)
		add(t, direct, run, text("2"))
		early := len(server.Client().PubSubChannels(t.Context(), "*").Val()) == 0
		f.has(2)
		f.stop()
		_ = f.ended()
		proxy.Delay(0)
		if early {
			return
		}
		if i == 6 {
			t.Fatal("it is always subscribed before it has looked")
		}
	}
}

func TestAFollowerIsWokenAndDoesNotWaitForItsPoll(t *testing.T) {
	for name, client := range map[string]func(t *testing.T) redisClient{
		"miniredis": func(t *testing.T) redisClient { return mini(t) },
		"redis":     func(t *testing.T) redisClient { return redistest.Start(t).Client() },
	} {
		t.Run(name, func(t *testing.T) {
			s := linked(t, client(t), func(c *runlog.Config) { c.Poll = time.Minute })
			f := follow(t, s, "r", runlog.Cursor{})
			for i := range 20 {
				add(t, s, "r", text("x"))
				f.has(i + 1)
			}
		})
	}
}

// It polls only if a message is lost, as they may be between nodes that are too busy to keep their links.
func TestAFollowerOnAClusterIsWoken(t *testing.T) {
	const poll = 10 * time.Second
	cluster := redistest.StartCluster(t)
	s := open(t, runlog.Config{Backend: onRedis(t, cluster.Client()), Poll: poll})
	lost := 0
	for i := range 5 { // in slots of different nodes
		run := fmt.Sprint("r", i)
		f := follow(t, s, run, runlog.Cursor{})
		for n := range 5 {
			began := time.Now()
			add(t, s, run, text("x"))
			f.has(n + 1)
			if time.Since(began) < poll/2 {
				continue
			}
			if lost++; lost > 2 {
				t.Fatalf("%d messages came too late or not at all", lost)
			}
		}
	}
}

func TestAFollowerSurvivesALostConnectionAndAnOutage(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	s := open(t, runlog.Config{Backend: onRedis(t, server.Client())})
	through := open(t, runlog.Config{Backend: onRedis(t, proxy.Client()), Poll: 50 * time.Millisecond})
	f := follow(t, through, "r", runlog.Cursor{})
	for i := range 5 {
		add(t, s, "r", texts(10)...)
		f.has(20*i + 10)
		proxy.CutAll()
		add(t, s, "r", texts(10)...)
		f.has(20*i + 20)
	}
	proxy.Refuse()
	proxy.CutAll()
	add(t, s, "r", texts(10)...)
	proxy.Restore()
	f.has(110)
	proxy.Blackhole()
	add(t, s, "r", texts(10)...)
	proxy.Restore()
	f.has(120)
	add(t, s, "r", end())
	if err := f.ended(); err != nil {
		t.Error(err)
	}
	f.exactly(1, 121)
}

func TestAFollowerGivesUpAfterItsPatience(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	s := open(t, runlog.Config{Backend: onRedis(t, proxy.Client()), Patience: -1, Poll: 50 * time.Millisecond})
	add(t, s, "r", text("x"))
	f := follow(t, s, "r", runlog.Cursor{})
	f.has(1)
	proxy.Refuse()
	proxy.CutAll()
	if err := f.ended(); !errors.Is(err, readthrough.ErrUnavailable) {
		t.Error(err)
	}
	f.exactly(1, 1)
}

func TestAFollowerOfADeletedRunEndsWithErrGone(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(...change) *runlog.Store) {
		s := connect()
		add(t, s, "r", texts(3)...)
		f := follow(t, connect(), "r", runlog.Cursor{})
		f.has(3)
		if err := s.Delete(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
		if err := f.ended(); !errors.Is(err, runlog.ErrGone) {
			t.Error(err)
		}
		for _, at := range []runlog.Cursor{f.events[2].Cursor(), {Seq: 2}} {
			if err := follow(t, s, "r", at).ended(); !errors.Is(err, runlog.ErrGone) {
				t.Errorf("at %v: %v", at, err)
			}
		}
	})
}

func TestAFollowersErrorIsThatOfItsContext(t *testing.T) {
	s := open(t, runlog.Config{Backend: &runlog.Memory{}})
	f := follow(t, s, "r", runlog.Cursor{})
	f.stop()
	if err := f.ended(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLeavingTheLoopEndsTheSubscription(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, runlog.Config{Backend: onRedis(t, server.Client())})
	add(t, s, "r", texts(3)...)
	channels := func() int { return len(server.Client().PubSubChannels(t.Context(), "*").Val()) }
	for e, err := range s.Follow(t.Context(), "r", runlog.Cursor{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq == 2 {
			redistest.Eventually(t, patience, "subscription", func() bool { return channels() == 1 })
			break
		}
	}
	redistest.Eventually(t, patience, "end of the subscription", func() bool { return channels() == 0 })
}

func TestManyFollowersShareOneConnection(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, runlog.Config{Backend: onRedis(t, server.Client()), Poll: time.Minute})
	var all []*followed
	for i := range 50 {
		all = append(all, follow(t, s, fmt.Sprint("r", i%25), runlog.Cursor{}))
	}
	redistest.Eventually(t, patience, "subscriptions", func() bool {
		return len(server.Client().PubSubChannels(t.Context(), "*").Val()) == 25
	})
	subscribers := 0
	for _, line := range clientList(t, server) {
		if line != "0" {
			subscribers++
		}
	}
	if subscribers != 1 {
		t.Errorf("%d connections are subscribed", subscribers)
	}
	for i := range 25 {
		add(t, s, fmt.Sprint("r", i), text("x"), end())
	}
	for _, f := range all {
		if err := f.ended(); err != nil {
			t.Error(err)
		}
		f.exactly(1, 2)
	}
}

func TestACursorOfALostRunIsToldSo(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := linked(t, client)
	all := add(t, s, "r", texts(5)...)
	at := all[3].Cursor()
	f := follow(t, s, "r", runlog.Cursor{})
	f.has(5)
	server.Do("FLUSHALL")
	if _, err := s.ListAfter(t.Context(), "r", at, 10); !errors.Is(err, runlog.ErrGone) {
		t.Errorf("while it is gone: %v", err)
	}
	if p := list(t, s, "r", 4, 10); p.LastSeq != 0 {
		t.Errorf("%+v", p)
	}
	if e := add(t, s, "r", texts(10)...); e[0].Seq != 1 { // begins anew, and passes the cursor
		t.Errorf("%+v", e[0])
	}
	if _, err := s.ListAfter(t.Context(), "r", at, 10); !errors.Is(err, runlog.ErrRestarted) {
		t.Errorf("a cursor of the life before: %v", err)
	}
	if _, err := s.ListAfter(t.Context(), "r", runlog.Cursor{Seq: 50}, 10); !errors.Is(err, runlog.ErrRestarted) {
		t.Errorf("a number that was never spent: %v", err)
	}
	if err := f.ended(); !errors.Is(err, runlog.ErrGone) && !errors.Is(err, runlog.ErrRestarted) {
		t.Errorf("a follower: %v", err)
	}
	f.exactly(1, 5)
	redistest.Eventually(t, patience, "end of the old session", func() bool {
		_, err := s.Session(t.Context(), "r")
		return errors.Is(err, readthrough.ErrNotFound)
	})
}

// Losing one of a run's keys is never answered as if it was never there.
func TestLosingOneKeyOfARunIsLoud(t *testing.T) {
	for _, lost := range []string{"events", "meta", "ids"} {
		t.Run(lost, func(t *testing.T) {
			client := redistest.Start(t).Client()
			s := open(t, runlog.Config{Backend: onRedis(t, client), TailTTL: -1})
			add(t, s, "r", texts(5)...)
			if n := client.Del(t.Context(), "{runs:r}:"+lost).Val(); n != 1 {
				t.Fatal(n)
			}
			if _, err := s.Append(t.Context(), "r", text("x")); !errors.Is(err, runlog.ErrDamaged) {
				t.Errorf("append: %v", err)
			}
			p, err := s.ListAfter(t.Context(), "r", runlog.Cursor{}, 10)
			e, lastErr := s.Last(t.Context(), "r")
			switch lost {
			case "events":
				if !errors.Is(err, runlog.ErrTrimmed) || !errors.Is(lastErr, runlog.ErrTrimmed) {
					t.Errorf("%+v, %v; last %+v, %v", p, err, e, lastErr)
				}
			case "meta":
				if !errors.Is(err, runlog.ErrDamaged) || !errors.Is(lastErr, runlog.ErrDamaged) {
					t.Errorf("%+v, %v; last %+v, %v", p, err, e, lastErr)
				}
			default:
				if err != nil || len(p.Events) != 5 || lastErr != nil || e.Seq != 5 {
					t.Errorf("%+v, %v; last %+v, %v", p, err, e, lastErr)
				}
			}
			if err := s.Delete(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			if e := add(t, s, "r", text("x")); e[0].Seq != 1 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestAnEntryThatWasRemovedByHandIsLoud(t *testing.T) {
	client := redistest.Start(t).Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client), TailTTL: -1})
	add(t, s, "r", texts(64)...)
	add(t, s, "r", text("x"))
	if n := client.XDel(t.Context(), "{runs:r}:events", "64-0").Val(); n != 1 {
		t.Fatal(n)
	}
	if _, err := s.Append(t.Context(), "r", text("x")); !errors.Is(err, runlog.ErrDamaged) {
		t.Errorf("append: %v", err)
	}
	_, err := s.ListAfter(t.Context(), "r", runlog.Cursor{Seq: 10}, 10)
	if gap, ok := errors.AsType[*runlog.TrimmedError](err); !ok || gap.First != 65 {
		t.Errorf("%v", err)
	}
}

func TestWithRedisDownNoVerbAnswersNone(t *testing.T) {
	for name, end := range map[string]func(*redistest.Server){
		"killed":  (*redistest.Server).Kill,
		"demoted": func(r *redistest.Server) { r.Do("REPLICAOF", "127.0.0.1", "1") }, // has all it had, and hears nothing new
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			s := linked(t, server.Client(), func(c *runlog.Config) { c.Patience = -1 })
			add(t, s, "r", start("s1"))
			end(server)
			var followErr error
			for _, followErr = range s.Follow(t.Context(), "other", runlog.Cursor{}) {
			}
			_, appendErr := s.Append(t.Context(), "other", text("x"))
			_, listErr := s.ListAfter(t.Context(), "other", runlog.Cursor{}, 1)
			_, lastErr := s.Last(t.Context(), "other")
			_, sessionErr := s.Session(t.Context(), "other")
			_, deleteErr := s.DeleteAsync(t.Context(), "other")
			errs := map[string]error{
				"follow": followErr, "append": appendErr, "list": listErr, "last": lastErr, "session": sessionErr, "delete": deleteErr,
			}
			if name != "demoted" { // the original's runs may be read from a replica
				_, errs["import"] = s.Import(t.Context(), runlog.Original{Client: server.Client()}, "other")
			}
			for what, err := range errs {
				if !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, readthrough.ErrNotFound) {
					t.Errorf("%s: %v", what, err)
				}
			}
			redistest.Eventually(t, patience, "end of the lease", func() bool { return s.Ready(t.Context()) != nil })
		})
	}
}

// It may have what the failover has lost, and not know of what came since: an append that is repeated after a lost answer must not be
// told there that its event is stored.
func TestADemotedPrimaryDoesNotSayWhatIsThereAlready(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, runlog.Config{Backend: onRedis(t, client)})
	began, known, ended := start("s1"), text("x"), end()
	add(t, s, "going on", began)
	add(t, s, "over", known, ended)
	imports(t, s, client, original(t, client, "old", 3, "s1"))
	add(t, s, original(t, client, "other", 3, "s1"), text("x"))
	server.Do("REPLICAOF", "127.0.0.1", "1")
	appended := func(run string, e runlog.Event) error {
		_, err := s.Append(t.Context(), run, e)
		return err
	}
	imported := func(run string) error {
		_, err := s.Import(t.Context(), runlog.Original{Client: client}, run)
		return err
	}
	for what, err := range map[string]error{
		"a start again": appended("going on", began), "an event again": appended("over", known), "an end again": appended("over", ended),
		"an event after the end": appended("over", text("y")), "an import again": imported("old"), "an import over others": imported("other"),
	} {
		if !errors.Is(err, readthrough.ErrUnavailable) || errors.Is(err, runlog.ErrEnded) || errors.Is(err, runlog.ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestACallEndsByItsDeadlineThoughRedisHangs(t *testing.T) {
	server := redistest.Start(t)
	s := linked(t, server.Client())
	add(t, s, "r", start("s1"))
	list(t, s, "r", 0, 1) // connections are there
	server.Stop()
	t.Cleanup(server.Cont)
	for name, call := range map[string]func(ctx context.Context) error{
		"append": func(ctx context.Context) error { _, err := s.Append(ctx, "r", text("x")); return err },
		"list":   func(ctx context.Context) error { _, err := s.ListAfter(ctx, "r", runlog.Cursor{}, 1); return err },
		"last":   func(ctx context.Context) error { _, err := s.Last(ctx, "other"); return err },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "r") },
		"import": func(ctx context.Context) error {
			_, err := s.Import(ctx, runlog.Original{Client: server.Client()}, "r")
			return err
		},
	} {
		if err := redistest.Overdue(t, name, call); errors.Is(err, readthrough.ErrNotFound) {
			t.Errorf("%s: unknown is answered as none: %v", name, err)
		}
	}
}

// clientList answers how many channels each connection is subscribed to.
func clientList(t testing.TB, server *redistest.Server) (subs []string) {
	t.Helper()
	list, _ := server.Do("CLIENT", "LIST").(string)
	for _, found := range regexp.MustCompile(`(?m) sub=(\d+) `).FindAllStringSubmatch(list, -1) {
		subs = append(subs, found[1])
	}
	return subs
}
