package stores

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/checkpoint"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/ratelimit"
	"github.com/layercache/layercache/stores/registry"
	"github.com/layercache/layercache/stores/runlog"
	"github.com/layercache/layercache/stores/session"
	"github.com/layercache/layercache/stores/sqlsource"
)

// The drivers of this package register themselves as any other does.
func init() {
	RegisterDriver("memory", memoryDriver)
	RegisterDriver("redis", redisDriver)
	RegisterDriver("sql", sqlDriver)
}

// memoryDriver keeps everything in this process.
var memoryDriver = Driver{
	InProcess:  true,
	Policies:   func(context.Context, *Opening) (policy.Authority, error) { return &policy.Memory{}, nil },
	Sessions:   func(context.Context, *Opening) (session.Backend, error) { return &session.Memory{}, nil },
	RateLimits: func(context.Context, *Opening) (ratelimit.Backend, error) { return &ratelimit.Memory{}, nil },
	Agents:     func(context.Context, *Opening) (registry.Backend, error) { return &registry.Memory{}, nil },
	Threads:    func(context.Context, *Opening) (checkpoint.Backend, error) { return &checkpoint.Memory{}, nil },
	Runs:       func(context.Context, *Opening) (runlog.Backend, error) { return &runlog.Memory{}, nil },
}

// redisDriver keeps everything but policies in Redis.
var redisDriver = Driver{
	Policies: func(ctx context.Context, o *Opening) (policy.Authority, error) {
		if !o.hasSQL() {
			return nil, errors.New("it is a cache and may forget: policies need an authority; configure Config.SQL, " + sqlTable + ", or WithSQL too")
		}
		return policyTable(ctx, o)
	},
	Sessions: func(_ context.Context, o *Opening) (session.Backend, error) {
		r := o.cfg.Redis
		return ofFile(session.NewRedis(session.RedisConfig{
			Client: o.client, Prefix: r.SessionPrefix, Tenant: o.cfg.Tenant, Tagged: r.Tagged,
		}))
	},
	RateLimits: func(_ context.Context, o *Opening) (ratelimit.Backend, error) {
		r := o.cfg.Redis
		return ofFile(ratelimit.NewRedis(ratelimit.RedisConfig{
			Client: o.client, Prefix: r.RateLimitPrefix, Tenant: o.cfg.Tenant, Tagged: r.Tagged,
		}))
	},
	Agents: func(_ context.Context, o *Opening) (registry.Backend, error) {
		prefix := o.cfg.Redis.RegistryPrefix
		return ofFile(registry.NewRedis(registry.RedisConfig{
			Client: o.client, Prefix: prefix, Tenant: o.cfg.Tenant, Tagged: o.tagged(),
		}))
	},
	Threads: func(_ context.Context, o *Opening) (checkpoint.Backend, error) {
		prefix := o.cfg.Redis.CheckpointPrefix
		return ofFile(checkpoint.NewRedis(checkpoint.RedisConfig{
			Client: o.client, Prefix: prefix, Tenant: o.cfg.Tenant, Tagged: o.tagged(),
		}))
	},
	Runs: func(_ context.Context, o *Opening) (runlog.Backend, error) {
		return ofFile(runlog.NewRedis(runlog.RedisConfig{
			Client: o.client, Prefix: o.cfg.Redis.RunLogPrefix, Tenant: o.cfg.Tenant,
		}))
	},
}

// ofFile tells those who wrote a file where it has the fields that an error of a backend in Redis names.
func ofFile[B any](backend B, err error) (B, error) {
	if err != nil {
		err = fmt.Errorf("%w (%s)", err, redisTable)
	}
	return backend, err
}

// tagged says whether a store that keeps an index uses hash tags. By default it does on a Cluster, which refuses it
// otherwise; one that was asked for by name might be meant to share its keys, and is told.
func (o *Opening) tagged() bool {
	_, cluster := o.client.(interface{ Options() *redis.ClusterOptions })
	return o.cfg.Redis.Tagged || cluster && o.chosen.byDefault
}

// sqlDriver keeps what must not be lost.
var sqlDriver = Driver{
	Policies: policyTable,
	Agents: func(ctx context.Context, o *Opening) (registry.Backend, error) {
		source, err := o.SQL(ctx)
		if err != nil {
			return nil, err
		}
		s := o.cfg.SQL
		return registry.NewSQL(registry.SQLConfig{Source: source, Tenant: o.cfg.Tenant, BeatDelay: s.BeatDelay, BeatBatch: s.BeatBatch})
	},
}

func policyTable(ctx context.Context, o *Opening) (policy.Authority, error) {
	source, err := o.SQL(ctx)
	if err != nil {
		return nil, err
	}
	return source.Table(sqlsource.Policies, o.Tenant())
}

// client is the RedisConfig as l2 takes it.
func (c RedisConfig) client(logger *slog.Logger) l2.ClientConfig {
	out := l2.ClientConfig{
		URL: c.URL.Reveal(), Addrs: c.Addrs, MasterName: c.MasterName, DB: c.DB,
		Username: c.Username, Password: c.Password.Reveal(),
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword.Reveal(),
		PoolSize: c.PoolSize, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, Logger: logger,
	}
	switch {
	case c.Cluster:
		out.Mode = l2.Cluster
	case c.MasterName != "":
		out.Mode = l2.Sentinel
	}
	if c.TLS {
		out.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return out
}
