package explore

import (
	"fmt"
	"strings"
)

// Result is what an exploration came to.
type Result struct {
	World World
	Flaw  Flaw
	// States and Transitions are counted once each; Depth is the longest of the shortest runs to a state.
	States, Transitions, Depth int
	// Faults is the most faults that a run contained.
	Faults int
	// Happened counts the transitions by event.
	Happened map[Events]int
	// Whole: there is no state that was not reached within the world's sizes. Not so after a counterexample, or at MaxDepth.
	Whole bool
	// Counterexample is a shortest run that breaks an invariant; nil: none does.
	Counterexample *Run
}

// String is the result in one line.
func (r *Result) String() string {
	text := fmt.Sprintf("%-28s %9d states %10d transitions, depth %2d, at most %d of %d faults", r.World.Name, r.States, r.Transitions, r.Depth,
		r.Faults, r.World.Budget)
	if !r.Whole {
		text += ", cut"
	}
	return text
}

// Run is a run as text.
type Run struct {
	// Wrong is the invariant that is broken at its end, and how.
	Wrong string
	Steps []string
}

// String is the run, a step a line.
func (r *Run) String() string {
	var b strings.Builder
	for i, step := range r.Steps {
		fmt.Fprintf(&b, "%3d  %s\n", i+1, step)
	}
	fmt.Fprintf(&b, "     => %s", r.Wrong)
	return b.String()
}

// Explore visits every state that can be reached, breadth first, and stops at the first that breaks an invariant. It uses
// one goroutine and some 30 bytes for each state, besides the states of two levels.
func (w World) Explore(f Flaw) Result {
	x := newExplorer(w, f)
	r := Result{World: w, Flaw: f, Happened: map[Events]int{}, Whole: true}
	var happened [events]int
	seen := newVisited()
	level := []state{x.initial()}
	first := 0 // number of level[0]
	seen.add(level[0].hash(), 0, step{})
	for depth := 0; len(level) > 0; depth++ {
		r.Depth = depth
		if w.MaxDepth > 0 && depth == w.MaxDepth || w.MaxStates > 0 && seen.len() >= w.MaxStates {
			r.Whole = false
			break
		}
		var next []state
		for i := range level {
			r.Faults = max(r.Faults, int(level[i].faults))
			for _, st := range x.enabled(&level[i]) {
				r.Transitions++
				happened[st.kind]++
				t := level[i]
				wrong := x.apply(&t, st)
				if wrong == "" {
					x.normalise(&t)
					if !seen.add(t.hash(), first+i, st) {
						continue
					}
					wrong = x.check(&t)
				}
				if wrong != "" {
					r.Counterexample = x.run(seen.path(first+i), st, wrong)
					r.Whole = false
					level, next = nil, nil
					break
				}
				next = append(next, t)
			}
			if level == nil {
				break
			}
		}
		first += len(level)
		level = next
	}
	r.States = seen.len()
	for kind, n := range happened {
		if n > 0 {
			r.Happened[1<<kind] = n
		}
	}
	return r
}

// run tells a path and one more step.
func (x *explorer) run(path []step, last step, wrong string) *Run {
	r := &Run{Wrong: wrong}
	s := x.initial()
	for _, st := range append(path, last) {
		before := s
		x.apply(&s, st)
		x.normalise(&s)
		r.Steps = append(r.Steps, x.tell(&before, &s, st))
	}
	return r
}

// visited are the states that were seen, by a 64-bit hash, numbered in the order of their discovery. Two of n states share
// a hash, so that one of them goes unseen, with a probability below n²/2^65: 10^-6 for ten million.
type visited struct {
	slots   []uint32 // number of a state plus 1; 0: free
	hashes  []uint64
	parents []uint32
	by      []step
}

func newVisited() *visited { return &visited{slots: make([]uint32, 1<<16)} }

func (v *visited) len() int { return len(v.hashes) }

// add answers whether the hash is new.
func (v *visited) add(hash uint64, parent int, by step) bool {
	i := v.find(hash)
	if v.slots[i] != 0 {
		return false
	}
	v.hashes = append(v.hashes, hash)
	v.parents = append(v.parents, uint32(parent))
	v.by = append(v.by, by)
	v.slots[i] = uint32(len(v.hashes))
	if len(v.hashes) > len(v.slots)/3*2 {
		v.slots = make([]uint32, 2*len(v.slots))
		for n, h := range v.hashes {
			v.slots[v.find(h)] = uint32(n + 1)
		}
	}
	return true
}

// find answers the slot of a hash, or the free one that it would take.
func (v *visited) find(hash uint64) int {
	mask := len(v.slots) - 1
	i := int(hash) & mask
	for v.slots[i] != 0 && v.hashes[v.slots[i]-1] != hash {
		i = (i + 1) & mask
	}
	return i
}

// path is how a state was first reached.
func (v *visited) path(n int) []step {
	var path []step
	for n > 0 {
		path = append(path, v.by[n])
		n = int(v.parents[n])
	}
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
	return path
}
