package policy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/internal/gate"
	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/stores/sqlsource"
)

// Store answers decisions from policies that an authority keeps, through L1 and Redis. Safe for concurrent use.
//
// It fails closed: without a document that is provably fresh there is no decision but an error, and the Decision beside an
// error denies. What it keeps in Redis is rebuildable: eviction or FLUSHALL costs misses.
type Store struct {
	cache     *readthrough.Cache[AgentID, *Document]
	authority Authority
	relay     *sqlsource.Relay // nil: the authority has no outbox
	alone     bool             // there is no Redis
	untold    bool             // nor anything else that tells of changes: memory is off
	writer    string           // random; what the outbox calls this process
	writes    gate.Gate        // shut by Close
}

// Version is the authority's number of a change: higher is later.
type Version uint64

// New makes a Store. It does no I/O itself, and Close ends it: a Redis or a database that is down shows in Health and in
// the errors of calls.
func New(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if m, ok := cfg.Authority.(*Memory); ok {
		cfg.Authority = m.of(cfg.Tenant)
	}
	cache, err := readthrough.New(cfg.cache())
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	s := &Store{cache: cache, authority: cfg.Authority, alone: cfg.alone(), untold: cfg.untold(), writer: hex.EncodeToString(id[:])}
	if log := cfg.log(); log != nil {
		var deliver sqlsource.Deliverer = deliverer{cache}
		if s.alone {
			deliver = polled{}
		}
		s.relay, err = sqlsource.NewRelay(sqlsource.RelayConfig{
			Log: log, Deliver: deliver, Namespace: cfg.Name, Interval: cfg.Relay, Settle: cfg.Settle,
			Retain: max(cfg.TTL, cfg.NegativeTTL) + cfg.Settle, Listener: cfg.Listener, Telemetry: cfg.Telemetry,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("policy: %w", err), cache.Close(context.Background()))
		}
	}
	return s, nil
}

// Decide answers whether an agent may do action. The first rule that matches decides; no match denies. Without a policy it
// is readthrough.ErrNotFound; other errors are ErrActionTooLong and those of readthrough's Get. The Decision beside an
// error is the zero one, which denies. A hit in L1 makes no round trip and allocates nothing.
func (s *Store) Decide(ctx context.Context, id AgentID, action string, opts ...readthrough.Option) (Decision, error) {
	if len(action) > MaxAction {
		return Decision{}, ErrActionTooLong
	}
	doc, asOf, err := s.cache.GetAsOf(ctx, id, s.options(opts)...)
	if err != nil {
		return Decision{}, err
	}
	return doc.Decide(action).at(asOf), nil
}

// Get answers an agent's policy, or readthrough.ErrNotFound. The document is shared and immutable.
func (s *Store) Get(ctx context.Context, id AgentID, opts ...readthrough.Option) (*Document, error) {
	return s.cache.Get(ctx, id, s.options(opts)...)
}

// GetMany answers the policies of several agents; one without a policy is not in the map. Beside an error, one that is not
// in the map is unknown. It is not a snapshot.
func (s *Store) GetMany(ctx context.Context, ids []AgentID, opts ...readthrough.Option) (map[AgentID]*Document, error) {
	return s.cache.GetMany(ctx, ids, s.options(opts)...)
}

// options are a read's, which asks the authority where memory is off.
func (s *Store) options(opts []readthrough.Option) []readthrough.Option {
	if s.untold {
		return append([]readthrough.Option{readthrough.Linearizable()}, opts...)
	}
	return opts
}

// Put makes doc the agent's policy and returns when that is in force: no check that begins afterwards, in any process, is
// answered with an older one. If ctx ends after the commit it returns the version with a *readthrough.NotInForceError: the
// policy is stored, and its invalidation goes on. Any other error means that nothing was stored, unless it is a
// *sqlsource.UnknownOutcomeError.
func (s *Store) Put(ctx context.Context, id AgentID, doc *Document) (Version, error) {
	return s.inForce(ctx, func() (*readthrough.Receipt, error) { return s.PutAsync(ctx, id, doc) })
}

// PutAsync is Put without the wait: it returns after the commit and one attempt to invalidate, which goes on if ctx ends. This
// process reads its own write from then on; the receipt's token reads it anywhere.
func (s *Store) PutAsync(ctx context.Context, id AgentID, doc *Document) (*readthrough.Receipt, error) {
	if doc == nil || doc.source == "" {
		return nil, errors.New("policy: put: the document is nil or zero; make it with ParseDocument or NewDocument")
	}
	if err := s.writes.Enter(); err != nil {
		return nil, err
	}
	defer s.writes.Leave()
	asOf, err := s.authority.Put(ctx, id.String(), []byte(doc.source), s.writer)
	return s.committed(ctx, "put", id, asOf, err)
}

// Delete removes the agent's policy, if it has one, and returns when that is in force. Its errors are Put's.
func (s *Store) Delete(ctx context.Context, id AgentID) (Version, error) {
	return s.inForce(ctx, func() (*readthrough.Receipt, error) { return s.DeleteAsync(ctx, id) })
}

// DeleteAsync is Delete without the wait.
func (s *Store) DeleteAsync(ctx context.Context, id AgentID) (*readthrough.Receipt, error) {
	if err := s.writes.Enter(); err != nil {
		return nil, err
	}
	defer s.writes.Leave()
	asOf, _, err := s.authority.Delete(ctx, id.String(), s.writer)
	return s.committed(ctx, "delete", id, asOf, err)
}

// inForce writes, and waits until that is in force.
func (s *Store) inForce(ctx context.Context, write func() (*readthrough.Receipt, error)) (v Version, err error) {
	err = s.writes.InForce(ctx, func() (*readthrough.Receipt, error) {
		r, err := write()
		if err == nil {
			v = Version(r.AsOf())
		}
		return r, err
	})
	return v, err
}

// committed tells every process of a write and the relay of the telling. A write whose outcome is unknown is treated as
// one that happened.
func (s *Store) committed(ctx context.Context, op string, id AgentID, asOf uint64, err error) (*readthrough.Receipt, error) {
	if err != nil {
		if _, unknown := errors.AsType[*sqlsource.UnknownOutcomeError](err); unknown {
			_, lost := s.cache.InvalidateAsOf(ctx, 0, id)
			err = errors.Join(err, lost)
		}
		return nil, fmt.Errorf("policy: %s: %w", op, err)
	}
	r, err := s.cache.InvalidateAsOf(ctx, asOf, id)
	if err != nil { // Close did not wait any longer; the outbox still has the row
		return nil, fmt.Errorf("policy: %s: %w", op, &readthrough.NotInForceError{Committed: true, Pending: true, Err: err})
	}
	if s.relay != nil && r.Executed() {
		epoch := r.Epoch()
		if s.alone {
			epoch = polledEpoch
		}
		s.relay.Delivered(asOf, epoch)
	}
	return r, nil
}

// Import makes documents the policies of their agents, in batches, for tools and first fills. It answers how many it has
// stored, also beside an error, and waits until all of them are in force. A nil document is an error. Beside a
// *sqlsource.UnknownOutcomeError one more batch may be stored, which is invalidated as if it were.
func (s *Store) Import(ctx context.Context, documents iter.Seq2[AgentID, *Document]) (n int, err error) {
	var failed error
	err = s.writes.InForce(ctx, func() (r *readthrough.Receipt, lost error) {
		n, r, failed, lost = s.imported(ctx, documents)
		return r, lost
	})
	return n, errors.Join(failed, err)
}

// none is of what need not be waited for.
var none = &readthrough.Receipt{}

// imported writes documents. failed is what the authority says, lost that nobody could be told of what it has stored.
func (s *Store) imported(ctx context.Context, documents iter.Seq2[AgentID, *Document]) (n int, r *readthrough.Receipt, failed, lost error) {
	if documents == nil {
		return 0, none, errors.New("policy: import: the documents are nil"), nil
	}
	over := false
	defer func() {
		if !over { // the caller's iterator has panicked, and what came before is stored
			_, _ = s.cache.InvalidateAllAsync(ctx, 0)
		}
	}()
	var broken error
	n, asOf, err := s.authority.Import(ctx, func(yield func(string, []byte) bool) {
		for id, doc := range documents {
			if doc == nil || doc.source == "" {
				broken = errors.New("policy: import: a document is nil or zero")
				return
			}
			if !yield(id.String(), []byte(doc.source)) {
				return
			}
		}
	})
	over = true
	if err != nil {
		err = fmt.Errorf("policy: import: %w", err)
	}
	err = errors.Join(broken, err)
	_, unknown := errors.AsType[*sqlsource.UnknownOutcomeError](err)
	if n == 0 && !unknown {
		return n, none, err, nil
	}
	r, lost = s.cache.InvalidateAllAsync(ctx, asOf)
	if lost == nil && n == 0 {
		r = none
	}
	return n, r, err, lost
}

// Invalidate makes policies be read anew in every process, after something that this library does not see changed them.
// It waits as Put does; without ids it does nothing.
func (s *Store) Invalidate(ctx context.Context, ids ...AgentID) error {
	return s.cache.Invalidate(ctx, ids...)
}

// InvalidateAsync is Invalidate without the wait.
func (s *Store) InvalidateAsync(ctx context.Context, ids ...AgentID) (*readthrough.Receipt, error) {
	return s.cache.InvalidateAsync(ctx, ids...)
}

// InvalidateAll makes every policy be read anew in every process. It waits as long as a serving lease lasts.
func (s *Store) InvalidateAll(ctx context.Context) error { return s.cache.InvalidateAll(ctx) }

// ApplyPush applies a push message of the original system: the agent whose policy changed, in hexadecimal. It is the only
// place where an empty id means all policies.
func (s *Store) ApplyPush(ctx context.Context, rawID string) error {
	if rawID == "" {
		return s.InvalidateAll(ctx)
	}
	id, err := ParseAgentID(rawID)
	if err != nil {
		return err
	}
	return s.Invalidate(ctx, id)
}

// Health is the state of the store's bus.
func (s *Store) Health() invalidation.Health { return s.cache.Health() }

// Ready returns nil when a serving lease is held and the authority answers.
func (s *Store) Ready(ctx context.Context) error {
	if s.writes.IsShut() {
		return readthrough.ErrClosed
	}
	if err := s.cache.Ready(ctx); err != nil {
		return err
	}
	if _, err := s.authority.Head(ctx); err != nil {
		return fmt.Errorf("policy: %w", layout.Unavailable(err))
	}
	return nil
}

// Close ends the store's goroutines: it waits for the writes under way, gives up the lease and tries to deliver what is pending,
// until ctx ends. Calls after it are readthrough.ErrClosed and write nothing. A write that takes longer than ctx is a
// *readthrough.NotInForceError with ErrClosed: who shares the database tells of it within Config.Relay. Safe to call twice.
func (s *Store) Close(ctx context.Context) error {
	s.writes.Shut()
	err := s.writes.Wait(ctx)
	if err != nil {
		err = fmt.Errorf("policy: %w", err)
	}
	if s.relay != nil {
		err = errors.Join(err, s.relay.Close(ctx))
	}
	return errors.Join(err, s.cache.Close(ctx))
}
