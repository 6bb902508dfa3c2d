package explore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

// TestModelAnswersAsTheScriptsDo drives the model of Redis that is explored, and a server with the real scripts, with one
// seeded sequence of commands, and compares every answer: 20,000, with LAYERCACHE_LONG=1 100,000.
func TestModelAnswersAsTheScriptsDo(t *testing.T) {
	commands := 20_000
	switch {
	case testing.Short():
		commands = 3_000
	case os.Getenv("LAYERCACHE_LONG") == "1":
		commands = 100_000
	}
	seed := uint64(time.Now().UnixNano())
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		_, client := redistest.Mini(t)
		compare(t, client, seed, commands, false)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		compare(t, redistest.Start(t, "--enable-debug-command", "yes").Client(), seed, commands, true)
	})
}

// comparison is one partition, as the model has it and as the server has it.
type comparison struct {
	t      *testing.T
	rnd    *rand.Rand
	client goredis.UniversalClient
	store  *l2.Store
	prefix string
	ids    [maxKeys]l2.ID

	state  redis
	replid uint8
	epochs []l2.Epoch // of the model's numbers, from 1
	nonces []l2.Nonce // likewise
	grants []grant
	count  uint64
	step   int
	said   map[string]int
	seed   uint64
}

// grant is a fill lease that was given, and may be used long after.
type grant struct {
	key          int
	epoch, nonce uint8
}

func compare(t *testing.T, client goredis.UniversalClient, seed uint64, commands int, real bool) {
	c := &comparison{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), client: client, said: map[string]int{}, seed: seed, replid: hidden}
	if real {
		c.replid = 1
	}
	store, err := l2.New(l2.Config{Client: client, Namespace: "ns", LoadTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c.store, c.prefix = store, strings.TrimSuffix(store.Channel(0), "ch")
	for k := range c.ids {
		if c.ids[k], err = l2.NewID(keyName(k)); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	c.forget()
	for c.step = range commands {
		if c.step%150 == 0 || len(c.epochs) > 100 { // numbers are small
			c.do("flushall")
			c.forget()
		}
		c.command(real)
	}
	t.Logf("seed %d: %d commands, no difference, %s", seed, commands, time.Since(began).Round(time.Millisecond))
	var names []string
	for name, n := range c.said {
		names = append(names, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(names)
	t.Log(strings.Join(names, ", "))
	for _, name := range []string{"hit", "leased", "busy", "bare", "stored", "refused: epoch", "refused: lease", "refused: fence", "laggard", "released", "born"} {
		if c.said[name] < commands/2000 {
			t.Errorf("seed %d: %q was answered %d times: too seldom to prove anything", seed, name, c.said[name])
		}
	}
}

// forget begins anew, after everything was deleted.
func (c *comparison) forget() {
	c.state = redis{}
	c.epochs, c.nonces, c.grants = nil, nil, nil
	if c.replid != hidden {
		c.replid = 1
	}
}

func (c *comparison) server() server {
	return server{redis: &c.state, replid: c.replid, fresh: uint8(len(c.epochs) + 1)}
}

func (c *comparison) fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("seed %d, command %d: %s", c.seed, c.step, fmt.Sprintf(format, args...))
}

func (c *comparison) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.fatalf("%v", err)
	}
}

func (c *comparison) do(args ...any) {
	c.t.Helper()
	c.ok(c.client.Do(c.t.Context(), args...).Err())
}

// at compares a position, and learns the name of an epoch that the model says was born.
func (c *comparison) at(p l2.Position, epoch, seq uint8) {
	c.t.Helper()
	if int(epoch) == len(c.epochs)+1 {
		if slices.Contains(c.epochs, p.Epoch) {
			c.fatalf("epoch %s, and the model has a new one", p.Epoch)
		}
		c.epochs = append(c.epochs, p.Epoch)
		c.said["born"]++
	}
	if want := (l2.Position{Epoch: c.name(epoch), Seq: uint64(seq)}); p != want {
		c.fatalf("at %v, want %v", p, want)
	}
}

func (c *comparison) name(epoch uint8) l2.Epoch {
	if epoch == 0 {
		return ""
	}
	return c.epochs[epoch-1]
}

// someEpoch is mostly the newest.
func (c *comparison) someEpoch() uint8 {
	return uint8(max(0, len(c.epochs)-c.rnd.IntN(3)))
}

func (c *comparison) someSeq() uint8 {
	if c.state.counter == 0 {
		return 0
	}
	return uint8(max(0, int(c.state.seq())-c.rnd.IntN(3)))
}

func (c *comparison) registration(p int, r registration) l2.Ack {
	return l2.Ack{Process: string(rune('p' + p)), Epoch: c.name(r.epoch), Seq: uint64(r.seq), Count: uint64(r.count)}
}

// command runs one command on both.
func (c *comparison) command(real bool) {
	c.t.Helper()
	key := c.rnd.IntN(maxKeys)
	switch op := c.rnd.IntN(100); {
	case op < 36:
		c.get(key)
	case op < 58:
		c.fill()
	case op < 62:
		c.release()
	case op < 70:
		c.invalidate()
	case op < 80:
		c.renew()
	case op < 90:
		c.acks()
	case op < 93:
		c.leave()
	case op < 95:
		old := c.someEpoch()
		epoch, seq := c.server().reset(old)
		p, err := c.store.Reset(c.t.Context(), 0, c.name(old))
		c.ok(err)
		c.at(p, epoch, seq)
	default:
		c.lose(key, real)
	}
}

func (c *comparison) get(key int) {
	c.t.Helper()
	look, nonce := l2.Lookup{ID: c.ids[key], Refresh: c.rnd.IntN(4) == 0}, uint8(0)
	if c.rnd.IntN(8) != 0 {
		look.Nonce = l2.NewNonce()
		c.nonces = append(c.nonces, look.Nonce)
		nonce = uint8(len(c.nonces))
	}
	want := c.server().get(key, nonce, look.Refresh)
	got, err := c.store.Get(c.t.Context(), look)
	c.ok(err)
	c.at(got.Position, want.epoch, want.seq)
	version := ""
	if want.outcome == hit {
		version = fmt.Sprint(want.version)
	}
	if uint8(got.Outcome) != want.outcome || got.Fence != uint64(want.fence) || string(got.Envelope) != version {
		c.fatalf("get %s: %v, want %+v", keyName(key), got, want)
	}
	c.said[got.Outcome.String()]++
	if got.Outcome == l2.Leased {
		c.grants = append(c.grants, grant{key, want.epoch, nonce})
	}
}

func (c *comparison) fill() {
	c.t.Helper()
	if len(c.grants) == 0 {
		return
	}
	g := c.grants[max(0, len(c.grants)-1-c.rnd.IntN(5)/2)]
	version, asOf := uint8(1+c.rnd.IntN(9)), uint8(0)
	if c.rnd.IntN(4) != 0 {
		asOf = version
	}
	want := c.server().fill(g.key, g.epoch, g.nonce, version, asOf)
	got, err := c.store.Fill(c.t.Context(), l2.Fill{
		ID: c.ids[g.key], Epoch: c.name(g.epoch), Nonce: c.nonces[g.nonce-1], Envelope: fmt.Append(nil, version),
		TTL: time.Hour, AsOf: uint64(asOf),
	})
	c.ok(err)
	if uint8(got) != want {
		c.fatalf("fill %+v: %v, want %d", g, got, want)
	}
	c.said[got.String()]++
	c.learn()
}

// learn asks for the epoch that a script without a position in its answer may have made.
func (c *comparison) learn() {
	c.t.Helper()
	if int(c.state.epoch) > len(c.epochs) {
		got, err := c.store.Get(c.t.Context(), l2.Lookup{ID: c.ids[0]})
		c.ok(err)
		c.at(got.Position, c.state.epoch, c.state.seq())
	}
}

func (c *comparison) release() {
	c.t.Helper()
	if len(c.grants) == 0 {
		return
	}
	g := c.grants[max(0, len(c.grants)-1-c.rnd.IntN(4))]
	if c.server().release(g.key, g.nonce) {
		c.said["released"]++
	}
	c.ok(c.store.Release(c.t.Context(), l2.FillLease{ID: c.ids[g.key], Nonce: c.nonces[g.nonce-1]}))
}

func (c *comparison) invalidate() {
	c.t.Helper()
	keys := mask(1 + c.rnd.IntN(int(everyKey)))
	inv := l2.Invalidation{WantAck: c.rnd.IntN(2) == 0}
	if c.rnd.IntN(4) != 0 {
		inv.AsOf = uint64(1 + c.rnd.IntN(9))
	}
	for k := range maxKeys {
		if keys.has(k) {
			inv.IDs = append(inv.IDs, c.ids[k])
		}
	}
	epoch, seq := c.server().invalidate(keys, uint8(inv.AsOf))
	got, err := c.store.Invalidate(c.t.Context(), 0, inv)
	c.ok(err)
	c.at(got.Position, epoch, seq)
}

func (c *comparison) renew() {
	c.t.Helper()
	p := c.rnd.IntN(processes)
	c.count++
	r := registration{on: 1, epoch: c.someEpoch(), seq: c.someSeq(), count: uint8(c.count)}
	ack := c.registration(p, r)
	epoch, seq := c.server().renew(p, r)
	got := l2.Renew(c.t.Context(), c.client, []l2.Renewal{{Store: c.store, Process: ack.Process, Epoch: ack.Epoch, Applied: ack.Seq, Count: ack.Count}})[0]
	c.ok(got.Err)
	c.at(got.Position, epoch, seq)
	if got.Weak != (c.replid == hidden) {
		c.fatalf("weak %t", got.Weak)
	}
}

func (c *comparison) acks() {
	c.t.Helper()
	self, epoch, seq := c.rnd.IntN(processes), c.someEpoch(), c.someSeq()
	var drop [processes]registration
	var dropped []l2.Ack
	if p := c.rnd.IntN(processes); c.rnd.IntN(3) == 0 && c.state.regs[p].on != 0 {
		drop[p] = c.state.regs[p]
		if c.rnd.IntN(2) == 0 {
			drop[p].count++ // renewed since it was seen
		}
		dropped = append(dropped, c.registration(p, drop[p]))
	}
	pos := l2.Position{Epoch: c.name(epoch), Seq: uint64(seq)}
	var want []l2.Ack
	for p, r := range c.server().laggards(epoch, seq, self, drop) {
		if r.on != 0 {
			want = append(want, c.registration(p, r))
			c.said["laggard"]++
		}
	}
	got, err := c.store.Acks(c.t.Context(), 0, pos, string(rune('p'+self)), dropped)
	c.ok(err)
	c.at(got.Position, c.state.epoch, c.state.seq())
	slices.SortFunc(got.Laggards, func(a, b l2.Ack) int { return strings.Compare(a.Process, b.Process) })
	if !slices.Equal(got.Laggards, want) {
		c.fatalf("acks: %v, want %v", got.Laggards, want)
	}
}

func (c *comparison) leave() {
	c.t.Helper()
	p := c.rnd.IntN(processes)
	r := c.state.regs[p]
	if r.on == 0 {
		return
	}
	if c.rnd.IntN(2) == 0 {
		r.count++
	}
	ack := c.registration(p, r)
	c.server().leave(p, r)
	c.ok(c.store.Leave(c.t.Context(), 0, ack))
}

// lose takes something away behind the scripts' back.
func (c *comparison) lose(key int, real bool) {
	c.t.Helper()
	r := &c.state
	switch c.rnd.IntN(9) {
	case 0:
		r.epoch = 0
		c.do("del", c.prefix+"e")
	case 1:
		r.counter = 0
		c.do("del", c.prefix+"s")
	case 2:
		r.birth = 0
		c.do("del", c.prefix+"b")
	case 3:
		r.acks, r.regs = 0, [processes]registration{}
		c.do("del", c.prefix+"a")
	case 4, 5:
		r.values[key] = value{}
		c.do("del", c.prefix+"d:"+keyName(key))
	case 6:
		r.leases[key] = lease{}
		c.do("del", c.prefix+"l:"+keyName(key))
	case 7: // the lease ends by time, the fence does not
		if r.leases[key].nonce != 0 {
			r.leases[key].epoch, r.leases[key].nonce = 0, 0
			c.do("hset", c.prefix+"l:"+keyName(key), "u", "999999999")
		}
	case 8: // as after a failover
		if real {
			c.replid++
			c.do("debug", "change-repl-id")
		}
	}
}
