package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/registry"
)

// unavailable wants a failure of every verb, and no verb that says "none" for "unknown".
func unavailable(t *testing.T, s *registry.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, getErr := s.Get(ctx, "a")
	_, listErr := s.List(ctx)
	_, findErr := s.Find(ctx, registry.Query{})
	_, claimErr := s.Claim(ctx, "a")
	_, reapErr := s.Reap(ctx, time.Second)
	_, registerErr := s.RegisterAsync(ctx, registry.Agent{ID: "b"})
	_, deregisterErr := s.DeregisterAsync(ctx, "a")
	_, statusErr := s.SetStatusAsync(ctx, "a", registry.Busy)
	for what, err := range map[string]error{
		"get": getErr, "list": listErr, "find": findErr, "claim": claimErr, "reap": reapErr, "register": registerErr,
		"deregister": deregisterErr, "set status": statusErr, "heartbeat": s.Heartbeat(ctx, "a"), "flush": s.Flush(ctx), "ready": s.Ready(ctx),
	} {
		wantCode(t, what+" in an outage", err, registry.Failed)
	}
}

func TestAnOutageNeverLooksLikeNoAgents(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		for name, end := range map[string]func(*redistest.Server){
			"killed":  (*redistest.Server).Kill,
			"demoted": func(r *redistest.Server) { r.Do("REPLICAOF", "127.0.0.1", "1") }, // has all it had, and hears nothing new
		} {
			t.Run(fmt.Sprintf("%s/foreign=%t", name, foreign), func(t *testing.T) {
				f := newFleet(t, "redis")
				s := f.open(t, func(cfg *registry.Config) { cfg.Foreign, cfg.MaxAge = foreign, 50*time.Millisecond })
				register(t, s, registry.Agent{ID: "a"})
				wantList(t, s, "a")
				end(f.redis)
				eventually(t, "the end of what memory may answer", func() bool { _, err := s.List(t.Context()); return err != nil })
				unavailable(t, s)
			})
		}
	}
}

func TestAnOutageOfTheDatabaseNeverLooksLikeNoAgents(t *testing.T) {
	backend := &broken{Backend: &registry.Memory{}}
	s := open(t, registry.Config{Backend: backend, MaxAge: 50 * time.Millisecond})
	register(t, s, registry.Agent{ID: "a"})
	wantList(t, s, "a")
	backend.down = true
	eventually(t, "the end of what memory may answer", func() bool { _, err := s.List(t.Context()); return err != nil })
	unavailable(t, s)
}

// before does something before the nth script from now on.
type before struct {
	redis.Hook
	n  int
	do func()
}

func (*before) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			if b.n--; b.n == 0 {
				b.do()
			}
		}
		return next(ctx, cmd)
	}
}

// Of several agents a node says by itself that some are still to come.
func TestAMoveOfTheSlotNeitherHidesTheOnlyAgentNorKeepsItFromAFlush(t *testing.T) {
	cluster := redistest.StartCluster(t)
	for prefix, script := range map[string]int{"list": 1, "flush": 2} { // a flush begins with a list
		t.Run(prefix, func(t *testing.T) {
			client := cluster.Client().(*redis.ClusterClient)
			b := onRedis(t, registry.RedisConfig{Client: client, Prefix: prefix, Tagged: true})
			terms := registry.Terms{TTL: time.Hour}
			flush := func() error { _, err := b.Flush(t.Context(), terms); return err }
			if err := flush(); err != nil { // the scripts are known from now on
				t.Fatal(err)
			}
			if _, _, err := b.Put(t.Context(), registry.Agent{ID: "a"}, terms); err != nil {
				t.Fatal(err)
			}
			var move *redistest.Moving
			client.AddHook(&before{n: script, do: func() {
				move = cluster.BeginMove("{" + prefix + "}")
				move.Keys(func(key string) bool { return !strings.Contains(key, ":agent:") })
			}})
			err := flush()
			move.End()
			l, listErr := b.List(t.Context(), terms)
			_, getErr := b.Get(t.Context(), "a")
			if listErr != nil || errors.Is(getErr, readthrough.ErrNotFound) != (len(l.Agents) == 0) || err == nil && len(l.Agents) > 0 {
				t.Errorf("a flush answered %v; then a list has %d agents, %v, and a get answers %v", err, len(l.Agents), listErr, getErr)
			}
		})
	}
}

// A list without an index looks, scans, looks, scans and looks.
func TestAMoveOfTheSlotHidesNobodyFromAScan(t *testing.T) {
	const lookBehindAScan = 2
	cluster := redistest.StartCluster(t)
	for _, ends := range []string{"before", "during", "after"} {
		t.Run(ends, func(t *testing.T) {
			client := cluster.Client().(*redis.ClusterClient)
			b := onRedis(t, registry.RedisConfig{Client: client, Prefix: ends, Tagged: true})
			terms := registry.Terms{TTL: time.Hour}
			for _, id := range []string{"a", "b", "c"} {
				if _, _, err := b.Put(t.Context(), registry.Agent{ID: id}, terms); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := b.List(t.Context(), terms); err != nil { // the script is known from now on
				t.Fatal(err)
			}
			if err := client.Del(t.Context(), "{"+ends+"}:lc-index").Err(); err != nil { // it is evicted, say
				t.Fatal(err)
			}
			move := cluster.BeginMove("{" + ends + "}")
			move.Keys(func(key string) bool { return strings.HasSuffix(key, ":agent:a") })
			ended := false
			end := func() { move.End(); ended = true }
			switch ends {
			case "before": // and the client has not heard
				end()
			case "during":
				client.AddHook(&before{n: lookBehindAScan, do: end})
			}
			l, err := b.List(t.Context(), terms)
			if err == nil && len(l.Agents) != 3 {
				t.Errorf("%d of 3 agents are listed", len(l.Agents))
			}
			if ended != (ends != "after") {
				t.Fatal("the move has not ended behind a scan: the test proves nothing")
			}
			if !ended {
				end()
			}
			if l, err = b.List(t.Context(), terms); err != nil || len(l.Agents) != 3 {
				t.Errorf("%d of 3 agents are listed after the move, %v", len(l.Agents), err)
			}
		})
	}
}

func TestAPutWhileTheSlotMovesTakesNobodyElseForGone(t *testing.T) {
	cluster := redistest.StartCluster(t)
	client := cluster.Client()
	b := onRedis(t, registry.RedisConfig{Client: client, Prefix: "put", Tagged: true})
	terms := registry.Terms{TTL: time.Hour}
	list := func() []string {
		l, err := b.List(t.Context(), terms)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, a := range l.Agents {
			ids = append(ids, a.ID)
		}
		slices.Sort(ids)
		return ids
	}
	put := func(id string) {
		if _, _, err := b.Put(t.Context(), registry.Agent{ID: id}, terms); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	put("b")
	list() // from now on the index is whole
	// Another program let b live longer, of which the index knows nothing.
	if err := client.ZAdd(t.Context(), "{put}:lc-index", redis.Z{Score: 1, Member: "b"}).Err(); err != nil {
		t.Fatal(err)
	}
	move := cluster.BeginMove("{put}")
	move.Keys(func(key string) bool { return key != "{put}:agent:b" })
	put("a")
	move.End()
	if got := list(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}

var errDown = errors.New("down")

// broken fails once it is down.
type broken struct {
	registry.Backend
	down bool // set while no call is under way
}

func (b *broken) fails() error {
	if b.down {
		return errDown
	}
	return nil
}

func (b *broken) Put(ctx context.Context, a registry.Agent, terms registry.Terms) (registry.Agent, uint64, error) {
	if err := b.fails(); err != nil {
		return registry.Agent{}, 0, err
	}
	return b.Backend.Put(ctx, a, terms)
}

func (b *broken) Delete(ctx context.Context, id string) (uint64, error) {
	if err := b.fails(); err != nil {
		return 0, err
	}
	return b.Backend.Delete(ctx, id)
}

func (b *broken) Get(ctx context.Context, id string) (registry.Agent, error) {
	if err := b.fails(); err != nil {
		return registry.Agent{}, err
	}
	return b.Backend.Get(ctx, id)
}

func (b *broken) List(ctx context.Context, terms registry.Terms) (registry.Listing, error) {
	if err := b.fails(); err != nil {
		return registry.Listing{}, err
	}
	return b.Backend.List(ctx, terms)
}

func (b *broken) Beat(ctx context.Context, id string, terms registry.Terms) (bool, uint64, error) {
	if err := b.fails(); err != nil {
		return false, 0, err
	}
	return b.Backend.Beat(ctx, id, terms)
}

func (b *broken) Update(ctx context.Context, id string, u registry.Update) (bool, uint64, error) {
	if err := b.fails(); err != nil {
		return false, 0, err
	}
	return b.Backend.Update(ctx, id, u)
}

func (b *broken) Reap(ctx context.Context, silence time.Duration, terms registry.Terms) ([]string, uint64, error) {
	if err := b.fails(); err != nil {
		return nil, 0, err
	}
	return b.Backend.Reap(ctx, silence, terms)
}

func (b *broken) Flush(ctx context.Context, terms registry.Terms) (uint64, error) {
	if err := b.fails(); err != nil {
		return 0, err
	}
	return b.Backend.Flush(ctx, terms)
}

func TestServeStaleAnswersTheLastListAndNeverNone(t *testing.T) {
	f := newFleet(t, "redis")
	s := f.open(t, func(cfg *registry.Config) {
		cfg.MaxAge, cfg.Mode = 50*time.Millisecond, readthrough.ServeStale(time.Hour)
	})
	cold := f.open(t, func(cfg *registry.Config) { cfg.Mode = readthrough.ServeStale(time.Hour) })
	if err := s.Register(t.Context(), registry.Agent{ID: "a"}); err != nil { // and its message has arrived: it would void the list
		t.Fatal(err)
	}
	wantList(t, s, "a")
	f.redis.Kill()
	until := time.Now().Add(500 * time.Millisecond)
	eventually(t, "time past the end of the list", func() bool {
		wantList(t, s, "a")
		return time.Now().After(until)
	})
	if found, err := s.Find(t.Context(), registry.Query{}); err != nil || found.Len() != 1 {
		t.Errorf("%v, %v", ids(found), err)
	}
	wantCode(t, "heartbeat", s.Heartbeat(t.Context(), "a"), registry.Failed)
	wantList(t, s, "a") // a write that failed has not taken it away
	if all, err := cold.List(t.Context()); err == nil {
		t.Errorf("a store that never read answers %v", ids(all))
	}
}

func TestFlushallInTheMiddleLosesTheAgentsAndNothingElse(t *testing.T) {
	f := newFleet(t, "redis")
	a, b := f.open(t), f.open(t)
	register(t, a, registry.Agent{ID: "x"}, registry.Agent{ID: "y"})
	wantList(t, b, "x", "y")
	f.redis.Do("FLUSHALL")
	for _, s := range []*registry.Store{a, b} {
		eventually(t, "the loss to be seen", func() bool { all, err := s.List(t.Context()); return err == nil && all.Len() == 0 })
	}
	wantCode(t, "heartbeat", a.Heartbeat(t.Context(), "x"), registry.Unknown)
	if err := a.Register(t.Context(), registry.Agent{ID: "x"}); err != nil {
		t.Fatal(err)
	}
	wantList(t, b, "x")
	wantCode(t, "heartbeat", b.Heartbeat(t.Context(), "y"), registry.Unknown)
}

func TestARestoredOrEmptyAnswerOfRedisIsNoNil(t *testing.T) {
	f := newFleet(t, "redis")
	for _, foreign := range []bool{false, true} {
		s := f.open(t, func(cfg *registry.Config) { cfg.Foreign = foreign })
		_, err := s.Get(t.Context(), "nobody")
		wantCode(t, "get", err, registry.Unknown)
		if errors.Is(err, redis.Nil) {
			t.Error("redis.Nil reaches a caller")
		}
	}
}

// go-redis says that a read timed out, and not of whom the time was.
func TestACallPastItsDeadlineSaysSo(t *testing.T) {
	f := newFleet(t, "redis")
	s := f.open(t, func(cfg *registry.Config) { cfg.Foreign = true }) // every read asks
	register(t, s, registry.Agent{ID: "a"})
	f.redis.Stop()
	defer f.redis.Cont()
	for what, call := range map[string]func(context.Context) error{
		"get":       func(ctx context.Context) error { _, err := s.Get(ctx, "a"); return err },
		"list":      func(ctx context.Context) error { _, err := s.List(ctx); return err },
		"heartbeat": func(ctx context.Context) error { return s.Heartbeat(ctx, "a") },
		"reap":      func(ctx context.Context) error { _, err := s.Reap(ctx, time.Hour); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := call(ctx)
		cancel()
		wantCode(t, what, err, registry.Failed)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Each call has a tenth of the time that a scan of the keyspace takes.
func TestALargeKeyspaceDelaysTheFirstListAndDoesNotPreventIt(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	b := onRedis(t, registry.RedisConfig{Client: proxy.Client()})
	pipe := server.Client().Pipeline()
	pipe.Set(t.Context(), "agentic:agent:a", `{"id":"a"}`, 0)
	for i := range 50_000 { // 50 round trips of a scan
		pipe.Set(t.Context(), fmt.Sprint("other:", i), "", 0)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Delay(4 * time.Millisecond)
	list := func() (registry.Listing, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		defer cancel()
		return b.List(ctx, registry.Terms{})
	}
	if l, err := list(); !errors.Is(err, readthrough.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("before the scan is through: %v, %v", l, err)
	}
	eventually(t, "a list", func() bool {
		l, err := list()
		return err == nil && len(l.Agents)+len(l.Faulty) == 1
	})
}
