package l2

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// echo stands in a server's refusal of a command that it does not know, before what it repeats of the arguments.
const echo = ", with args beginning with:"

// WithoutEcho is err without the arguments that a server repeats when it does not know a command, as one does where AUTH was
// renamed: those of AUTH are a password. Every other error is returned as it is, and this one is still a redis.Error, with
// the same prefix, and Is what it was; what was in it is not to be had any more.
func WithoutEcho(err error) error { return withoutSecrets(err, nil) }

// withoutSecrets also takes the secrets out, in whatever words the server repeats them. The first word stays: it is the code
// by which refusals are told apart.
func withoutSecrets(err error, secrets []string) error {
	var refused redis.Error
	if err == nil || errors.Is(err, redis.Nil) || !errors.As(err, &refused) {
		return err
	}
	code, words, _ := strings.Cut(err.Error(), " ")
	discreet, _, repeats := strings.Cut(words, echo)
	for _, secret := range secrets {
		repeats = repeats || strings.Contains(discreet, secret)
		discreet = strings.ReplaceAll(discreet, secret, "[secret]")
	}
	if !repeats {
		return err
	}
	return &echoless{text: code + " " + discreet, is: func(target error) bool { return errors.Is(err, target) }}
}

// echoless is a redis.Error that does not unwrap to the one it stands for. A closure is not printed by any verb of package fmt.
type echoless struct {
	text string
	is   func(target error) bool
}

func (e *echoless) Error() string        { return e.text }
func (e *echoless) Is(target error) bool { return e.is(target) }

// RedisError makes it a redis.Error.
func (e *echoless) RedisError() {}

// discreet is a hook that keeps the secrets of its client out of what the client's commands answer.
type discreet struct{ secrets []string }

var _ redis.Hook = discreet{}

// newDiscreet knows the secrets of o.
func newDiscreet(o *redis.UniversalOptions) (d discreet) {
	for _, secret := range []string{o.Password, o.SentinelPassword} {
		if secret != "" {
			d.secrets = append(d.secrets, secret)
		}
	}
	return d
}

// DialHook changes nothing: dialling sends no secret.
func (d discreet) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook covers the greeting of a new connection too, whose failure the command has.
func (d discreet) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		d.hush(cmd)
		return withoutSecrets(err, d.secrets)
	}
}

// ProcessPipelineHook does so for each command of a pipeline.
func (d discreet) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			d.hush(cmd)
		}
		return withoutSecrets(err, d.secrets)
	}
}

func (d discreet) hush(cmd redis.Cmder) {
	if err := cmd.Err(); err != nil {
		cmd.SetErr(withoutSecrets(err, d.secrets))
	}
}
