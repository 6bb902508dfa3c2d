package invalidation

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation/protocol"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// LinkConfig configures a Link. Zero fields mean their defaults.
type LinkConfig struct {
	// Client reaches Redis. Required; it is used and never closed. It must not read from replicas (l2.CheckClient).
	Client redis.UniversalClient
	// GapWait is how long a missing message is waited for before L1 is flushed. 0: 20 ms.
	GapWait time.Duration
	// CallTimeout bounds each call to Redis made in the background. 0: 1 s; the client's own timeouts apply as well.
	CallTimeout time.Duration
	// Telemetry is told what happens. nil: telemetry.Nop.
	Telemetry telemetry.Telemetry
}

func (c LinkConfig) withDefaults() LinkConfig {
	if c.GapWait == 0 {
		c.GapWait = 20 * time.Millisecond
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = time.Second
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Nop
	}
	return c
}

func (c LinkConfig) validate() error {
	if c.Client == nil {
		return errors.New("invalidation: LinkConfig.Client is required")
	}
	if c.GapWait < 0 || c.GapWait > time.Second {
		return fmt.Errorf("invalidation: LinkConfig.GapWait must be between 0 and 1s, got %s", c.GapWait)
	}
	if c.CallTimeout < 0 || c.CallTimeout > time.Minute {
		return fmt.Errorf("invalidation: LinkConfig.CallTimeout must be between 0 and 1m, got %s", c.CallTimeout)
	}
	return l2.CheckClient(c.Client)
}

// Link is one process's connection to the bus: one subscription and one pipeline of renewals for all the namespaces that
// join it. Safe for concurrent use.
type Link struct {
	cfg    LinkConfig
	ctx    context.Context // ends at Close; of the background calls
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine of the link and its members

	wakeRenewal  chan struct{} // one token: look at the partitions again
	wakeDelivery chan struct{} // one token: something is pending
	back         chan struct{} // one token: Redis answers again
	wakeChannels chan struct{} // one token: channels or the subscription have changed

	mu       sync.Mutex            // guards the fields below
	channels map[string]*partition // joined partitions by their channel
	pubsub   *redis.PubSub         // the live subscription, nil while there is none
	started  bool
	closed   bool
}

// NewLink makes a link. It does no I/O; the first Join starts its goroutines, Close ends them.
func NewLink(cfg LinkConfig) (*Link, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Link{
		cfg: cfg, ctx: ctx, cancel: cancel,
		wakeRenewal:  make(chan struct{}, 1),
		wakeDelivery: make(chan struct{}, 1),
		back:         make(chan struct{}, 1),
		wakeChannels: make(chan struct{}, 1),
		channels:     map[string]*partition{},
	}, nil
}

// Membership is a cache's part in a bus.
type Membership struct {
	// Store is the namespace's Redis state. Required to join a Link, unused by Local.
	Store *l2.Store
	// Namespace names the namespace to Local. What follows an '@' is its tenant, which Telemetry is not told. A Link takes both
	// from the Store.
	Namespace string
	// Target is the cache to keep coherent. Required.
	Target Target
	// Log is the authority's change log, polled every Poll as the backstop that does not trust Redis. nil: there is none.
	Log Log
	// Poll is V. 0: 5 s. On Local, where the poll is the serving lease, a quarter of Bound if Poll is 0 or longer than that.
	Poll time.Duration
	// Bound is B on Local with a Log. 0: 10 s. A Link takes it from the Store. On Local processes do not see each other:
	// Bound must be the same in all that use the database, since a waiter sits out its own.
	Bound time.Duration
	// Sole declares on Local that no other process reads the namespace: nothing is waited for.
	Sole bool
}

func (m Membership) validate() error {
	if m.Target == nil {
		return errors.New("invalidation: Membership.Target is required")
	}
	if m.Poll < 0 {
		return fmt.Errorf("invalidation: Membership.Poll must be ≥ 0, got %s", m.Poll)
	}
	if m.Bound < 0 {
		return fmt.Errorf("invalidation: Membership.Bound must be ≥ 0, got %s", m.Bound)
	}
	return nil
}

// Join makes the target a member of its namespace's bus. It does no I/O itself: the subscription and the first lease are
// asked for at once in the background.
func (l *Link) Join(m Membership) (*Redis, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	if m.Store == nil {
		return nil, errors.New("invalidation: Membership.Store is required")
	}
	b := &Redis{link: l, store: m.Store, target: m.Target, process: randomHex(8)}
	b.tokens = NewTokens(m.Store.Scope(), m.Store.Partitions())
	for i := range m.Store.Partitions() {
		b.parts = append(b.parts, newPartition(b, i))
	}
	if m.Log != nil {
		b.poll = newPoller(l.cfg.Telemetry, m, m.Poll, nil)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	for _, p := range b.parts {
		if _, taken := l.channels[p.channel]; taken {
			return nil, fmt.Errorf("invalidation: namespace %q has joined this link already", m.Store.Namespace())
		}
	}
	for _, p := range b.parts {
		l.channels[p.channel] = p
	}
	if !l.started {
		l.started = true
		l.wg.Go(l.receiveLoop)  // ends when Close closes the subscription
		l.wg.Go(l.channelLoop)  // ends with l.ctx
		l.wg.Go(l.renewLoop)    // ends with l.ctx
		l.wg.Go(l.deliveryLoop) // ends with l.ctx
	}
	b.ctx, b.cancel = context.WithCancel(l.ctx)
	var polling context.Context
	polling, b.stopPoll = context.WithCancel(b.ctx)
	b.polled = make(chan struct{})
	if b.poll == nil {
		close(b.polled)
	} else {
		l.wg.Go(func() { // ends with the member or the link
			defer close(b.polled)
			b.poll.run(polling)
		})
	}
	signal(l.wakeChannels)
	l.poke()
	return b, nil
}

// Client is the client of the link's Config.
func (l *Link) Client() redis.UniversalClient { return l.cfg.Client }

// leave removes a member's partitions.
func (l *Link) leave(b *Redis) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range b.parts {
		if l.channels[p.channel] == p {
			delete(l.channels, p.channel)
		}
	}
	signal(l.wakeChannels)
}

// spawn runs f in a goroutine that Close waits for. False: the link is closed, and f does not run.
func (l *Link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}

// Close ends the link's goroutines and waits for them until ctx ends. Members should be closed before. Safe to call twice.
func (l *Link) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	pubsub := l.pubsub
	l.mu.Unlock()
	l.cancel()
	if pubsub != nil {
		_ = pubsub.Close() // ends Receive, which does not look at its context
	}
	done := make(chan struct{})
	go func() { // ends with the goroutines it waits for
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("invalidation: close: %w", ctx.Err())
	}
}

// partition finds the partition of a channel.
func (l *Link) partition(channel string) *partition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.channels[channel]
}

// partitions lists those joined, each namespace's partition 0 before its others.
func (l *Link) partitions() []*partition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Values(l.channels), func(p, q *partition) int { return cmp.Compare(p.index, q.index) })
}

// poke makes the renewal loop look at the partitions again.
func (l *Link) poke() { signal(l.wakeRenewal) }

// randomHex answers n random bytes as hex digits.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// call bounds a background call.
func (l *Link) call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(l.ctx, l.cfg.CallTimeout)
}

// now is the clock of the protocol.
func now() protocol.Instant { return Now() }
