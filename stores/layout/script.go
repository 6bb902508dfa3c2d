package layout

import (
	"context"
	"crypto/sha1" // the name Redis gives a script, not a protection
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/readthrough"
)

// Script is a Lua script.
type Script struct {
	source, sha string
}

// NewScript makes a Script of its text.
func NewScript(source string) *Script {
	sum := sha1.Sum([]byte(source))
	return &Script{source: source, sha: hex.EncodeToString(sum[:])}
}

// Primary begins a script that may answer without having written anything. On a replica it fails with READONLY, as a write does
// there: a replica, such as a primary that was demoted while its clients stayed, may be behind without any limit. A user who
// may not ask for a server's role reads what any server answers.
const Primary = `
local role = redis.pcall('INFO', 'replication')
if type(role) == 'string' and string.find(role, 'role:slave', 1, true) then
  return redis.error_reply('READONLY a replica, which may be behind, is not read')
end
`

// once keeps go-redis from sending a command a second time. Redirections of a Cluster are still followed.
type once struct{ *redis.Cmd }

// NoRetry tells go-redis so.
func (once) NoRetry() bool { return true }

// Run executes the script in one round trip, and in two where the server does not know it yet. A script that answers nil
// answers nil here. A script tells its caller what is wrong by its answer; every error is readthrough.ErrUnavailable, and
// after one it is unknown whether the script ran.
func (s *Script) Run(ctx context.Context, client redis.UniversalClient, keys []string, args ...any) (any, error) {
	answer, err := s.send(ctx, client, "evalsha", s.sha, keys, args)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		answer, err = s.send(ctx, client, "eval", s.source, keys, args)
	}
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, Failed(ctx, err)
	}
	return answer, nil
}

// Queue puts the script into a pipeline, for a server that knows it: else the command it answers fails with NOSCRIPT.
func (s *Script) Queue(ctx context.Context, pipe redis.Pipeliner, keys []string, args ...any) *redis.Cmd {
	cmd := command(ctx, "evalsha", s.sha, keys, args)
	Queue(ctx, pipe, cmd)
	return cmd
}

// Queue puts a command into a pipeline that go-redis must not send a second time.
func Queue(ctx context.Context, pipe redis.Pipeliner, cmd *redis.Cmd) {
	_ = pipe.Process(ctx, once{cmd}) // the command holds the error
}

func (s *Script) send(ctx context.Context, client redis.UniversalClient, verb, body string, keys []string, args []any) (any, error) {
	cmd := command(ctx, verb, body, keys, args)
	_ = client.Process(ctx, once{cmd}) // the command holds the error
	return cmd.Result()
}

func command(ctx context.Context, verb, body string, keys []string, args []any) *redis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, verb, body, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	if len(keys) > 0 {
		cmd.SetFirstKeyPos(3)
	}
	return cmd
}

// Failed is Unavailable of a call that was made with ctx. If its deadline has passed it is context.DeadlineExceeded too, which
// go-redis leaves out where the deadline ended a read or a write.
func Failed(ctx context.Context, err error) error {
	if end, ok := ctx.Deadline(); err != nil && ok && !time.Now().Before(end) && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return Unavailable(err)
}

// Unavailable makes a failure of Redis the caller's: readthrough.ErrUnavailable with the cause, which repeats no argument of a
// command, since it may be a password. nil stays nil.
func Unavailable(err error) error {
	if err == nil || errors.Is(err, readthrough.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", readthrough.ErrUnavailable, l2.WithoutEcho(err))
}
