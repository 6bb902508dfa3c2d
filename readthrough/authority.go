package readthrough

import (
	"context"
	"database/sql"
	"errors"
	"runtime/debug"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/telemetry"
)

// errLoadTimeout is the cause of a load that its loader did not end in time.
var errLoadTimeout = errors.New("the loader did not answer within Config.LoadTimeout")

// ask runs the loader for one key. ErrNotFound comes back as such, whatever the loader called it.
func (c *Cache[K, V]) ask(ctx context.Context, key K) (Loaded[V], error) {
	ctx, span := c.tel.Start(ctx, telemetry.Op{Name: telemetry.OpLoad, Namespace: c.cfg.Name, Keys: 1})
	loaded, err := guarded(ctx, func() (Loaded[V], error) { return c.cfg.Loader.Load(ctx, key) })
	err = c.judge(ctx, err)
	switch {
	case err == nil:
		c.counts.loadFound.Add(1)
		span.End(telemetry.Found, nil)
	case errors.Is(err, ErrNotFound):
		c.counts.loadAbsent.Add(1)
		span.End(telemetry.Absent, nil)
	default:
		span.End(telemetry.Failed, err)
	}
	return loaded, err
}

// askMany runs the loader for several keys in one call. A loader that says ErrNotFound has found none of them, and one that
// says so of a key has not found that key.
func (c *Cache[K, V]) askMany(ctx context.Context, loader BatchLoader[K, V], keys []K) (Batch[K, V], error) {
	ctx, span := c.tel.Start(ctx, telemetry.Op{Name: telemetry.OpLoad, Namespace: c.cfg.Name, Keys: len(keys)})
	batch, err := guarded(ctx, func() (Batch[K, V], error) { return loader.LoadMany(ctx, keys) })
	err = c.judge(ctx, err)
	if errors.Is(err, ErrNotFound) {
		batch.Found, err = nil, nil
	}
	if err != nil {
		span.End(telemetry.Failed, err)
		return batch, err
	}
	failed := map[K]error{}
	for _, key := range keys {
		err := batch.Failed[key]
		if err != nil {
			err = c.judge(ctx, err)
		}
		_, found := batch.Found[key]
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			failed[key] = err
		case found:
			c.counts.loadFound.Add(1)
		default:
			c.counts.loadAbsent.Add(1)
		}
	}
	batch.Failed = failed
	span.End(telemetry.Found, nil)
	return batch, nil
}

// errNil stands for redis.Nil, which callers elsewhere take for "there is none".
var errNil = errors.New("the loader answered redis.Nil, which is neither a record nor ErrNotFound")

// judge tells absence from failure, and counts failures. A panic is a failure, whatever it was that was thrown.
func (c *Cache[K, V]) judge(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	_, panicked := errors.AsType[*PanicError](err)
	switch {
	case panicked:
		c.tel.Count(c.cfg.Name, telemetry.LoadPanic, 1)
	case errors.Is(err, sql.ErrNoRows), errors.Is(err, ErrNotFound):
		return ErrNotFound
	case ctx.Err() != nil:
		c.tel.Count(c.cfg.Name, telemetry.LoadTimeout, 1)
		err = context.Cause(ctx)
	case errors.Is(err, redis.Nil):
		err = errNil
	}
	c.counts.loadFailed.Add(1)
	return err
}

// recovered, deferred, turns a panic of user code (a codec, Clone, ID) into an error.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// outcome is what a function answered.
type outcome[T any] struct {
	v   T
	err error
}

// apart runs f on a goroutine of its own, so that a panic or Goexit in it becomes an error.
func apart[T any](f func() (T, error)) <-chan outcome[T] {
	done := make(chan outcome[T], 1)
	go func() { // ends with f
		out := outcome[T]{err: &PanicError{}} // of Goexit
		defer func() { done <- out }()
		defer recovered(&out.err)
		out.v, out.err = f()
	}()
	return done
}

// guarded runs user code apart, and leaves behind what does not come back by ctx's deadline: it holds its goroutine, and
// nothing of the cache's.
func guarded[T any](ctx context.Context, f func() (T, error)) (T, error) {
	done := apart(f)
	select {
	case out := <-done:
		return out.v, out.err
	case <-ctx.Done():
		select {
		case out := <-done: // it answered at the last moment
			return out.v, out.err
		default:
			var zero T
			return zero, context.Cause(ctx)
		}
	}
}
