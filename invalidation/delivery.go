package invalidation

import (
	"sync"
	"time"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
)

// delivery is one invalidation of one partition: executed by the server, or on its way there.
type delivery struct {
	index int // the partition's
	ids   []l2.ID
	all   bool
	asOf  uint64

	attempted chan struct{} // closed when the first attempt to have it executed has ended
	done      chan struct{} // closed when the server has executed it, or when it is merged into another

	mu   sync.Mutex    // guards the fields below
	into *delivery     // whose execution executes this one; nil: it stands for itself
	pos  l2.Position   // what the server answered
	wait protocol.Wait // from then on
	err  error         // the last failure while it is not executed
}

func newDelivery(index int, ids []l2.ID, all bool, asOf uint64) *delivery {
	return &delivery{index: index, ids: ids, all: all, asOf: asOf, attempted: make(chan struct{}), done: make(chan struct{})}
}

// merge makes one delivery of everything, whose execution executes all of many. They refer to it and not it to them: what
// nobody waits for is forgotten.
func merge(index int, many []*delivery) *delivery {
	all := newDelivery(index, nil, true, 0)
	close(all.attempted) // it has no caller
	for _, d := range many {
		all.asOf = max(all.asOf, d.asOf)
	}
	for _, d := range many {
		d.mu.Lock()
		if d.pos.Epoch == "" && d.into == nil {
			d.into = all
			close(d.done)
		}
		all.err = d.err
		d.mu.Unlock()
	}
	return all
}

// idle says that nobody is trying d for its caller any more.
func (d *delivery) idle() bool {
	select {
	case <-d.attempted:
		return true
	default:
		return false
	}
}

// root is the delivery whose execution executes d: d itself, or what it was merged into.
func (d *delivery) root() *delivery {
	for {
		d.mu.Lock()
		into := d.into
		d.mu.Unlock()
		if into == nil {
			return d
		}
		d = into
	}
}

// executed answers the position, once the server has executed the invalidation.
func (d *delivery) executed() (l2.Position, bool) {
	d = d.root()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pos, d.pos.Epoch != ""
}

// waiting answers what is to be waited for.
func (d *delivery) waiting() protocol.Wait {
	d = d.root()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wait
}

// succeed notes the server's answer, of which longest is the longest lease given before. The first answer counts for the
// clock: an invalidation executed again in a new epoch is in force no later than the leases of the old one allow. The caller
// has voided what this process held: whoever waits may read at once.
func (d *delivery) succeed(now protocol.Instant, pos l2.Position, longest time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.into != nil {
		return // the other one will be executed too, and is what is waited for
	}
	first := d.pos.Epoch == ""
	d.pos, d.err = pos, nil
	d.wait.Epoch, d.wait.Seq, d.wait.Everything = string(pos.Epoch), pos.Seq, d.all
	d.wait.Longest = max(d.wait.Longest, longest)
	if first {
		d.wait.Answered = now
		close(d.done)
	}
}

// fail notes a failure, unless the server has executed it: then it answers false.
func (d *delivery) fail(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pos.Epoch != "" {
		return false
	}
	d.err = err
	return true
}

func (d *delivery) failure() error {
	d = d.root()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}
