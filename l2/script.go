package l2

import (
	"context"
	"crypto/sha1" // the name Redis gives a script, not a protection
	"embed"
	"encoding/hex"
	"strconv"

	"github.com/redis/go-redis/v9"
)

//go:embed *.lua
var sources embed.FS

// The versions that every process of a namespace must share.
const (
	protocolVersion = "1"
	idEncoding      = "1" // of ids, their hash and their partition
)

var (
	getScript        = load("get")
	fillScript       = load("fill")
	invalidateScript = load("invalidate")
	renewScript      = load("renew")
	acksScript       = load("acks")
	resetScript      = load("reset")
	leaveScript      = load("leave")
	discardScript    = load("discard")
)

// script is one .lua file with ensure.lua in front.
type script struct {
	source string
	sha    string
}

func load(name string) *script {
	prelude, err := sources.ReadFile("ensure.lua")
	if err != nil {
		panic(err)
	}
	body, err := sources.ReadFile(name + ".lua")
	if err != nil {
		panic(err)
	}
	source := string(prelude) + string(body)
	sum := sha1.Sum([]byte(source))
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

// call is one run of a script on one partition.
type call struct {
	script *script
	store  *Store
	part   int
	keys   []string // after the four of the state
	args   []any    // after the seven of ensure
}

// command keeps go-redis from sending a script a second time: not all of them may run twice, and a retry would outlive
// the time its caller has. Redirections of a Cluster, which were not executed, are still followed.
type command struct{ *redis.Cmd }

// NoRetry tells go-redis so.
func (command) NoRetry() bool { return true }

func (c call) command(ctx context.Context, name, body string) command {
	p := &c.store.parts[c.part]
	args := make([]any, 0, 3+4+len(c.keys)+7+len(c.args))
	args = append(args, name, body, 4+len(c.keys))
	for _, key := range p.state {
		args = append(args, key)
	}
	for _, key := range c.keys {
		args = append(args, key)
	}
	args = append(args, random(), protocolVersion, strconv.Itoa(len(c.store.parts)), idEncoding,
		millis(c.store.lease), c.store.longest.Load(), p.channel)
	args = append(args, c.args...)
	cmd := redis.NewCmd(ctx, args...)
	cmd.SetFirstKeyPos(3)
	return command{cmd}
}

// answer is what a script returned.
type answer struct {
	values []any
	err    error
}

// do runs the calls in one pipeline: one round trip, and a second one for those the server does not know by their hash.
func do(ctx context.Context, client redis.UniversalClient, calls []call) []answer {
	answers := make([]answer, len(calls))
	unknown := make([]int, 0)
	send(ctx, client, calls, nil, func(c call) (string, string) { return "evalsha", c.script.sha }, func(i int, cmd command) {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			unknown = append(unknown, i)
			return
		}
		answers[i] = c2a(calls[i], cmd)
	})
	if len(unknown) > 0 {
		send(ctx, client, calls, unknown, func(c call) (string, string) { return "eval", c.script.source }, func(i int, cmd command) {
			answers[i] = c2a(calls[i], cmd)
		})
	}
	return answers
}

// send runs the calls at the given indices (nil: all) and shows each one's finished command.
func send(ctx context.Context, client redis.UniversalClient, calls []call, only []int,
	name func(call) (string, string), done func(int, command),
) {
	if only == nil {
		only = make([]int, len(calls))
		for i := range only {
			only[i] = i
		}
	}
	commands := make([]command, len(only))
	for n, i := range only {
		verb, body := name(calls[i])
		commands[n] = calls[i].command(ctx, verb, body)
	}
	if len(commands) == 1 {
		_ = client.Process(ctx, commands[0]) // the command holds the error
	} else {
		pipe := client.Pipeline()
		for _, cmd := range commands {
			_ = pipe.Process(ctx, cmd) // queues it
		}
		_, _ = pipe.Exec(ctx) // each command holds its own error
	}
	for n, i := range only {
		done(i, commands[n])
	}
}

func c2a(c call, cmd command) answer {
	if err := cmd.Err(); err != nil {
		return answer{err: WithoutEcho(err)}
	}
	values, ok := cmd.Val().([]any)
	if !ok || len(values) == 0 {
		return answer{err: errReply}
	}
	if err := c.refusal(values); err != nil {
		return answer{err: err}
	}
	return answer{values: values}
}
