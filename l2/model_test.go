package l2_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/layercache/layercache/l2"
)

// model is what one partition's Redis state means, without keys, expiry or text: the rules of the scripts on one page.
type model struct {
	epoch  l2.Epoch
	seq    uint64
	values map[string]string
	leases map[string]l2.Nonce
	fences map[string]uint64
	acks   map[string]l2.Ack

	mirrors map[string]string // of values
}

// born is the state after an epoch began. Fences outlive it, since they compare versions of the authority.
func (m *model) born(epoch l2.Epoch) {
	m.epoch, m.seq = epoch, 0
	m.values = map[string]string{}
	m.leases = map[string]l2.Nonce{}
	m.acks = map[string]l2.Ack{}
	m.mirrors = map[string]string{}
}

func (m *model) get(raw string, nonce l2.Nonce, refresh bool) l2.Reply {
	if v, ok := m.values[raw]; ok && !refresh {
		return l2.Reply{Outcome: l2.Hit, Envelope: []byte(v)}
	}
	switch {
	case nonce == "":
		return l2.Reply{Outcome: l2.Bare, Fence: m.fences[raw]}
	case m.leases[raw] != "":
		return l2.Reply{Outcome: l2.Busy, Fence: m.fences[raw]}
	}
	m.leases[raw] = nonce
	return l2.Reply{Outcome: l2.Leased, Fence: m.fences[raw]}
}

func (m *model) fill(raw string, epoch l2.Epoch, nonce l2.Nonce, value, mirror string, asOf uint64) l2.FillResult {
	switch {
	case epoch != m.epoch:
		return l2.RefusedEpoch
	case m.leases[raw] != nonce:
		return l2.RefusedLease
	}
	delete(m.leases, raw)
	if asOf < m.fences[raw] {
		return l2.RefusedFence
	}
	m.values[raw] = value
	delete(m.mirrors, raw)
	if mirror != "" {
		m.mirrors[raw] = mirror
	}
	return l2.Stored
}

func (m *model) invalidate(asOf uint64, raws ...string) {
	for _, raw := range raws {
		delete(m.values, raw)
		delete(m.mirrors, raw)
		delete(m.leases, raw)
		m.fences[raw] = max(m.fences[raw], asOf)
	}
	m.seq++
}

func (m *model) laggards(pos l2.Position, self string) []l2.Ack {
	var late []l2.Ack
	for process, ack := range m.acks {
		if pos.Epoch == m.epoch && process != self && (ack.Epoch != m.epoch || ack.Seq < pos.Seq) {
			late = append(late, ack)
		}
	}
	return sorted(late)
}

func sorted(acks []l2.Ack) []l2.Ack {
	slices.SortFunc(acks, func(a, b l2.Ack) int { return cmp.Compare(a.Process, b.Process) })
	return acks
}

// grant is a lease that a get gave, and may be used long after.
type grant struct {
	raw   string
	epoch l2.Epoch
	nonce l2.Nonce
}

func TestScriptsAgreeWithTheModel(t *testing.T) {
	each(t, func(b bundle) {
		for range 10 {
			seed := rand.Uint64()
			b.t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				b.t = t
				b.client.FlushAll(t.Context())
				agree(b, rand.New(rand.NewPCG(seed, 0)), 300)
			})
		}
	})
}

func agree(b bundle, r *rand.Rand, steps int) {
	b.t.Helper()
	m := &model{fences: map[string]uint64{}}
	m.born(b.renew("first", "", 0, 0).Position.Epoch)
	m.acks["first"] = l2.Ack{Process: "first"}
	grants := []grant{{raw: "a", epoch: m.epoch, nonce: l2.NewNonce()}}
	epochs := []l2.Epoch{m.epoch}
	processes := []string{"first", "p", "q"}
	stores := []*l2.Store{b.Store, newStore(b.t, b.client, func(c *l2.Config) { c.Mirror = "original:" })}
	pick := func() string { return string([]byte{byte('a' + r.IntN(3))}) }
	at := func(p l2.Position, what string) {
		b.t.Helper()
		if p != (l2.Position{Epoch: m.epoch, Seq: m.seq}) {
			b.t.Fatalf("%s: at %v, want (%s, %d)", what, p, m.epoch, m.seq)
		}
	}
	begin := func(epoch l2.Epoch) {
		b.t.Helper()
		if slices.Contains(epochs, epoch) {
			b.t.Fatalf("epoch %s came again", epoch)
		}
		epochs = append(epochs, epoch)
		m.born(epoch)
	}

	for step := range steps {
		what := fmt.Sprint("step ", step)
		b.Store = stores[r.IntN(2)] // of a process with mirrors, or without
		switch op := r.IntN(20); {
		case op < 6:
			raw, nonce, refresh := pick(), l2.NewNonce(), r.IntN(4) == 0
			if r.IntN(8) == 0 {
				nonce = ""
			}
			got, err := b.Get(b.t.Context(), l2.Lookup{ID: b.id(raw), Nonce: nonce, Refresh: refresh})
			if err != nil {
				b.t.Fatal(err)
			}
			want := m.get(raw, nonce, refresh)
			if got.Outcome != want.Outcome || string(got.Envelope) != string(want.Envelope) || got.Fence != want.Fence {
				b.t.Fatalf("%s: get %s: %+v, want %+v", what, raw, got, want)
			}
			at(got.Position, what)
			if got.Outcome == l2.Leased {
				grants = append(grants, grant{raw, got.Position.Epoch, nonce})
			}
		case op < 11:
			g := grants[max(0, len(grants)-1-r.IntN(4))]
			value, mirror, asOf := what, "", uint64(r.IntN(8))
			if b.Store == stores[1] && r.IntN(4) > 0 {
				mirror = "mirror of " + what
			}
			got := b.fillMirrored(g.raw, g.epoch, g.nonce, value, mirror, asOf)
			want := m.fill(g.raw, g.epoch, g.nonce, value, mirror, asOf)
			if got != want {
				b.t.Fatalf("%s: fill %s: %v, want %v", what, g.raw, got, want)
			}
		case op < 14:
			asOf, raws := uint64(r.IntN(8)), []string{pick(), pick()}
			m.invalidate(asOf, raws...)
			at(b.invalidate(asOf, raws...).Position, what)
		case op < 16:
			ack := l2.Ack{
				Process: processes[r.IntN(3)], Epoch: epochs[max(0, len(epochs)-1-r.IntN(2))],
				Seq: uint64(max(0, int(m.seq)-r.IntN(3))), Count: uint64(step),
			}
			at(b.renew(ack.Process, ack.Epoch, ack.Seq, ack.Count).Position, what)
			m.acks[ack.Process] = ack
		case op < 18:
			self := processes[r.IntN(3)]
			pos := l2.Position{Epoch: epochs[max(0, len(epochs)-1-r.IntN(2))], Seq: uint64(max(0, int(m.seq)-r.IntN(3)))}
			var drop []l2.Ack
			if ack, ok := m.acks[processes[r.IntN(3)]]; ok && r.IntN(3) == 0 {
				if r.IntN(2) == 0 {
					delete(m.acks, ack.Process)
				} else {
					ack.Count++ // renewed since it was seen
				}
				drop = []l2.Ack{ack}
			}
			got, want := b.acks(pos, self, drop...), m.laggards(pos, self)
			if !slices.Equal(sorted(got.Laggards), want) {
				b.t.Fatalf("%s: laggards %v, want %v", what, got.Laggards, want)
			}
			at(got.Position, what)
		case op < 19:
			b.del([]string{"e", "s", "b", "a"}[r.IntN(4)])
			begin(b.renew("first", "", 0, uint64(step)).Position.Epoch)
			m.acks["first"] = l2.Ack{Process: "first", Count: uint64(step)}
		default:
			old := []l2.Epoch{"", epochs[0], m.epoch}[r.IntN(3)]
			got, err := b.Reset(b.t.Context(), 0, old)
			if err != nil {
				b.t.Fatal(err)
			}
			if old == "" || old == m.epoch {
				begin(got.Epoch)
			}
			at(got, what)
		}
		for _, raw := range []string{"a", "b", "c"} {
			if got := b.mirror(raw); got != m.mirrors[raw] {
				b.t.Fatalf("%s: the mirror of %s is %q, want %q", what, raw, got, m.mirrors[raw])
			}
		}
	}
	if left := b.pttl("l:a"); left > time.Minute {
		b.t.Fatalf("a fence lives %s", left)
	}
}
