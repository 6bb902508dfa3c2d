package readthrough

import (
	"time"

	"github.com/layercache/layercache/invalidation"
)

// Option narrows one read. It is a small value: a hit with options allocates nothing.
type Option struct {
	kind  optionKind
	token Token
	d     time.Duration
}

type optionKind uint8

const (
	atLeast optionKind = iota + 1
	linearizable
	skipL1
	maxStale
)

// AtLeast asks for nothing older than the change that the token belongs to, wherever it was made. An authority that answers
// older, such as a restored backup, is ErrUnavailable. A token that is no token of this namespace is ErrBadToken.
func AtLeast(t Token) Option { return Option{kind: atLeast, token: t} }

// Linearizable reads the authority, and joins only a load that has not started yet: the answer was current at some moment
// between call and return.
func Linearizable() Option { return Option{kind: linearizable} }

// SkipL1 asks L2 or the authority. It is never answered from L1, by ServeStale neither.
func SkipL1() Option { return Option{kind: skipL1} }

// MaxStale narrows how stale an answer of ServeStale may be; it never widens. 0: none may be stale.
func MaxStale(d time.Duration) Option { return Option{kind: maxStale, d: d} }

// demand is what the options of one read come to.
type demand struct {
	floor        invalidation.Floor
	token        Token // the floor's
	bounded      bool  // a token was given
	linearizable bool
	skipL1       bool
	stale        time.Duration
}

// add asks for nothing older than one more token. Of several versions the highest counts. Only the authority is known to
// be past two tokens of which one names positions.
func (d *demand) add(floor invalidation.Floor, token Token) {
	if d.bounded && d.token != token && (floor.AsOf == 0 || d.floor.AsOf == 0) {
		d.linearizable = true
	}
	if !d.bounded || floor.AsOf > d.floor.AsOf {
		d.floor, d.token = floor, token
	}
	d.bounded = true
}

// demand folds options. It keeps nothing of the slice, so that it stays on the caller's stack.
func (c *Cache[K, V]) demand(opts []Option) (demand, error) {
	d := demand{stale: c.cfg.Mode.stale}
	for i := range opts {
		switch o := &opts[i]; o.kind {
		case atLeast:
			floor, err := c.tokens.Parse(o.token)
			if err != nil {
				return demand{}, err
			}
			d.add(floor, o.token)
		case linearizable:
			d.linearizable = true
		case skipL1:
			d.skipL1 = true
		case maxStale:
			d.stale = min(d.stale, max(0, o.d))
		}
	}
	return d, nil
}
