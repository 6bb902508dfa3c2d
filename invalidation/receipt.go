package invalidation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/l2"
)

// Receipt is an invalidation after the commit it belongs to. Safe for concurrent use.
type Receipt struct {
	tokens Tokens
	asOf   uint64
	parts  []*delivery
	wait   func(ctx context.Context, d *delivery) (laggards []string, err error)
	epochs func(known map[int]l2.Epoch) string
	until  func(d *delivery) time.Duration
}

// Wait returns nil when the invalidation is in force: no read that begins afterwards, in any process, returns anything
// older. If ctx ends first it returns a *NotInForceError; the invalidation is not undone and goes on. Safe to call again.
func (r *Receipt) Wait(ctx context.Context) error {
	for _, d := range r.parts {
		laggards, err := r.wait(ctx, d)
		if err == nil {
			continue
		}
		e := &NotInForceError{Committed: true, Laggards: laggards, Token: r.Token(), Err: errors.Join(err, d.failure())}
		for _, d := range r.parts {
			if _, ok := d.executed(); !ok {
				e.Pending = true
			} else if left := r.until(d); left > 0 {
				e.Until = maxTime(e.Until, time.Now().Add(left))
			}
		}
		if e.Pending {
			e.Until = time.Time{}
		}
		return e
	}
	return nil
}

// Executed says whether the server has executed the invalidation in every partition. A receipt that is not executed is
// pending: the write stands, and its delivery goes on in the background.
func (r *Receipt) Executed() bool {
	for _, d := range r.parts {
		if _, ok := d.executed(); !ok {
			return false
		}
	}
	return true
}

// Err is the last failure of a delivery that is still pending, nil otherwise.
func (r *Receipt) Err() error {
	for _, d := range r.parts {
		if err := d.failure(); err != nil {
			return err
		}
	}
	return nil
}

// Epoch names the lives of the namespace's partitions, those in which the invalidation was executed among them, for
// comparison with Bus.Epoch only; "" while it is pending.
func (r *Receipt) Epoch() string {
	if !r.Executed() || r.epochs == nil {
		return ""
	}
	known := make(map[int]l2.Epoch, len(r.parts))
	for _, d := range r.parts {
		pos, _ := d.executed()
		known[d.index] = pos.Epoch
	}
	return r.epochs(known)
}

// AsOf is the authority's version of the change, 0 if it has none.
func (r *Receipt) AsOf() uint64 { return r.asOf }

// Token is the token of the change: a read with it is answered with the change or something newer.
func (r *Receipt) Token() Token {
	if r.asOf > 0 {
		return r.tokens.AsOf(r.asOf)
	}
	if len(r.parts) == 0 {
		return ""
	}
	return r.tokens.positions(r.parts)
}

// NotInForceError says that a change is committed but that some process may still answer from before it.
type NotInForceError struct {
	// Committed: the authority holds the change. Always true of an error of Wait.
	Committed bool
	// Pending: Redis has not executed the invalidation in every partition.
	Pending bool
	// Laggards are the ids of processes that have not acknowledged, as far as known.
	Laggards []string
	// Until is when the last serving lease from before the change runs out, on this process's clock; zero while Pending.
	Until time.Time
	// Token reads the change.
	Token Token
	// Err is why waiting ended, joined with the cause of a pending delivery.
	Err error
}

// Error says what is known; it holds no key or value.
func (e *NotInForceError) Error() string {
	state := "serving leases from before it are not over"
	switch {
	case e.Pending:
		state = "Redis has not executed the invalidation"
	case len(e.Laggards) > 0:
		state = fmt.Sprintf("%d processes have not acknowledged", len(e.Laggards))
	}
	return fmt.Sprintf("layercache: committed, but not yet in force everywhere: %s: %v", state, e.Err)
}

// Unwrap is Err.
func (e *NotInForceError) Unwrap() error { return e.Err }

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
