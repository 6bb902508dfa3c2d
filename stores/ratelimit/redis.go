package ratelimit

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/layout"
)

// RedisConfig says where the counters are. Zero fields mean their defaults.
type RedisConfig struct {
	// Client reaches Redis 7 or later. Required; it is used and never closed. It must heed deadlines and not read from
	// replicas (l2.CheckClient).
	Client redis.UniversalClient
	// Prefix begins every key: 1 to 128 letters, digits, '.', '_' and '-'. "": aa, the original system's.
	Prefix string
	// Tenant separates one tenant's keys from another's. Same letters; "": none, and the keys are the original system's.
	Tenant string
	// Tagged keeps all keys in one slot of a Redis Cluster, which several keys in one call need. The original system does not
	// find them then.
	Tagged bool
}

// Redis is the Backend in Redis: aa:ratelimit:<key> is the integer of a fixed window and expires with it,
// aa:ratelimit-gcra:<key> what GCRA keeps, which no key can make the former. Safe for concurrent use.
type Redis struct {
	client redis.UniversalClient
	space  layout.Space
	spread bool // the keys are in slots of a Cluster
}

var _ Backend = (*Redis)(nil)

// NewRedis makes a Redis without any I/O.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	if err := l2.CheckClient(cfg.Client); err != nil {
		return nil, fmt.Errorf("ratelimit: RedisConfig.Client: %w", err)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "aa"
	}
	space, err := layout.New(layout.Config{Prefix: cfg.Prefix, Tenant: cfg.Tenant, Tagged: cfg.Tagged})
	if err != nil {
		return nil, fmt.Errorf("ratelimit: RedisConfig.%w", err)
	}
	_, cluster := cfg.Client.(interface{ Options() *redis.ClusterOptions })
	return &Redis{client: cfg.Client, space: space, spread: cluster && !cfg.Tagged}, nil
}

var (
	//go:embed number.lua
	numberLua string
	//go:embed increment.lua
	incrementLua string
	//go:embed take.lua
	takeLua string
	//go:embed lease.lua
	leaseLua string
	//go:embed giveback.lua
	givebackLua string

	// replica is an error where the server is one. Scripts ask before an answer for which they have written nothing.
	replica   = "local function replica()" + layout.Primary + "end\n"
	increment = layout.NewScript(replica + numberLua + incrementLua)
	take      = layout.NewScript(replica + numberLua + takeLua)
	lease     = layout.NewScript(replica + numberLua + leaseLua)
	giveback  = layout.NewScript(numberLua + givebackLua)
)

// key is where an algorithm keeps what it knows of a key.
func (r *Redis) key(a Algorithm, key string) (string, error) {
	kind := "ratelimit"
	if a == GCRA {
		kind = "ratelimit-gcra"
	}
	full, err := r.space.Key(kind, key)
	if err != nil {
		return "", fmt.Errorf("ratelimit: %w", err)
	}
	return full, nil
}

// Increment adds to the counter of a window.
func (r *Redis) Increment(ctx context.Context, key string, amount int64, window time.Duration) (int64, error) {
	full, err := r.key(Fixed, key)
	if err != nil {
		return 0, err
	}
	a, err := run(ctx, increment, r.client, []string{full}, amount, wholeMS(window).Milliseconds(), math.MaxInt64-amount)
	if err != nil {
		return 0, err
	}
	if err := a.refusal(); err != nil {
		return 0, err
	}
	return a.number(1), a.err
}

// Current answers the total of the window.
func (r *Redis) Current(ctx context.Context, key string) (int64, error) {
	return r.Increment(ctx, key, 0, time.Second) // of which nothing is written
}

// Reset forgets a key: in one step, and in two where a Cluster keeps its counters in two slots.
func (r *Redis) Reset(ctx context.Context, key string) error {
	fixed, err := r.key(Fixed, key)
	if err != nil {
		return err
	}
	gcra, err := r.key(GCRA, key)
	if err != nil {
		return err
	}
	pipe := r.client.Pipeline()
	if r.spread {
		layout.Queue(ctx, pipe, redis.NewCmd(ctx, "del", fixed))
		layout.Queue(ctx, pipe, redis.NewCmd(ctx, "del", gcra))
	} else {
		layout.Queue(ctx, pipe, redis.NewCmd(ctx, "del", fixed, gcra))
	}
	_, err = pipe.Exec(ctx)
	return layout.Failed(ctx, err)
}

// Take spends every demand or none.
func (r *Redis) Take(ctx context.Context, demands []Demand) ([]Answer, error) {
	if len(demands) > 1 && r.spread {
		return nil, ErrSlots
	}
	keys, args := make([]string, len(demands)), make([]any, 0, 6*len(demands))
	for i, d := range demands {
		var err error
		if keys[i], err = r.key(d.Limit.Algorithm, d.Key); err != nil {
			return nil, err
		}
		if d.Limit.Algorithm == Fixed {
			args = append(args, "f", d.N, d.Limit.Max-d.N, d.Limit.window().Milliseconds(), "", "")
			continue
		}
		worth, burst := d.Limit.worth(d.N), d.Limit.worth(d.Limit.capacity())
		args = append(args, "g", worth.us, worth.part, burst.us, burst.part, d.Limit.Max)
	}
	a, err := run(ctx, take, r.client, keys, args...)
	if err != nil {
		return nil, err
	}
	if a.text(0) == "foreign" {
		return nil, fmt.Errorf("%w, of demand %d", notCounter(a.text(2)), a.number(1)-1)
	}
	answers := make([]Answer, len(demands))
	for i, d := range demands {
		fits, x, y := a.number(1+3*i) == 1, a.number(2+3*i), a.number(3+3*i)
		if d.Limit.Algorithm == GCRA {
			answers[i] = d.answer(fits, span{max(0, x), max(0, y)})
			continue
		}
		answers[i] = window{total: x, left: remaining(y)}.answer(d, fits)
	}
	if a.err != nil {
		return nil, a.err
	}
	return answers, nil
}

// Lease takes a block of permits.
func (r *Redis) Lease(ctx context.Context, key string, q Request) (Grant, error) {
	full, err := r.key(Fixed, key)
	if err != nil {
		return Grant{}, err
	}
	a, err := run(ctx, lease, r.client, []string{full}, q.Need, q.Want, q.Limit.Max, q.Limit.window().Milliseconds(), q.Parts)
	if err != nil {
		return Grant{}, err
	}
	if err := a.refusal(); err != nil {
		return Grant{}, err
	}
	g := Grant{N: a.number(1), Remaining: a.number(2), Reset: remaining(a.number(3)), Window: a.number(4)}
	return g, a.err
}

// Return gives permits back.
func (r *Redis) Return(ctx context.Context, key string, window, n int64) error {
	full, err := r.key(Fixed, key)
	if err != nil {
		return err
	}
	a, err := run(ctx, giveback, r.client, []string{full}, n, window)
	if err != nil {
		return err
	}
	return a.refusal()
}

// answer is what a script answered. err is set when something asked of it was not there.
type answer struct {
	items []any
	err   error
}

func run(ctx context.Context, s *layout.Script, client redis.UniversalClient, keys []string, args ...any) (*answer, error) {
	reply, err := s.Run(ctx, client, keys, args...)
	if err != nil {
		return nil, err
	}
	items, _ := reply.([]any)
	return &answer{items: items}, nil
}

var errReply = layout.Unavailable(errors.New("ratelimit: a script answered what it never answers"))

func (a *answer) text(i int) string {
	if i < len(a.items) {
		if s, ok := a.items[i].(string); ok {
			return s
		}
	}
	a.err = errReply
	return ""
}

// number reads an integer, or digits, which are exact to 2^63-1.
func (a *answer) number(i int) int64 {
	if i < len(a.items) {
		switch v := a.items[i].(type) {
		case int64:
			return v
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n
			}
		}
	}
	a.err = errReply
	return 0
}

// remaining is a time to live in milliseconds. None of ours is longer than maxSpan; another program's may be.
func remaining(ms int64) time.Duration {
	return time.Duration(min(max(0, ms), maxSpan.Milliseconds())) * time.Millisecond
}

// refusal is the error that a script of one key has answered, if any.
func (a *answer) refusal() error {
	switch a.text(0) {
	case "ok":
		return nil
	case "foreign":
		return notCounter(a.text(1))
	case "overflow":
		return ErrOverflow
	}
	return errReply
}
