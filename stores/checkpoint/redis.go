package checkpoint

import (
	"context"
	"crypto/rand"
	"crypto/sha1" // what Redis has; it names scripts and states and protects nothing
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

// RedisConfig says where in Redis the threads are. Zero fields mean their defaults.
type RedisConfig struct {
	// Client reaches Redis. Required; used and never closed. It must not read from replicas (l2.CheckClient).
	Client redis.UniversalClient
	// Prefix is the namespace that the keys begin with: letters, digits, '.', '_' and '-', at most 128. "": agents.
	Prefix string
	// Tenant separates one tenant's threads from another's; same letters. "": none, and the keys are the original system's.
	Tenant string
	// Tagged puts Prefix and Tenant into a hash tag, as a Redis Cluster needs it. Programs of the original system do not find
	// the keys then.
	Tagged bool
}

// Redis keeps threads in Redis, in the original system's layout with an index and marks beside it. Safe for concurrent use.
type Redis struct {
	client               redis.UniversalClient
	tenant               string
	set, index           string
	states, marks, fresh string // heads of the keys of states, marks and new states
}

var _ Backend = (*Redis)(nil)

// NewRedis makes a Redis backend. It does no I/O.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	if cfg.Client == nil {
		return nil, errors.New("checkpoint: RedisConfig.Client is required")
	}
	if err := l2.CheckClient(cfg.Client); err != nil {
		return nil, fmt.Errorf("checkpoint: RedisConfig.Client: %w", err)
	}
	if _, cluster := cfg.Client.(interface{ Options() *redis.ClusterOptions }); cluster && !cfg.Tagged {
		return nil, errors.New("checkpoint: RedisConfig.Tagged must be set on a Redis Cluster: a thread and its index change in one " +
			"step, so their keys need one hash tag")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "agents"
	}
	space, err := layout.New(layout.Config{Prefix: cfg.Prefix, Tenant: cfg.Tenant, Tagged: cfg.Tagged})
	if err != nil {
		return nil, fmt.Errorf("checkpoint: RedisConfig.%w", err)
	}
	return &Redis{
		client: cfg.Client, tenant: cfg.Tenant, set: space.Name("threads"), index: space.Name("threads.index"),
		states: space.Name("thread:"), marks: space.Name("thread.mark:"), fresh: space.Name("thread.new:"),
	}, nil
}

var (
	//go:embed thread.lua
	threadSource string
	//go:embed save.lua
	saveSource string
	//go:embed keep.lua
	keepSource string
	//go:embed delete.lua
	deleteSource string

	saveScript   = layout.NewScript(threadSource + saveSource)
	keepScript   = layout.NewScript(layout.Primary + threadSource + keepSource)
	pingScript   = layout.NewScript(layout.Primary + "return redis.call('EXISTS', KEYS[1])")
	deleteScript = layout.NewScript(threadSource + deleteSource)
)

// keys are a thread's own and the two of all threads.
func (r *Redis) keys(id string) ([]string, error) {
	name, err := l2.NewID(id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", readthrough.ErrInvalidKey, err)
	}
	return []string{r.states + name.String(), r.marks + name.String(), r.set, r.index}, nil
}

// Save implements Backend.
func (r *Redis) Save(ctx context.Context, id string, w Write) (Version, error) {
	keys, err := r.keys(id)
	if err != nil {
		return 0, err
	}
	value := w.Value
	if value == nil {
		value = []byte{} // go-redis would refuse nil
	}
	args := []any{len(value), id, millis(w.TTL)}
	if w.Conditional {
		args = append(args, formatVersion(w.Expect), flag(w.Foreign))
	}
	answer, err := r.commit(ctx, keys, value, args)
	switch {
	case err != nil && strings.Contains(err.Error(), "no such key"): // of RENAME
		return 0, fmt.Errorf("checkpoint: Redis has dropped the new state, nothing is saved: %w", err)
	case err != nil:
		return 0, err
	}
	text, ok := answer.(string)
	if !ok {
		return 0, unexpected(answer)
	}
	name, conflict := strings.CutPrefix(text, "is ")
	version, err := parseVersion(name)
	switch {
	case err != nil:
		return 0, err
	case conflict:
		return 0, &ConflictError{Current: version}
	case w.Foreign:
		return parseVersion(digest(value))
	}
	return version, nil
}

// staged is how long a new state is kept that no script came for.
const staged = time.Minute

// commit writes a new state and runs save.lua behind it, in one round trip.
func (r *Redis) commit(ctx context.Context, keys []string, value []byte, args []any) (any, error) {
	fresh := r.fresh + rand.Text()
	keys = append(keys, fresh)
	set := redis.NewCmd(ctx, "set", fresh, value, "px", staged.Milliseconds())
	pipe := r.client.Pipeline()
	layout.Queue(ctx, pipe, set)
	run := saveScript.Queue(ctx, pipe, keys, args...)
	_, refused := pipe.Exec(ctx)
	if err := set.Err(); err != nil {
		return nil, layout.Failed(ctx, err)
	}
	answer, err := run.Result()
	if answer == nil && err == nil {
		err = refused // the greeting of a new connection: the commands hold every other error
	}
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		return saveScript.Run(ctx, r.client, keys, args...)
	}
	return answer, layout.Failed(ctx, err)
}

// Keep implements Backend.
func (r *Redis) Keep(ctx context.Context, id string, k Keep) error {
	keys, err := r.keys(id)
	if err != nil {
		return err
	}
	verb := "touch"
	switch {
	case k.Pin:
		verb = "pin"
	case k.Unpin:
		verb = "unpin"
	}
	answer, err := keepScript.Run(ctx, r.client, keys, verb, millis(k.TTL), id)
	switch {
	case err != nil:
		return err
	case answer == int64(0):
		return readthrough.ErrNotFound
	case answer == int64(1):
		return nil
	}
	return unexpected(answer)
}

// Delete implements Backend.
func (r *Redis) Delete(ctx context.Context, id string) error {
	keys, err := r.keys(id)
	if err != nil {
		return err
	}
	_, err = deleteScript.Run(ctx, r.client, keys, id)
	return err
}

// Ping implements Backend. It asks the server that keeps the threads.
func (r *Redis) Ping(ctx context.Context) error {
	_, err := pingScript.Run(ctx, r.client, []string{r.set})
	return err
}

// digest names a state by its bytes, as save.lua does.
func digest(value []byte) string {
	return "d" + sha1Hex(value)[:15]
}

func sha1Hex(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}

// formatVersion is a version as the scripts name it.
func formatVersion(v Version) string {
	if v&foreign != 0 {
		return fmt.Sprintf("d%015x", uint64(v&^foreign))
	}
	return v.String()
}

// parseVersion is the inverse of formatVersion.
func parseVersion(name string) (Version, error) {
	if len(name) == 16 && name[0] == 'd' {
		if bits, err := strconv.ParseUint(name[1:], 16, 60); err == nil {
			return foreign | Version(bits), nil
		}
	}
	n, err := strconv.ParseUint(name, 10, 64)
	if err != nil || n > math.MaxInt64 {
		return 0, unexpected(name)
	}
	return Version(n), nil
}

// millis is a TTL as the scripts take it: 0 is none, and nothing else becomes that.
func millis(ttl time.Duration) int64 {
	if 0 < ttl && ttl < time.Millisecond {
		return 1
	}
	return ttl.Milliseconds()
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// unexpected is the failure of a server that answers as no script of ours does. It does not show the answer.
func unexpected(answer any) error {
	return fmt.Errorf("%w: checkpoint: an answer of type %T that no script gives", readthrough.ErrUnavailable, answer)
}
