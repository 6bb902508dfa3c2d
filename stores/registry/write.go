package registry

import (
	"context"
	"errors"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
)

// Register stores an agent in place of what is there under its id, begins its TTL and counts as a heartbeat. The zero Status
// is Available, a LastHeartbeat that is zero, up to the begin of 1970, or still to come is now. It returns when that is in force:
// no List or Find that begins afterwards, in any process, answers from before it. If ctx ends after the agent is stored, the error
// holds a *readthrough.NotInForceError.
func (s *Store) Register(ctx context.Context, a Agent) error {
	return s.inForce(ctx, "register", func() (*readthrough.Receipt, error) { return s.RegisterAsync(ctx, a) })
}

// RegisterAsync is Register without the wait. This process reads its own write from then on; the receipt's token reads it
// anywhere.
func (s *Store) RegisterAsync(ctx context.Context, a Agent) (*readthrough.Receipt, error) {
	if err := s.begin("register", a.ID); err != nil {
		return nil, err
	}
	defer s.writes.Leave()
	if err := a.check(); err != nil {
		return nil, err
	}
	_, asOf, err := s.backend.Put(ctx, a, s.terms)
	return s.wrote(ctx, "register", a.ID, true, asOf, err)
}

// Deregister removes an agent and returns when that is in force, as Register does.
func (s *Store) Deregister(ctx context.Context, id string) error {
	return s.inForce(ctx, "deregister", func() (*readthrough.Receipt, error) { return s.DeregisterAsync(ctx, id) })
}

// DeregisterAsync is Deregister without the wait.
func (s *Store) DeregisterAsync(ctx context.Context, id string) (*readthrough.Receipt, error) {
	if err := s.begin("deregister", id); err != nil {
		return nil, err
	}
	defer s.writes.Leave()
	asOf, err := s.backend.Delete(ctx, id)
	return s.wrote(ctx, "deregister", id, true, asOf, err)
}

// SetStatus changes an agent's status and nothing else, and returns when that is in force, as Register does. It is no heartbeat.
func (s *Store) SetStatus(ctx context.Context, id string, status Status) error {
	return s.inForce(ctx, "set status", func() (*readthrough.Receipt, error) { return s.SetStatusAsync(ctx, id, status) })
}

// SetStatusAsync is SetStatus without the wait. A status that the agent has already is told like another: who wrote it may not
// have told yet.
func (s *Store) SetStatusAsync(ctx context.Context, id string, status Status) (*readthrough.Receipt, error) {
	if !status.known() {
		return nil, errStatus
	}
	return s.update(ctx, "set status", id, Update{Kind: SetStatus, Status: status})
}

// SetLoad changes an agent's current load and nothing else, and returns when that is in force, as Register does. It is for
// an agent that counts its own tasks; who hands them out uses Claim and Release. It is no heartbeat.
func (s *Store) SetLoad(ctx context.Context, id string, load int) error {
	return s.inForce(ctx, "set load", func() (*readthrough.Receipt, error) { return s.SetLoadAsync(ctx, id, load) })
}

// SetLoadAsync is SetLoad without the wait. A load that the agent has already is told like another.
func (s *Store) SetLoadAsync(ctx context.Context, id string, load int) (*readthrough.Receipt, error) {
	if load < 0 || load > maxLoad {
		return nil, refused("agent current_load must be from 0 to %d, got %d", maxLoad, load)
	}
	return s.update(ctx, "set load", id, Update{Kind: SetLoad, Load: load})
}

// Claim adds a task to an agent's load if the agent is Free, in one atomic step, and says whether it did: of many
// dispatchers that Find the same agent, no more succeed than it has room for. Other processes are told and not waited for.
// Beside a Failed error it is unknown whether the load was added.
func (s *Store) Claim(ctx context.Context, id string) (bool, error) {
	r, err := s.update(ctx, "claim", id, Update{Kind: Take})
	return err == nil && r != unchanged, err
}

// Release takes a task from an agent's load, down to 0. Other processes are told and not waited for.
func (s *Store) Release(ctx context.Context, id string) error {
	_, err := s.update(ctx, "release", id, Update{Kind: Give})
	return err
}

// unchanged is the receipt of a write that changed nothing.
var unchanged = &readthrough.Receipt{}

func (s *Store) update(ctx context.Context, op, id string, u Update) (*readthrough.Receipt, error) {
	if err := s.begin(op, id); err != nil {
		return nil, err
	}
	defer s.writes.Leave()
	changed, asOf, err := s.backend.Update(ctx, id, u)
	if err == nil && !changed && (u.Kind == SetStatus || u.Kind == SetLoad) {
		return s.tell(ctx, op, asOf) // it is so already, by a writer that has not told yet, and may never
	}
	return s.wrote(ctx, op, id, changed, asOf, err)
}

// Reap marks Offline every agent that was not heard of for longer than ttl and Config.Grace together, and returns their ids,
// never nil, when that is in force, as Register does; beside a *readthrough.NotInForceError they are marked too. It marks
// nobody whose silence may be the registry's own: not before that time has passed since the backend lost its data, failed
// over, was restarted from what it had saved, or heard from nobody at all for longer than Config.Grace. Until
// an agent has beaten since, further silences count as Config.Grace each.
func (s *Store) Reap(ctx context.Context, ttl time.Duration) ([]string, error) {
	if err := checkSilence(ttl); err != nil {
		return []string{}, err
	}
	ids := []string{}
	err := s.inForce(ctx, "reap", func() (*readthrough.Receipt, error) {
		marked, asOf, err := s.backend.Reap(ctx, ttl+s.cfg.Grace, s.terms)
		ids = append(ids, marked...)
		return s.wrote(ctx, "reap", "", len(ids) > 0, asOf, err)
	})
	return ids, err
}

// Flush removes every agent of this registry, and of no other prefix or tenant, and returns when that is in force, as
// Register does.
func (s *Store) Flush(ctx context.Context) error {
	return s.inForce(ctx, "flush", func() (*readthrough.Receipt, error) {
		asOf, err := s.backend.Flush(ctx, s.terms)
		return s.wrote(ctx, "flush", "", true, asOf, err)
	})
}

// wrote tells every process of a write.
func (s *Store) wrote(ctx context.Context, op, id string, changed bool, asOf uint64, err error) (*readthrough.Receipt, error) {
	if err != nil {
		err = coded(op, id, err)
		unknown := isFailed(err) && !errors.Is(err, ErrUnchanged) && !errors.Is(err, errFaulty)
		switch {
		case unknown && s.cache.Health().State != invalidation.Down:
			// It may have happened. While Redis is out it will hardly have, and to void the list would take from ServeStale what
			// it is there for.
			_, _ = s.cache.InvalidateAsync(ctx, everybody)
		case errors.Is(err, readthrough.ErrNotFound) && s.listed(id).ID != "":
			_, _ = s.cache.InvalidateAsync(ctx, everybody) // else this process would go on answering whom it has just denied
		}
		return nil, err
	}
	if !changed {
		return unchanged, nil
	}
	return s.changed(ctx, op, asOf)
}

// changed tells every process that the agents are others now, and the relay of the telling.
func (s *Store) changed(ctx context.Context, op string, asOf uint64) (*readthrough.Receipt, error) {
	r, err := s.tell(ctx, op, asOf)
	if err == nil && s.relay != nil && r.Executed() {
		epoch := r.Epoch()
		if s.cfg.Link == nil {
			epoch = polledEpoch
		}
		s.relay.Delivered(asOf, epoch)
	}
	return r, err
}

// tell makes every process read the agents anew.
func (s *Store) tell(ctx context.Context, op string, asOf uint64) (*readthrough.Receipt, error) {
	r, err := s.cache.InvalidateAsOf(ctx, asOf, everybody)
	if err != nil { // Close did not wait any longer; Config.MaxAge bounds who was not told
		return nil, coded(op, "", &readthrough.NotInForceError{Committed: true, Pending: true, Err: err})
	}
	return r, nil
}

// inForce writes, and waits until that is in force.
func (s *Store) inForce(ctx context.Context, op string, write func() (*readthrough.Receipt, error)) error {
	return coded(op, "", s.writes.InForce(ctx, write))
}

// begin begins a write to an agent, which ends with writes.Leave.
func (s *Store) begin(op, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	return coded(op, "", s.writes.Enter())
}
