package session

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/layout"
)

// RedisConfig configures a Redis backend.
type RedisConfig struct {
	// Client reaches the server. Required, checked by l2.CheckClient, used and never closed.
	Client redis.UniversalClient
	// Prefix begins every key: 1 to 128 letters, digits, '.', '_' and '-'. "": aa, the original system's.
	Prefix string
	// Tenant separates the keys of one tenant from another's; same letters. "": none, as in the original system.
	Tenant string
	// Tagged puts all keys into one slot of a Redis Cluster. It is not needed: a session is one key.
	Tagged bool
}

// Redis is a Backend in the original system's layout: <prefix>:session:<hex32> is a hash of agent_id, 16 raw bytes, and
// started_at_ns, decimal, with a time to live. Every call is one round trip. Safe for concurrent use.
type Redis struct {
	client redis.UniversalClient
	space  layout.Space
	tenant string
}

// NewRedis makes a Redis. It does no I/O.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	if err := l2.CheckClient(cfg.Client); err != nil {
		return nil, fmt.Errorf("session: RedisConfig.Client: %w", err)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "aa"
	}
	space, err := layout.New(layout.Config{Prefix: cfg.Prefix, Tenant: cfg.Tenant, Tagged: cfg.Tagged})
	if err != nil {
		return nil, fmt.Errorf("session: RedisConfig.%w", err)
	}
	return &Redis{client: cfg.Client, space: space, tenant: cfg.Tenant}, nil
}

var (
	//go:embed save.lua
	saveSource string
	//go:embed load.lua
	loadSource string

	saveScript = layout.NewScript(saveSource)
	loadScript = layout.NewScript(layout.Primary + loadSource)
)

// key is the session's.
func (r *Redis) key(id ID) []string {
	key, _ := r.space.Key("session", id.String()) // 32 digits are an id
	return []string{key}
}

// Save implements Backend. A time to live is in whole milliseconds.
func (r *Redis) Save(ctx context.Context, id ID, rec Record, ttl time.Duration) error {
	_, err := saveScript.Run(ctx, r.client, r.key(id), rec.AgentID, rec.StartedAtNS, ttl.Milliseconds())
	return err
}

// Load implements Backend.
func (r *Redis) Load(ctx context.Context, id ID, rearm time.Duration) (Record, time.Duration, bool, error) {
	answer, err := loadScript.Run(ctx, r.client, r.key(id), rearm.Milliseconds())
	if err != nil || answer == nil {
		return Record{}, 0, false, err
	}
	if answer == int64(0) {
		return Record{}, 0, false, errNoHash
	}
	if f, ok := answer.([]any); ok && len(f) == 3 {
		agent, ok1 := f[0].(string)
		started, ok2 := f[1].(string)
		left, ok3 := f[2].(int64)
		if ok1 && ok2 && ok3 {
			return Record{AgentID: agent, StartedAtNS: started}, time.Duration(left) * time.Millisecond, true, nil
		}
	}
	return Record{}, 0, false, layout.Unavailable(errors.New("session: load: Redis answered in another form"))
}

// Touch implements Backend.
func (r *Redis) Touch(ctx context.Context, id ID, ttl time.Duration) (bool, error) {
	_, _, found, err := r.Load(ctx, id, ttl)
	return found, err
}

// Delete implements Backend.
func (r *Redis) Delete(ctx context.Context, id ID) error {
	return layout.Failed(ctx, r.client.Unlink(ctx, r.key(id)...).Err())
}
