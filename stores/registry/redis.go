package registry

import (
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

// RedisConfig describes a Redis backend. Zero fields mean their defaults; only Client is required.
type RedisConfig struct {
	// Client reaches Redis. Used and never closed. It must not read from replicas (l2.CheckClient). Required.
	Client redis.UniversalClient
	// Prefix begins every key: letters, digits, '.', '_' and '-', at most 128. "": agentic, the original system's.
	Prefix string
	// Tenant separates one tenant's agents from another's; same letters. "": none, and the keys are the original system's.
	Tenant string
	// Tagged puts prefix and tenant into a hash tag. A Redis Cluster needs it, since one script reads all agents; a process of
	// the original system does not find its keys then.
	Tagged bool
}

// Redis is a Backend in the original system's layout: {prefix}:agent:<id> is the document, with a TTL. Beside it are an index
// of the agents, {prefix}:lc-index, and when contact with them began, {prefix}:lc-life. Redis is the authority: what it loses is
// lost until the agents register anew. Safe for concurrent use.
//
// The index is made whole by a scan of the keyspace when it is missing, once for all processes: at the first contact, after
// FLUSHALL, or when Redis evicted it. Until then lists wait, or fail by their deadline; the scan goes on, for a minute at most.
type Redis struct {
	client  redis.UniversalClient
	space   layout.Space
	tenant  string
	index   string
	life    string
	records string // what the keys of records begin with

	unsorted atomic.Bool // the server does not SORT for us

	mu      sync.Mutex // guards mending
	mending *mending   // nil: nobody makes the index whole
}

var _ Backend = (*Redis)(nil)

// NewRedis makes a Redis backend. It does no I/O.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "agentic"
	}
	if err := l2.CheckClient(cfg.Client); err != nil {
		return nil, fmt.Errorf("registry: RedisConfig.Client: %w", err)
	}
	_, cluster := cfg.Client.(interface{ Options() *redis.ClusterOptions })
	if cluster && !cfg.Tagged {
		return nil, errors.New("registry: RedisConfig.Tagged must be true on a Redis Cluster: its index and its agents must share a slot")
	}
	space, err := layout.New(layout.Config{Prefix: cfg.Prefix, Tenant: cfg.Tenant, Tagged: cfg.Tagged})
	if err != nil {
		return nil, fmt.Errorf("registry: RedisConfig.%w", err)
	}
	r := &Redis{
		client: cfg.Client, space: space, tenant: cfg.Tenant,
		index: space.Name("lc-index"), life: space.Name("lc-life"), records: space.Name("agent") + ":",
	}
	r.unsorted.Store(cluster)
	return r, nil
}

// Tenant is the tenant whose agents it keeps.
func (r *Redis) Tenant() string { return r.tenant }

var (
	//go:embed document.lua
	documentLua string
	//go:embed clock.lua
	clockLua string
	//go:embed life.lua
	lifeLua string
	//go:embed put.lua
	putLua string
	//go:embed beat.lua
	beatLua string
	//go:embed update.lua
	updateLua string
	//go:embed delete.lua
	deleteLua string
	//go:embed list.lua
	listLua string
	//go:embed reap.lua
	reapLua string
	//go:embed flush.lua
	flushLua string

	putScript    = layout.NewScript(clockLua + lifeLua + documentLua + putLua)
	beatScript   = layout.NewScript(layout.Primary + clockLua + lifeLua + documentLua + beatLua)
	getScript    = layout.NewScript(layout.Primary + "return redis.pcall('GET', KEYS[1])")
	updateScript = layout.NewScript(layout.Primary + documentLua + updateLua)
	deleteScript = layout.NewScript(documentLua + deleteLua)
	listScript   = layout.NewScript(layout.Primary + clockLua + listLua)
	reapScript   = layout.NewScript(clockLua + lifeLua + documentLua + reapLua)
	flushScript  = layout.NewScript(flushLua)
)

// errAnswer is a script's answer of another form than its own.
var errAnswer = layout.Unavailable(errors.New("a script answered something else than it should"))

func (r *Redis) key(id string) (key, encoded string, err error) {
	key, err = r.space.Key("agent", id)
	if err != nil {
		return "", "", refused("agent ID: %v", err)
	}
	return key, strings.TrimPrefix(key, r.records), nil
}

// Put implements Backend.
func (r *Redis) Put(ctx context.Context, a Agent, terms Terms) (Agent, uint64, error) {
	key, encoded, err := r.key(a.ID)
	if err != nil {
		return Agent{}, 0, err
	}
	beat := ""
	if !a.LastHeartbeat.IsZero() {
		beat = strconv.FormatInt(a.LastHeartbeat.UnixMilli(), 10)
	}
	out, err := putScript.Run(ctx, r.client, []string{r.index, r.life, key},
		a.encode(), beat, millis(terms.TTL), terms.Grace.Milliseconds(), encoded, r.records)
	if err != nil {
		return Agent{}, 0, err
	}
	answer, ok := out.([]any)
	if !ok || len(answer) != 2 {
		return Agent{}, 0, errAnswer
	}
	if text, _ := answer[0].(string); text != "" {
		if a.LastHeartbeat, err = time.Parse(time.RFC3339, text); err != nil {
			return Agent{}, 0, errAnswer
		}
	}
	if first, _ := answer[1].(int64); first == 1 {
		// The first to write after the index was lost makes it whole, so that no List has to. One that fails leaves it to them.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = r.list(ctx, false)
	}
	return a, 0, nil
}

// Delete implements Backend.
func (r *Redis) Delete(ctx context.Context, id string) (uint64, error) {
	key, encoded, err := r.key(id)
	if err != nil {
		return 0, err
	}
	out, err := deleteScript.Run(ctx, r.client, []string{r.index, key}, encoded)
	if err != nil {
		return 0, err
	}
	if n, _ := out.(int64); n == 0 {
		return 0, readthrough.ErrNotFound
	}
	return 0, nil
}

// Get implements Backend.
func (r *Redis) Get(ctx context.Context, id string) (Agent, error) {
	key, _, err := r.key(id)
	if err != nil {
		return Agent{}, err
	}
	out, err := getScript.Run(ctx, r.client, []string{key})
	doc, text := out.(string)
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"), err == nil && doc == "":
		return Agent{}, readthrough.ErrNotFound // a list does not have what is no text, either
	case err != nil:
		return Agent{}, err
	case !text:
		return Agent{}, errAnswer
	}
	a, err := decode(doc)
	if err != nil || a.ID != id {
		return Agent{}, errFaulty
	}
	return a, nil
}

// List implements Backend. It is one round trip unless the index must be made whole or terms.Foreign asks for a scan.
func (r *Redis) List(ctx context.Context, terms Terms) (Listing, error) {
	reply, err := r.list(ctx, terms.Foreign)
	if err != nil {
		return Listing{}, err
	}
	l := Listing{Agents: make([]Agent, 0, len(reply.docs)), Lasts: reply.lasts}
	for _, rec := range reply.docs {
		l.Agents = append(l.Agents, Agent{})
		if rec.read(&l.Agents[len(l.Agents)-1]) != nil {
			l.Agents = l.Agents[:len(l.Agents)-1]
			l.Faulty = append(l.Faulty, rec.id())
		}
	}
	return l, nil
}

// Beat implements Backend.
func (r *Redis) Beat(ctx context.Context, id string, terms Terms) (bool, uint64, error) {
	key, encoded, err := r.key(id)
	if err != nil {
		return false, 0, err
	}
	out, err := beatScript.Run(ctx, r.client, []string{r.index, r.life, key}, millis(terms.TTL), terms.Grace.Milliseconds(), encoded, id)
	code, err := verdict(out, err)
	return code == 2, 0, err
}

// Update implements Backend.
func (r *Redis) Update(ctx context.Context, id string, u Update) (bool, uint64, error) {
	key, _, err := r.key(id)
	if err != nil {
		return false, 0, err
	}
	var args []any
	switch u.Kind {
	case SetStatus:
		args = []any{id, "status", string(u.Status)}
	case SetLoad:
		args = []any{id, "load", u.Load}
	case Take:
		args = []any{id, "take"}
	case Give:
		args = []any{id, "give"}
	default:
		return false, 0, refused("agent update of an unknown kind")
	}
	out, err := updateScript.Run(ctx, r.client, []string{key}, args...)
	code, err := verdict(out, err)
	return code == 1, 0, err
}

// verdict reads the answer of a script that edits one record.
func verdict(out any, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	switch code, ok := out.(int64); {
	case !ok:
		return 0, errAnswer
	case code == 0:
		return 0, readthrough.ErrNotFound
	case code < 0:
		return 0, errFaulty
	default:
		return code, nil
	}
}

// Reap implements Backend. It reads the agents, judges here, and marks in a second step who is still as silent.
func (r *Redis) Reap(ctx context.Context, silence time.Duration, terms Terms) ([]string, uint64, error) {
	reply, err := r.list(ctx, terms.Foreign)
	if err != nil {
		return nil, 0, err
	}
	args := []any{r.records, millis(silence), terms.Grace.Milliseconds()}
	for _, rec := range reply.docs {
		var a Agent
		if rec.read(&a) != nil || a.Status == Offline || reply.now.Sub(a.LastHeartbeat) <= silence {
			continue
		}
		args = append(args, rec.encoded, rec.heartbeat(a))
	}
	out, err := reapScript.Run(ctx, r.client, []string{r.index, r.life}, args...)
	if err != nil {
		return nil, 0, err
	}
	marked, ok := out.([]any)
	if !ok {
		return nil, 0, errAnswer
	}
	ids := make([]string, 0, len(marked))
	for _, m := range marked {
		encoded, _ := m.(string)
		ids = append(ids, record{encoded: encoded}.id())
	}
	slices.Sort(ids)
	return ids, 0, nil
}

// Flush implements Backend.
func (r *Redis) Flush(ctx context.Context, terms Terms) (uint64, error) {
	for range wholeTries {
		if _, err := r.list(ctx, terms.Foreign); err != nil {
			return 0, err
		}
		out, err := flushScript.Run(ctx, r.client, []string{r.index}, r.records)
		if err != nil {
			return 0, err
		}
		if done, _ := out.(int64); done == 1 {
			return 0, nil
		}
	}
	return 0, errNotWhole
}

// millis is a duration in whole milliseconds, at least one.
func millis(d time.Duration) int64 { return max(1, d.Milliseconds()) }

// word is a random one.
func word() string { return rand.Text() }
