package runlog

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

var (
	//go:embed entry.lua
	entryLua string
	//go:embed append.lua
	appendLua string
	//go:embed list.lua
	listLua string
	//go:embed tail.lua
	tailLua string
	//go:embed delete.lua
	deleteLua string
	//go:embed restore.lua
	restoreLua string

	appendScript  = layout.NewScript(entryLua + appendLua)
	listScript    = layout.NewScript(layout.Primary + entryLua + listLua)
	tailScript    = layout.NewScript(layout.Primary + entryLua + tailLua)
	deleteScript  = layout.NewScript(deleteLua)
	restoreScript = layout.NewScript(layout.Primary + entryLua + restoreLua)
)

// maxPageBytes is after how many bytes of envelopes a page ends: one that comes within the timeouts of l2.NewClient.
const maxPageBytes = 2 << 20

// RedisConfig says where runs are kept. Zero fields mean their defaults; only Client is required.
type RedisConfig struct {
	// Client reaches Redis 7 or later, standalone, by Sentinel or a Cluster; it must heed deadlines (l2.NewClient). Used and
	// never closed. Required.
	Client redis.UniversalClient
	// Prefix begins every key. "": runs.
	Prefix string
	// Tenant separates one tenant's runs from another's. "": none.
	Tenant string
}

// Redis keeps each run in three keys under one hash tag, so that a Cluster spreads the runs: {runs:<run>}:events, a stream, …:meta
// and …:ids. See the package's documentation. While something is watched it has one connection for messages, whatever
// the number of runs. Safe for concurrent use; there is nothing to close.
type Redis struct {
	client   redis.UniversalClient
	tenant   string
	space    layout.Space
	channels channels
}

var _ Backend = (*Redis)(nil)

// NewRedis makes a Backend on Redis. It does no I/O.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	if cfg.Client == nil {
		return nil, errors.New("runlog: RedisConfig.Client is required")
	}
	if err := l2.CheckClient(cfg.Client); err != nil {
		return nil, fmt.Errorf("runlog: RedisConfig.Client: %w", err)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "runs"
	}
	space, err := layout.New(layout.Config{Prefix: cfg.Prefix, Tenant: cfg.Tenant})
	if err != nil {
		return nil, fmt.Errorf("runlog: RedisConfig.%w", err)
	}
	return &Redis{client: cfg.Client, tenant: cfg.Tenant, space: space, channels: channels{client: cfg.Client}}, nil
}

// runKeys are the names of one run.
type runKeys struct{ events, meta, ids, channel string }

func (r *Redis) keys(run string) (runKeys, error) {
	s, err := r.space.Record(run)
	if err != nil {
		return runKeys{}, err
	}
	return runKeys{events: s.Name("events"), meta: s.Name("meta"), ids: s.Name("ids"), channel: s.Name("ch")}, nil
}

// Append implements Backend.
func (r *Redis) Append(ctx context.Context, run string, drafts []Draft, keep Retention) (Appended, error) {
	k, err := r.keys(run)
	if err != nil {
		return Appended{}, err
	}
	answer, err := texts(appendScript.Run(ctx, r.client, []string{k.events, k.meta, k.ids}, appendArgs(k, run, drafts, keep)...))
	if err != nil {
		return Appended{}, err
	}
	if len(answer) < 4 || len(answer)%2 != 0 {
		return Appended{}, errAnswer
	}
	a := Appended{Life: answer[1], Events: make([]Added, len(drafts))}
	if a.Session, err = unquoted(answer[2]); err != nil {
		return Appended{}, err
	}
	for there := answer[4:]; len(there) > 0; there = there[2:] {
		i, err := strconv.Atoi(there[0])
		if err != nil || i < 1 || i > len(drafts) {
			return Appended{}, errAnswer
		}
		a.Events[i-1].Stored = []byte(there[1])
	}
	next, err := strconv.ParseUint(answer[3], 10, 64)
	if err != nil {
		return Appended{}, errAnswer
	}
	for i := range a.Events {
		if a.Events[i].Stored == nil {
			a.Events[i].Seq = next
			next++
		}
	}
	return a, nil
}

// appendArgs are the arguments of append.lua.
func appendArgs(k runKeys, run string, drafts []Draft, keep Retention) []any {
	const fixed = 9
	blocks := blocksOf(drafts, keep.Slack()) // so that retention can cut between them
	args := make([]any, fixed, fixed+3*len(blocks)+2)
	for _, b := range blocks {
		args = append(args, b.ids, b.lengths, b.events)
	}
	var final []byte
	for i := range drafts {
		if drafts[i].Terminal {
			final = append(strconv.AppendInt(final, int64(i+1), 10), ',')
		}
		if drafts[i].Session != "" {
			args = append(args, i+1, quoted(drafts[i].Session))
		}
	}
	copy(args, []any{
		k.channel, newLife(), keep.MaxEvents, keep.Slack(), keep.MaxAge.Milliseconds(), keep.KeepAfterEnd.Milliseconds(),
		between(nil, run), final, len(blocks),
	})
	return args
}

// List implements Backend.
func (r *Redis) List(ctx context.Context, run string, after uint64, limit int) (Slice, error) {
	if after >= MaxSeq {
		return r.read(ctx, listScript, run, MaxSeq, uint64(MaxSeq), 0, 0)
	}
	s, err := r.read(ctx, listScript, run, after+1, after+1, limit, maxPageBytes)
	s.Records = s.Records[:min(limit, len(s.Records))]
	return s, err
}

// Tail implements Backend.
func (r *Redis) Tail(ctx context.Context, run string) (Slice, error) {
	return r.read(ctx, tailScript, run, MaxSeq)
}

// read answers what a script reads, of a block only the events from a number on or the last one.
func (r *Redis) read(ctx context.Context, script *layout.Script, run string, from uint64, args ...any) (Slice, error) {
	k, err := r.keys(run)
	if err != nil {
		return Slice{}, err
	}
	answer, err := script.Run(ctx, r.client, []string{k.events, k.meta}, args...)
	if err != nil {
		return Slice{}, err
	}
	list, ok := answer.([]any)
	if !ok {
		return Slice{}, errAnswer
	}
	entries := list[min(5, len(list)):]
	head, err := texts(list[:len(list)-len(entries)], nil)
	if err != nil || len(head) == 0 {
		return Slice{}, err
	}
	if len(head) < 5 || len(entries)%2 != 0 {
		return Slice{}, errAnswer
	}
	s, err := facts(head[0], head[1], head[2], head[3])
	if left, lost := strconv.ParseInt(head[4], 10, 64); lost == nil {
		s.Left = time.Duration(left) * time.Millisecond
	}
	for ; len(entries) > 0 && err == nil; entries = entries[2:] {
		id, ok := entries[0].(string)
		if !ok {
			return Slice{}, errAnswer
		}
		s.Records, err = appendEntry(s.Records, from, id, entries[1])
	}
	return s, err
}

// Delete implements Backend.
func (r *Redis) Delete(ctx context.Context, run string) error {
	k, err := r.keys(run)
	if err != nil {
		return err
	}
	_, err = deleteScript.Run(ctx, r.client, []string{k.events, k.meta, k.ids}, k.channel)
	return err
}

// Restore implements Backend.
func (r *Redis) Restore(
	ctx context.Context, run string, after uint64, records []Restored, session string, counter uint64, keep Retention,
) (Slice, error) {
	k, err := r.keys(run)
	if err != nil {
		return Slice{}, err
	}
	if session != "" {
		session = string(quoted(session))
	}
	args := make([]any, 0, 7+4*len(records))
	args = append(args, k.channel, newLife(), keep.MaxAge.Milliseconds(), keep.KeepAfterEnd.Milliseconds(), session, counter, after)
	for _, rec := range records {
		args = append(args, rec.Seq, rec.ID.String(), flag(rec.Terminal), rec.Data)
	}
	answer, err := texts(restoreScript.Run(ctx, r.client, []string{k.events, k.meta, k.ids}, args...))
	if err != nil {
		return Slice{}, err
	}
	if len(answer) < 5 {
		return Slice{}, errAnswer
	}
	s, err := facts(answer[1], answer[2], answer[3], answer[4])
	if err != nil {
		return Slice{}, err
	}
	for _, digits := range answer[5:] {
		seq, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return Slice{}, errAnswer
		}
		s.Records = append(s.Records, Record{Seq: seq})
	}
	return s, nil
}

// Watch implements Backend.
func (r *Redis) Watch(run string, wake func()) (stop func(), err error) {
	k, err := r.keys(run)
	if err != nil {
		return nil, err
	}
	return r.channels.watch(k.channel, wake), nil
}

var errAnswer = fmt.Errorf("%w: runlog: a script answered something else", readthrough.ErrUnavailable)

// texts is a script's answer as strings, or the error that its first one names.
func texts(answer any, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	list, ok := answer.([]any)
	if !ok {
		return nil, errAnswer
	}
	all := make([]string, len(list))
	for i, v := range list {
		if all[i], ok = v.(string); !ok {
			return nil, errAnswer
		}
	}
	if len(all) == 1 {
		switch all[0] {
		case "ended":
			return nil, ErrEnded
		case "full":
			return nil, ErrFull
		case "damaged":
			return nil, ErrDamaged
		case "conflict":
			return nil, ErrConflict
		case "restarted":
			return nil, ErrRestarted
		}
	}
	return all, nil
}

// facts reads what scripts tell of a run.
func facts(life, seq, session, end string) (s Slice, err error) {
	s.Life, s.Ended = life, end != ""
	if s.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil || life == "" {
		return Slice{}, ErrDamaged
	}
	s.Session, err = unquoted(session)
	return s, err
}

func unquoted(text string) (id string, err error) {
	if text == "" {
		return "", nil
	}
	if json.Unmarshal([]byte(text), &id) != nil {
		return "", ErrDamaged
	}
	return id, nil
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// newLife draws the name of a run's life.
func newLife() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
