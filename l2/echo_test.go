package l2_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/l2/redistest"
)

func TestNoErrorShowsASecretThatTheServerRepeats(t *testing.T) {
	const secret = "s3cret"
	for words, refusal := range map[string]string{"redis": redistest.ParrotsRedis, "other": redistest.ParrotsOther} {
		addrs := []string{redistest.Parrot(t, refusal)}
		for mode, cfg := range map[string]l2.ClientConfig{
			"url":      {URL: "redis://:" + secret + "@" + addrs[0]},
			"user":     {Addrs: addrs, Username: "u", Password: secret},
			"cluster":  {Addrs: addrs, Mode: l2.Cluster, Password: secret},
			"sentinel": {Addrs: addrs, Mode: l2.Sentinel, MasterName: "m", SentinelPassword: secret},
		} {
			client, err := l2.NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			pipe := client.Pipeline()
			queued := pipe.Get(t.Context(), "k")
			_, piped := pipe.Exec(t.Context())
			tx := client.TxPipeline()
			tx.Get(t.Context(), "k")
			_, inTx := tx.Exec(t.Context())
			for what, err := range every(t, newStore(t, client)) {
				checkDiscreet(t, words+", "+mode+", "+what, secret, err)
			}
			var refused redis.Error
			one := client.Get(t.Context(), "k").Err()
			if !errors.As(one, &refused) {
				t.Errorf("%s, %s: %v is no refusal of Redis", words, mode, one)
			}
			for what, err := range map[string]error{"a command": one, "a pipeline": piped, "what was queued": queued.Err(), "a transaction": inTx} {
				checkDiscreet(t, words+", "+mode+", "+what, secret, err)
			}
			_ = client.Close()
		}
	}
}

func checkDiscreet(t *testing.T, what, secret string, err error) {
	t.Helper()
	if shown := fmt.Sprintf("%v %+v %#v %q", err, err, err, struct{ Err error }{err}); strings.Contains(shown, secret) {
		t.Errorf("%s tells the secret: %s", what, shown)
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if strings.Contains(inner.Error(), secret) {
			t.Errorf("%s has the secret inside: %v", what, inner)
		}
	}
	var refused redis.Error
	if errors.As(err, &refused) && strings.Contains(refused.Error(), secret) {
		t.Errorf("%s has the secret inside: %v", what, refused)
	}
}

// The client is the caller's own, so that what a server repeats reaches the Store.
func TestNoErrorOfAStoreShowsASecretWhoeverMadeTheClient(t *testing.T) {
	client := redis.NewClient(&redis.Options{
		Addr: redistest.Parrot(t, redistest.ParrotsRedis), Password: "s3cret", MaxRetries: -1, ContextTimeoutEnabled: true,
	})
	defer func() { _ = client.Close() }()
	for what, err := range every(t, newStore(t, client)) {
		checkDiscreet(t, what, "s3cret", err)
	}
}

func TestARefusalWithoutItsEchoIsStillTheRefusal(t *testing.T) {
	for text, want := range map[string]string{
		"ERR unknown command 'AUTH', with args beginning with: 's3cret' ":  "ERR unknown command 'AUTH'",
		"ERR unknown command `AUTH`, with args beginning with: `s3cret`, ": "ERR unknown command `AUTH`",
		"ERR unknown command, with args beginning with:":                   "ERR unknown command",
	} {
		err := fmt.Errorf("tried: %w", errors.Join(redis.ErrClosed, refusal(text)))
		got := l2.WithoutEcho(err)
		if !strings.HasSuffix(got.Error(), want) || !errors.Is(got, redis.ErrClosed) || errors.Is(got, redis.Nil) {
			t.Errorf("%v, want %s", got, want)
		}
		if got = l2.WithoutEcho(refusal(text)); got.Error() != want || !redis.HasErrorPrefix(got, "unknown command") {
			t.Errorf("%v, want %s", got, want)
		}
	}
	for _, err := range []error{
		nil, redis.Nil, refusal("NOSCRIPT No matching script."), refusal("MOVED 1 h:1"), errors.New("x, with args beginning with: 'y'"),
	} {
		if got := l2.WithoutEcho(err); got != err { //nolint:errorlint // the same error, not one that holds it
			t.Errorf("%v became %v", err, got)
		}
	}
}

// A password may be a word that servers use.
func TestAShortPasswordHidesNoCode(t *testing.T) {
	client, err := l2.NewClient(l2.ClientConfig{Addrs: []string{redistest.Parrot(t, "NOSCRIPT no %s %s")}, Password: "NO"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := client.Get(t.Context(), "k").Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") || strings.Contains(err.Error(), "'NO'") {
		t.Error(err)
	}
}

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}
