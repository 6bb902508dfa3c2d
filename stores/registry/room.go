package registry

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/layercache/layercache/readthrough"
)

// room is what a Memory has of one tenant.
type room struct {
	of *Memory

	mu     sync.Mutex // guards the fields below
	agents map[string]*resident
	sweep  int // as many agents as this, and those who are gone are looked for
	life   life
}

// sweepMin is the number of agents below which those who are gone are not looked for.
const sweepMin = 1024

// resident is an agent in memory.
type resident struct {
	agent Agent
	heard time.Time // as LastHeartbeat, on the clock that nobody sets: else a step of the other would be a silence
	gone  time.Time // without a further sign of life
}

// enter locks, unless ctx has ended, and answers the time.
func (m *room) enter(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	m.mu.Lock()
	if m.of.Now != nil {
		return m.of.Now(), nil
	}
	return time.Now(), nil
}

// live answers an agent that is not gone, and frees one that is.
func (m *room) live(id string, now time.Time) (*resident, error) {
	r := m.agents[id]
	if r == nil {
		return nil, readthrough.ErrNotFound
	}
	if !now.Before(r.gone) {
		delete(m.agents, id)
		return nil, readthrough.ErrNotFound
	}
	return r, nil
}

func (m *room) Put(ctx context.Context, a Agent, terms Terms) (Agent, uint64, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return Agent{}, 0, err
	}
	defer m.mu.Unlock()
	m.life.touch(now, terms.Grace, true)
	if a.LastHeartbeat.IsZero() || a.LastHeartbeat.After(now) {
		a.LastHeartbeat = now
	}
	a.LastHeartbeat = a.LastHeartbeat.Round(0).UTC()
	m.agents[a.ID] = &resident{agent: a, heard: now.Add(a.LastHeartbeat.Sub(now)), gone: now.Add(terms.TTL)}
	if len(m.agents) > max(m.sweep, sweepMin) {
		for id := range m.agents {
			_, _ = m.live(id, now) // frees it
		}
		m.sweep = 2 * len(m.agents) // so that a Put costs a constant on average
	}
	return a, 0, nil
}

func (m *room) Delete(ctx context.Context, id string) (uint64, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	if _, err := m.live(id, now); err != nil {
		return 0, err
	}
	delete(m.agents, id)
	return 0, nil
}

func (m *room) Get(ctx context.Context, id string) (Agent, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return Agent{}, err
	}
	defer m.mu.Unlock()
	r, err := m.live(id, now)
	if err != nil {
		return Agent{}, err
	}
	return r.agent, nil
}

func (m *room) List(ctx context.Context, _ Terms) (Listing, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return Listing{}, err
	}
	defer m.mu.Unlock()
	l := Listing{Agents: make([]Agent, 0, len(m.agents))}
	for id := range m.agents {
		r, err := m.live(id, now)
		if err != nil {
			continue
		}
		l.Agents = append(l.Agents, r.agent)
		if left := r.gone.Sub(now); l.Lasts == 0 || left < l.Lasts {
			l.Lasts = left
		}
	}
	return l, nil
}

func (m *room) Beat(ctx context.Context, id string, terms Terms) (bool, uint64, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return false, 0, err
	}
	defer m.mu.Unlock()
	r, err := m.live(id, now)
	if err != nil {
		return false, 0, err
	}
	m.life.touch(now, terms.Grace, true)
	r.agent.LastHeartbeat, r.heard = now.Round(0).UTC(), now
	r.gone = now.Add(terms.TTL)
	revived := r.agent.Status == Offline
	if revived {
		r.agent.Status = Available
	}
	return revived, 0, nil
}

func (m *room) Update(ctx context.Context, id string, u Update) (bool, uint64, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return false, 0, err
	}
	defer m.mu.Unlock()
	r, err := m.live(id, now)
	if err != nil {
		return false, 0, err
	}
	return u.apply(&r.agent), 0, nil
}

func (m *room) Reap(ctx context.Context, silence time.Duration, terms Terms) ([]string, uint64, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	m.life.touch(now, terms.Grace, false)
	ids := []string{}
	if !m.life.settled(now, silence) {
		return ids, 0, nil
	}
	for id := range m.agents {
		r, err := m.live(id, now)
		if err == nil && r.agent.Status != Offline && now.Sub(r.heard) > silence {
			r.agent.Status = Offline
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, 0, nil
}

func (m *room) Flush(ctx context.Context, _ Terms) (uint64, error) {
	if _, err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	clear(m.agents)
	return 0, nil
}
