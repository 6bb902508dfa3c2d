package checkpoint

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

var (
	//go:embed load.lua
	loadSource string

	loadScript = layout.NewScript(layout.Primary + threadSource + loadSource)
)

// Load implements Backend.
func (r *Redis) Load(ctx context.Context, id string, how Read) (Record, error) {
	keys, err := r.keys(id)
	if err != nil {
		return Record{}, err
	}
	answer, value, err := r.fetch(ctx, keys[:2], how)
	if err != nil {
		return Record{}, err
	}
	if answer == nil {
		return Record{}, readthrough.ErrNotFound
	}
	row, ok := answer.([]any)
	if !ok || len(row) < 4 {
		return Record{}, unexpected(answer)
	}
	size, okSize := row[0].(int64)
	name, okName := row[1].(string)
	length, okLength := row[2].(int64)
	left, okLeft := row[3].(int64)
	switch {
	case !okSize || !okName || !okLength || !okLeft:
		return Record{}, unexpected(answer)
	case size > int64(how.Max):
		return Record{}, &TooLargeError{Size: size, Limit: int64(how.Max)}
	case size > 0 && value == "": // ended between the two, where a server lets time pass there
		return Record{}, readthrough.ErrNotFound
	case size != int64(len(value)):
		return Record{}, unexpected(value)
	}
	rec := Record{Value: []byte(value)}
	if left >= 0 {
		rec.TTL = max(time.Duration(left)*time.Millisecond, 1)
	}
	if how.Foreign || name == "0" || length != size {
		name = digest(rec.Value)
	}
	rec.Version, err = parseVersion(name)
	return rec, err
}

// fetch runs load.lua and reads the state behind it, in one transaction and one round trip. Of a state that is too large
// it reads one byte more than may be.
func (r *Redis) fetch(ctx context.Context, keys []string, how Read) (answer any, value string, err error) {
	ttl := millis(how.Refresh)
	for try := 0; ; try++ {
		get := redis.NewCmd(ctx, "getrange", keys[0], 0, how.Max)
		tx := r.client.TxPipeline()
		run := loadScript.Queue(ctx, tx, keys, ttl)
		layout.Queue(ctx, tx, get)
		_, refused := tx.Exec(ctx)
		answer, err = run.Result()
		if answer == nil && err == nil {
			err = refused // the greeting of a new connection: the commands hold every other error
		}
		switch {
		case redis.HasErrorPrefix(err, "NOSCRIPT") && try == 0:
			if _, err = loadScript.Run(ctx, r.client, keys, 0); err != nil { // makes it known
				return nil, "", err
			}
			continue
		case redis.HasErrorPrefix(err, "OOM"):
			return r.fetchFull(ctx, keys, how)
		case errors.Is(err, redis.Nil):
			return nil, "", nil
		case err != nil:
			return nil, "", layout.Failed(ctx, err)
		}
		value, err = get.Text()
		return answer, value, layout.Failed(ctx, err)
	}
}

// fetchFull is fetch from a full Redis, which begins no transaction, not even of reads, but runs a script. Lua copies the state.
func (r *Redis) fetchFull(ctx context.Context, keys []string, how Read) (answer any, value string, err error) {
	answer, err = loadScript.Run(ctx, r.client, keys, millis(how.Refresh), how.Max)
	if err != nil || answer == nil {
		return nil, "", err
	}
	row, _ := answer.([]any)
	if len(row) != 5 {
		return nil, "", unexpected(answer)
	}
	value, ok := row[4].(string)
	if !ok {
		return nil, "", unexpected(answer)
	}
	return answer, value, nil
}
