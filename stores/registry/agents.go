package registry

import (
	"cmp"
	"iter"
	"slices"
	"sync"
	"time"
)

// Agents are agents in an order, at one moment. Immutable, shared between callers, and never nil: the zero Agents are none.
type Agents struct{ list []Agent }

// Len is how many there are.
func (a Agents) Len() int { return len(a.list) }

// At is a copy of the one at i, which must be from 0 to Len()-1.
func (a Agents) At(i int) Agent { return a.list[i] }

// All are copies of all of them, in their order.
func (a Agents) All() iter.Seq[Agent] {
	return func(yield func(Agent) bool) {
		for i := range a.list {
			if !yield(a.list[i]) {
				return
			}
		}
	}
}

// snapshot is the whole registry at one moment, the one value of L1. Immutable.
type snapshot struct {
	agents []Agent        // by id
	index  map[string]int // of agents
	faulty map[string]struct{}
	ranked func() []int32 // the free ones, the least loaded first, equally loaded ones by id; made once, when first asked for
	lasts  time.Duration  // from the read until the first may be gone by silence; 0: nobody can
}

func newSnapshot(l Listing) *snapshot {
	slices.SortFunc(l.Agents, func(a, b Agent) int { return cmp.Compare(a.ID, b.ID) })
	s := &snapshot{agents: l.Agents, index: make(map[string]int, len(l.Agents)), lasts: l.Lasts}
	for i, a := range l.Agents {
		s.index[a.ID] = i
	}
	for _, id := range l.Faulty {
		if s.faulty == nil {
			s.faulty = map[string]struct{}{}
		}
		s.faulty[id] = struct{}{}
	}
	s.ranked = sync.OnceValue(s.rank)
	return s
}

func (s *snapshot) rank() []int32 {
	free := make([]int32, 0, len(s.agents))
	for i := range s.agents {
		if s.agents[i].Free() {
			free = append(free, int32(i))
		}
	}
	slices.SortStableFunc(free, func(i, j int32) int { return cmp.Compare(s.agents[i].CurrentLoad, s.agents[j].CurrentLoad) })
	return free
}

// get answers an agent of the snapshot.
func (s *snapshot) get(id string) (Agent, error) {
	if i, ok := s.index[id]; ok {
		return s.agents[i], nil
	}
	if _, ok := s.faulty[id]; ok {
		return Agent{}, coded("get", id, errFaulty)
	}
	if err := checkID(id); err != nil { // only now: who is there has an id that can be
		return Agent{}, err
	}
	return Agent{}, notFound(id)
}

// Query says which agents a task may go to.
type Query struct {
	// Capabilities are what the agent must have, all of them. None: any agent.
	Capabilities []string
	// Limit is how many agents are wanted at most. 0: all. Less is BadInput.
	Limit int
}

// find answers the agents that are free and capable, the least loaded first, equally loaded ones by id.
func (s *snapshot) find(q Query) Agents {
	var found []Agent
	for _, i := range s.ranked() {
		if a := &s.agents[i]; a.Capabilities.hasAll(q.Capabilities) {
			found = append(found, *a)
			if len(found) == q.Limit {
				break
			}
		}
	}
	return Agents{found}
}
