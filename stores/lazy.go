package stores

import (
	"context"
	"sync/atomic"

	"github.com/layercache/layercache/invalidation"
)

// store is what the stores have in common.
type store[T any] interface {
	*T
	Health() invalidation.Health
	Ready(ctx context.Context) error
	Close(ctx context.Context) error
}

// opened is a store of any kind.
type opened interface {
	open() error
	health() invalidation.Health
	ready(ctx context.Context) error
}

// lazy is a store that is made when it is first asked for.
type lazy[T any, S store[T]] struct {
	backend *Backend
	new     func() (S, error)
	ended   func() (S, error) // one to be closed at once, for who asks after Close
	made    atomic.Pointer[T]
}

// init says how the store is made.
func (l *lazy[T, S]) init(b *Backend, new, ended func() (S, error)) opened {
	l.backend, l.new, l.ended = b, new, ended
	return l
}

// get answers the store. After Open's checks nothing is left that could fail.
func (l *lazy[T, S]) get() S {
	if made := l.made.Load(); made != nil {
		return made
	}
	if err := l.open(); err != nil {
		panic("stores: a store that was checked cannot be made: " + err.Error())
	}
	return l.made.Load()
}

// open makes the store, unless it is there.
func (l *lazy[T, S]) open() error {
	b := l.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.made.Load() != nil {
		return nil
	}
	make := l.new
	if b.closed {
		make = l.ended
	}
	made, err := make()
	if err != nil {
		return err
	}
	if b.closed {
		_ = made.Close(context.Background()) // it has nothing to wait for
	} else {
		b.closers[closeStores] = append(b.closers[closeStores], made.Close)
	}
	l.made.Store(made)
	return nil
}

func (l *lazy[T, S]) health() invalidation.Health {
	if made := l.made.Load(); made != nil {
		return S(made).Health()
	}
	return invalidation.Health{}
}

func (l *lazy[T, S]) ready(ctx context.Context) error {
	if made := l.made.Load(); made != nil {
		return S(made).Ready(ctx)
	}
	return nil
}
