package l1

import "sync/atomic"

// Guard says what a load may still be told about: it is taken before the load reads anything, and holds as long as
// neither its stripe was evicted nor the cache flushed. Guards are comparable. The zero Guard never holds.
type Guard struct {
	stripe uint32
	epoch  uint64
	flush  uint64 // never 0 while the cache is open
}

// epochs is what guards are compared with.
type epochs struct {
	// flush counts the flushes from 1. 0 means closed: no guard holds then, since every guard taken before has
	// another value and one taken after is refused by holds.
	flush   atomic.Uint64
	stripes []atomic.Uint64
}

func (e *epochs) init(stripes int) {
	e.flush.Store(1)
	e.stripes = make([]atomic.Uint64, stripes)
}

func (e *epochs) index(hash uint64) uint32 {
	return uint32(hash & uint64(len(e.stripes)-1))
}

func (e *epochs) guard(hash uint64) Guard {
	i := e.index(hash)
	return Guard{stripe: i, epoch: e.stripes[i].Load(), flush: e.flush.Load()}
}

// holds is the check at the read: the entry has been loaded before it, so an eviction that finished before the read
// began is seen here, whatever the entry's way into the table was.
func (e *epochs) holds(g *Guard) bool {
	return e.stripes[g.stripe].Load() == g.epoch && e.flush.Load() == g.flush && g.flush != 0
}

// bump voids a stripe.
func (e *epochs) bump(hash uint64) {
	e.stripes[e.index(hash)].Add(1)
}

// bumpFrom voids the stripe of g if nobody has since g was taken, and answers the guard that is g's successor.
func (e *epochs) bumpFrom(g Guard) (Guard, bool) {
	next := g
	next.epoch++
	return next, e.stripes[g.stripe].CompareAndSwap(g.epoch, next.epoch)
}

// bumpFlush voids everything. A closed cache stays closed.
func (e *epochs) bumpFlush() {
	for {
		f := e.flush.Load()
		if f == 0 || e.flush.CompareAndSwap(f, f+1) {
			return
		}
	}
}

// close voids everything for good.
func (e *epochs) close() { e.flush.Store(0) }

func (e *epochs) closed() bool { return e.flush.Load() == 0 }
