package invalidation

import (
	"errors"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

const (
	reconnectMin = 10 * time.Millisecond
	reconnectMax = time.Second
	// silenceMax is how long a subscription may be silent before it is pinged; as long again without the pong, and it is
	// given up.
	silenceMax = time.Second
)

// receiveLoop keeps one subscription to the channels of all members and hands each message to its partition. It runs no
// user code. What is lost while there is none is found by the renewals' sequence numbers.
func (l *Link) receiveLoop() {
	pause := reconnectMin
	for first := true; l.ctx.Err() == nil; first = false {
		if !first {
			for _, p := range l.partitions() {
				l.cfg.Telemetry.Count(p.namespace(), telemetry.BusReconnect, 1)
			}
		}
		pubsub, ok := l.subscribe()
		if !ok {
			return
		}
		if l.receive(pubsub) {
			pause = reconnectMin
		}
		l.unsubscribe(pubsub)
		select {
		case <-l.ctx.Done():
		case <-time.After(spread(pause)):
			pause = min(2*pause, reconnectMax)
		}
	}
}

// subscribe opens a subscription, still to nothing and without a connection. False: the link is closed.
func (l *Link) subscribe() (*redis.PubSub, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	l.pubsub = l.cfg.Client.Subscribe(l.ctx)
	signal(l.wakeChannels)
	return l.pubsub, true
}

// channelLoop keeps the channels of the live subscription those of the members. One goroutine does it: a join may not be
// overtaken by the leave before it, and makes no I/O itself.
func (l *Link) channelLoop() {
	var live *redis.PubSub
	var have []string // of live, sorted
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wakeChannels:
		}
		l.mu.Lock()
		pubsub := l.pubsub
		want := slices.Sorted(maps.Keys(l.channels))
		l.mu.Unlock()
		if pubsub != live {
			live, have = pubsub, nil
		}
		if live == nil {
			continue
		}
		var err error
		if add := without(want, have); len(add) > 0 {
			err = live.Subscribe(l.ctx, add...)
		}
		if drop := without(have, want); err == nil && len(drop) > 0 {
			err = live.Unsubscribe(l.ctx, drop...)
		}
		if err != nil {
			_ = live.Close() // ends receive, and the next subscription is made with all of them
		}
		have = want
	}
}

// without answers the elements of a that are not in b; both are sorted.
func without(a, b []string) (rest []string) {
	for _, s := range a {
		if _, found := slices.BinarySearch(b, s); !found {
			rest = append(rest, s)
		}
	}
	return rest
}

func (l *Link) unsubscribe(pubsub *redis.PubSub) {
	l.mu.Lock()
	if l.pubsub == pubsub {
		l.pubsub = nil
	}
	l.mu.Unlock()
	_ = pubsub.Close()
}

// receive reads until the subscription fails. It answers whether anything was received at all.
func (l *Link) receive(pubsub *redis.PubSub) (received bool) {
	pinged := false
	for l.ctx.Err() == nil {
		msg, err := pubsub.ReceiveTimeout(l.ctx, silenceMax)
		var timeout net.Error
		switch {
		case err == nil:
			received, pinged = true, false
			l.dispatch(msg)
		case errors.As(err, &timeout) && timeout.Timeout() && !pinged:
			pinged = true
			if pubsub.Ping(l.ctx) != nil {
				return received
			}
		default:
			return received
		}
	}
	return received
}

func (l *Link) dispatch(msg any) {
	switch msg := msg.(type) {
	case *redis.Subscription:
		if p := l.partition(msg.Channel); p != nil && msg.Kind == "subscribe" {
			p.want() // learn at once what was missed
		}
	case *redis.Message:
		p := l.partition(msg.Channel)
		if p == nil {
			return
		}
		m, err := l2.ParseMessage([]byte(msg.Payload))
		if err != nil {
			p.unknown()
			return
		}
		p.message(m)
	}
}
