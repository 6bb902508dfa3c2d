package simulation_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// count is how many seeds a test plays.
func count(full, short int) int {
	switch {
	case *seeds > 0:
		return *seeds
	case testing.Short():
		return short
	}
	return full
}

func TestNoSeedBreaksAPromise(t *testing.T) {
	if *only > 0 {
		s := play(t, newPlan(*only, *span), sabotage{})
		t.Logf("%s%s\n%s", s.plan.String(), strings.Join(s.trace.lines(), "\n"), s)
		s.judge(t)
		return
	}
	n, total, began := count(200, 30), figures{faults: map[string]int{}}, time.Now()
	for i := range n {
		s := play(t, newPlan(*first+uint64(i), *span), sabotage{})
		total.add(s)
		if !s.judge(t) && total.wrong == 3 {
			t.Fatal("more seeds would tell no more")
		}
		if total.seeds%500 == 0 {
			t.Logf("%s, took %s", total, time.Since(began).Round(time.Second))
		}
	}
	t.Logf("%s, took %s", total, time.Since(began).Round(time.Second))
	if total.old == 0 {
		t.Error("no read was ever answered with something older: nothing is proved")
	}
	if n >= 200 {
		for _, name := range everyFault() {
			if total.faults[name] == 0 {
				t.Errorf("never: %s", name)
			}
		}
	}
}

// A machine that halts for a moment may let another goroutine go first: then both are played again.
func TestASeedTellsItsStoryAgain(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector Go's runtime draws lots for which goroutine goes first")
	}
	const attempts = 3
	n, halts := count(50, 10), 0
	for i := range n {
		p := newPlan(*first+uint64(i), *span)
		if again := newPlan(p.seed, *span); again.String() != p.String() {
			t.Errorf("seed %d has two plans:\n%s%s", p.seed, p.String(), again.String())
		}
		for attempt := 1; ; attempt++ {
			one, other := play(t, p, sabotage{}).trace.lines(), play(t, p, sabotage{}).trace.lines()
			at, same := differ(one, other)
			if same {
				break
			}
			halts++
			t.Logf("seed %d: of %d and %d messages number %d is another:\n%s\n%s",
				p.seed, len(one), len(other), at, strings.Join(around(one, at), "\n"), strings.Join(around(other, at), "\n"))
			if attempt == attempts {
				t.Errorf("seed %d tells another story each time", p.seed)
				break
			}
		}
	}
	t.Logf("each of %d seeds sent the same messages twice, to the last one; %d pairs had to be played again", n, halts)
}

func TestAnotherSeedTellsAnotherStory(t *testing.T) {
	one, other := play(t, newPlan(1, *span), sabotage{}), play(t, newPlan(2, *span), sabotage{})
	if one.plan.String() == other.plan.String() {
		t.Error("the plans are the same")
	}
	if _, same := differ(one.trace.lines(), other.trace.lines()); same {
		t.Error("the messages are the same")
	}
}

// found plays a world that is broken by somebody's hand until a violation is found.
func found(t *testing.T, broken sabotage, change func(p *plan)) {
	t.Helper()
	for seed := range uint64(20) {
		p := newPlan(seed+1, *span)
		change(&p)
		if s := play(t, p, broken); len(s.report.Violations) > 0 {
			t.Logf("seed %d: %s", p.seed, s.report.Violations[0])
			return
		}
	}
	t.Error("20 seeds have not found it")
}

func TestAnAuthorityThatAnswersOldIsFound(t *testing.T) {
	var mu sync.Mutex // guards what follows
	before, reads := map[int]loaded{}, 0
	found(t, sabotage{read: func(s *source, key int) (loaded, error) {
		mu.Lock()
		defer mu.Unlock()
		l, err := s.read(key)
		if reads++; reads%8 == 0 && before[key].Value > 0 {
			return before[key], nil
		}
		before[key] = l
		return l, err
	}}, func(p *plan) { p.versioned, p.logged, before = false, false, map[int]loaded{} })
}

// Neither a message nor a renewal tells of an invalidation: the server drops the one and does not count for the other.
func TestAServerThatHidesInvalidationsIsFound(t *testing.T) {
	found(t, sabotage{hook: func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd != "PUBLISH" && cmd != "INCR" {
			return false
		}
		c.WriteInt(0)
		return true
	}}, func(p *plan) { p.logged = false })
}

func TestAServerThatKeepsInvalidatedValuesIsFound(t *testing.T) {
	found(t, sabotage{hook: func(c *server.Peer, cmd string, args ...string) bool {
		if cmd != "UNLINK" || !strings.Contains(args[0], "}:d:") {
			return false
		}
		c.WriteInt(0)
		return true
	}}, func(p *plan) { p.versioned, p.logged = false, false })
}

// judge fails the test if the seed did not end well.
func (s story) judge(t *testing.T) bool {
	t.Helper()
	if len(s.broken) == 0 && len(s.report.Violations) == 0 {
		return true
	}
	lines := s.trace.lines()
	t.Errorf("%s\n%s%s\nagain with: go test -v -run Promise ./readthrough/simulation -simulation.seed=%d -simulation.span=%s",
		s, s.plan.String(), strings.Join(lines[max(0, len(lines)-20):], "\n"), s.plan.seed, s.plan.span)
	return false
}

// String is how it ended.
func (s story) String() string {
	return fmt.Sprintf("seed %d, B %s, %s: %s\n%s", s.plan.seed, s.plan.bound, s.took, s.report,
		strings.Join(s.broken[:min(len(s.broken), 10)], "\n"))
}

// everyFault names what may go wrong.
func everyFault() []string {
	names := []string{"cut", "delayed", "dropped", "half open", "held", "lagging", "refused", "slow", "twice"}
	for h := range harms {
		names = append(names, h.String())
	}
	return names
}

// differ is where two stories part.
func differ(one, other []string) (at int, same bool) {
	for at < len(one) && at < len(other) && one[at] == other[at] {
		at++
	}
	return at, at == len(one) && at == len(other)
}

func around(lines []string, at int) []string {
	return lines[max(0, at-3):min(len(lines), at+2)]
}
