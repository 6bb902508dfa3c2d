package runlog

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// channels are the subscriptions of a process: one connection for all runs that are watched, and none while there are none.
// A lost message costs its follower the time until it polls.
type channels struct {
	client redis.UniversalClient

	tell sync.Mutex // held while the subscription is told of a channel, so that what is told last is true

	mu      sync.Mutex // guards the fields below
	watched map[string]map[*watcher]struct{}
	live    *redis.PubSub      // nil: nothing is watched, or it is being made anew
	cancel  context.CancelFunc // ends receive; nil while nothing is watched
	ended   chan struct{}      // closed when receive has ended
}

type watcher struct {
	mu      sync.Mutex // held while wake runs, so that stop waits for it
	stopped bool
	wake    func()
}

func (w *watcher) call() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.wake()
	}
}

func (c *channels) watch(channel string, wake func()) (stop func()) {
	w := &watcher{wake: wake}
	c.mu.Lock()
	if c.watched == nil {
		c.watched = map[string]map[*watcher]struct{}{}
	}
	fresh := c.watched[channel] == nil
	if fresh {
		c.watched[channel] = map[*watcher]struct{}{}
	}
	c.watched[channel][w] = struct{}{}
	if c.cancel == nil {
		ctx, cancel := context.WithCancel(context.Background())
		c.cancel, c.ended = cancel, make(chan struct{})
		go c.receive(ctx, c.ended) // ends when the last watcher stops
		fresh = false              // it subscribes to all there are
	}
	c.mu.Unlock()
	if fresh {
		c.update(channel)
	}
	return sync.OnceFunc(func() { c.leave(channel, w) })
}

func (c *channels) leave(channel string, w *watcher) {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	c.mu.Lock()
	delete(c.watched[channel], w)
	last := len(c.watched[channel]) == 0
	if last {
		delete(c.watched, channel)
	}
	if len(c.watched) > 0 {
		c.mu.Unlock()
		if last {
			c.update(channel)
		}
		return
	}
	live, ended := c.live, c.ended
	c.cancel()
	c.cancel, c.live = nil, nil
	c.mu.Unlock()
	if live != nil {
		_ = live.Close() // ends ReceiveTimeout, which does not look at its context
	}
	<-ended
}

// update makes the live subscription have a channel that is watched, or not have one that is not. It takes no longer than
// the client's timeouts; a failure is receive's to find.
func (c *channels) update(channel string) {
	c.tell.Lock()
	defer c.tell.Unlock()
	c.mu.Lock()
	live, watched := c.live, c.watched[channel] != nil
	c.mu.Unlock()
	switch {
	case live == nil:
	case watched:
		_ = live.Subscribe(context.Background(), channel)
	default:
		_ = live.Unsubscribe(context.Background(), channel)
	}
}

const (
	// silence after which a connection is asked whether it is there; as long again without an answer, and it is given up.
	silence = time.Second
	// pauseMin and pauseMax are between attempts to connect.
	pauseMin, pauseMax = 10 * time.Millisecond, time.Second
)

// receive keeps one subscription to all channels until ctx ends.
func (c *channels) receive(ctx context.Context, ended chan<- struct{}) {
	defer close(ended)
	for pause := pauseMin; ctx.Err() == nil; {
		pubsub := c.client.Subscribe(ctx)
		c.mu.Lock()
		var all []string
		if ctx.Err() == nil {
			c.live = pubsub
			all = slices.Collect(maps.Keys(c.watched))
		}
		c.mu.Unlock()
		if len(all) > 0 && pubsub.Subscribe(ctx, all...) == nil && c.hear(ctx, pubsub) {
			pause = pauseMin
		}
		c.mu.Lock()
		if c.live == pubsub {
			c.live = nil
		}
		c.mu.Unlock()
		_ = pubsub.Close()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, pauseMax)
		}
	}
}

// hear wakes until the subscription fails, and says whether anything was received at all. The confirmation of a
// subscription wakes too: what was appended before it is not told again.
func (c *channels) hear(ctx context.Context, pubsub *redis.PubSub) (received bool) {
	for asked := false; ctx.Err() == nil; {
		msg, err := pubsub.ReceiveTimeout(ctx, silence)
		var timeout net.Error
		switch {
		case err == nil:
			received, asked = true, false
			switch msg := msg.(type) {
			case *redis.Subscription:
				c.wake(msg.Channel)
			case *redis.Message:
				c.wake(msg.Channel)
			}
		case errors.As(err, &timeout) && timeout.Timeout() && !asked:
			asked = true
			if pubsub.Ping(ctx) != nil {
				return received
			}
		default:
			return received
		}
	}
	return received
}

func (c *channels) wake(channel string) {
	c.mu.Lock()
	waiting := slices.Collect(maps.Keys(c.watched[channel]))
	c.mu.Unlock()
	for _, w := range waiting {
		w.call()
	}
}
