package registry

import (
	"context"
	"errors"
	"time"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
)

// Register stores an agent in place of what is there under its id, begins its TTL and counts as a heartbeat. The zero Status
// is Available, a LastHeartbeat that is zero or still to come is now. It returns when that is in force: no List or Find that begins
// afterwards, in any process, answers from before it. If ctx ends after the agent is stored, the error holds a
// *readthrough.NotInForceError.
func (s *Store) Register(ctx context.Context, a Agent) error {
	return inForce(ctx, "register")(s.RegisterAsync(ctx, a))
}

// RegisterAsync is Register without the wait. This process reads its own write from then on; the receipt's token reads it
// anywhere.
func (s *Store) RegisterAsync(ctx context.Context, a Agent) (*readthrough.Receipt, error) {
	if err := s.usable(a.ID); err != nil {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	_, asOf, err := s.backend.Put(ctx, a, s.terms)
	return s.wrote(ctx, "register", a.ID, true, asOf, err)
}

// Deregister removes an agent and returns when that is in force, as Register does.
func (s *Store) Deregister(ctx context.Context, id string) error {
	return inForce(ctx, "deregister")(s.DeregisterAsync(ctx, id))
}

// DeregisterAsync is Deregister without the wait.
func (s *Store) DeregisterAsync(ctx context.Context, id string) (*readthrough.Receipt, error) {
	if err := s.usable(id); err != nil {
		return nil, err
	}
	asOf, err := s.backend.Delete(ctx, id)
	return s.wrote(ctx, "deregister", id, true, asOf, err)
}

// SetStatus changes an agent's status and nothing else, and returns when that is in force, as Register does. It is no heartbeat.
func (s *Store) SetStatus(ctx context.Context, id string, status Status) error {
	return inForce(ctx, "set status")(s.SetStatusAsync(ctx, id, status))
}

// SetStatusAsync is SetStatus without the wait. A status that the agent has already tells nobody; the receipt then has no
// token.
func (s *Store) SetStatusAsync(ctx context.Context, id string, status Status) (*readthrough.Receipt, error) {
	if !status.known() {
		return nil, refused("agent status must be available, busy or offline, got %q", string(status))
	}
	return s.update(ctx, "set status", id, Update{Kind: SetStatus, Status: status})
}

// SetLoad changes an agent's current load and nothing else, and returns when that is in force, as Register does. It is for
// an agent that counts its own tasks; who hands them out uses Claim and Release. It is no heartbeat.
func (s *Store) SetLoad(ctx context.Context, id string, load int) error {
	return inForce(ctx, "set load")(s.SetLoadAsync(ctx, id, load))
}

// SetLoadAsync is SetLoad without the wait. A load that the agent has already tells nobody; the receipt then has no token.
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
	if err := s.usable(id); err != nil {
		return nil, err
	}
	changed, asOf, err := s.backend.Update(ctx, id, u)
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
	if s.closed.Load() {
		return []string{}, coded("reap", "", readthrough.ErrClosed)
	}
	ids, asOf, err := s.backend.Reap(ctx, ttl+s.cfg.Grace, s.terms)
	if ids == nil {
		ids = []string{}
	}
	return ids, inForce(ctx, "reap")(s.wrote(ctx, "reap", "", len(ids) > 0, asOf, err))
}

// Flush removes every agent of this registry, and of no other prefix or tenant, and returns when that is in force, as
// Register does.
func (s *Store) Flush(ctx context.Context) error {
	if s.closed.Load() {
		return coded("flush", "", readthrough.ErrClosed)
	}
	asOf, err := s.backend.Flush(ctx, s.terms)
	return inForce(ctx, "flush")(s.wrote(ctx, "flush", "", true, asOf, err))
}

// wrote tells every process of a write.
func (s *Store) wrote(ctx context.Context, op, id string, changed bool, asOf uint64, err error) (*readthrough.Receipt, error) {
	if err != nil {
		err = coded(op, id, err)
		unknown := isFailed(err) && !errors.Is(err, ErrUnchanged) && !errors.Is(err, errFaulty)
		if unknown && s.cache.Health().State != invalidation.Down {
			// It may have happened. While Redis is out it will hardly have, and to void the list would take from ServeStale what
			// it is there for.
			_, _ = s.cache.InvalidateAsync(ctx, everybody)
		}
		return nil, err
	}
	if !changed {
		return unchanged, nil
	}
	return s.changed(ctx, op, asOf)
}

// changed tells every process that the agents are others now.
func (s *Store) changed(ctx context.Context, op string, asOf uint64) (*readthrough.Receipt, error) {
	r, err := s.cache.InvalidateAsOf(ctx, asOf, everybody)
	if err != nil { // closed meanwhile; Config.MaxAge bounds who was not told
		return nil, coded(op, "", &readthrough.NotInForceError{Committed: true, Pending: true, Err: err})
	}
	if s.relay != nil && r.Executed() {
		epoch := r.Epoch()
		if s.cfg.Link == nil {
			epoch = polledEpoch
		}
		s.relay.Delivered(asOf, epoch)
	}
	return r, nil
}

// inForce waits for a receipt.
func inForce(ctx context.Context, op string) func(*readthrough.Receipt, error) error {
	return func(r *readthrough.Receipt, err error) error {
		if err != nil {
			return err
		}
		return coded(op, "", r.Wait(ctx))
	}
}
