package stores

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/invalidation"
	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

// Opening is what a driver's functions make their backends of: what Open shares between all stores. It is theirs until they
// return.
type Opening struct {
	backend   *Backend
	cfg       *Config
	live      *live
	telemetry telemetry.Telemetry
	chosen    chosen // whose function is called now

	client   redis.UniversalClient // nil: no Redis is configured
	link     *invalidation.Link    // over client
	local    invalidation.Local
	source   *sqlsource.Source    // nil until it is first asked for
	listener sqlsource.ListenFunc // of the database's driver
}

// Tenant is Config.Tenant.
func (o *Opening) Tenant() string { return o.cfg.Tenant }

// Setting is a setting of the driver's.
func (o *Opening) Setting(key string) Secret { return o.cfg.Drivers[o.chosen.name][key] }

// Telemetry is told what happens; never nil.
func (o *Opening) Telemetry() telemetry.Telemetry { return o.telemetry }

// OnClose has f called by the Backend's Close, after the stores are closed, the last one first. nil: nothing.
func (o *Opening) OnClose(f func(context.Context) error) {
	if f != nil {
		o.backend.onClose(closeDrivers, f)
	}
}

// Redis is the client that all stores share. It is not closed by who asks for it.
func (o *Opening) Redis() (redis.UniversalClient, error) {
	if o.client == nil {
		return nil, errors.New(noRedis)
	}
	return o.client, nil
}

// SQL is the database that all stores share, opened and its schema looked after when it is first asked for.
func (o *Opening) SQL(ctx context.Context) (*sqlsource.Source, error) {
	if o.source != nil {
		return o.source, nil
	}
	if !o.hasSQL() {
		return nil, errors.New(noSQL)
	}
	config := sqlsource.Config{DB: o.live.db, Dialect: o.live.dialect, Telemetry: o.telemetry}
	if config.DB != nil {
		if d, err := sqlsource.Lookup(config.Dialect.String() + ":"); err == nil {
			o.listener = d.Listen // the driver is linked; its listener knows whether the database is its own
		}
	} else {
		url := o.cfg.SQL.URL.Reveal()
		d, err := sqlsource.Lookup(url)
		if err != nil {
			return nil, fmt.Errorf("Config.SQL.URL, url of %s: %w", sqlTable, err)
		}
		if config.DB, err = d.Open(ctx, url); err != nil {
			return nil, fmt.Errorf("Config.SQL.URL, url of %s: %w", sqlTable, err)
		}
		db := config.DB
		o.OnClose(func(context.Context) error { return db.Close() })
		o.warnPlainText(db)
		config.Dialect, o.listener = d.Dialect, d.Listen
	}
	source, err := sqlsource.New(config)
	if err != nil {
		return nil, err
	}
	if !o.cfg.SQL.NoMigrate {
		if err := source.Migrate(ctx); err != nil {
			return nil, err
		}
	}
	o.source = source
	return source, nil
}

// warnPlainText warns of a database on another machine that the driver may talk to in plain text, if it tells.
func (o *Opening) warnPlainText(db *sql.DB) {
	d, tells := db.Driver().(interface{ PlainTextHost() string })
	if !tells || d.PlainTextHost() == "" {
		return
	}
	log := o.live.logger
	if log == nil {
		log = slog.Default()
	}
	log.Warn("the connection to PostgreSQL may not be encrypted: its sslmode is below require", "host", d.PlainTextHost())
}

func (o *Opening) hasSQL() bool { return o.live.db != nil || !o.cfg.SQL.URL.IsZero() }

// connect makes the client of the Config, unless one was passed, and the link that all stores share over it. It does no
// I/O.
func (o *Opening) connect() error {
	o.client = o.live.redis
	if o.client == nil {
		if !o.cfg.Redis.given() {
			return nil
		}
		client, err := l2.NewClient(o.cfg.Redis.client(o.live.logger))
		if err != nil {
			return fmt.Errorf("stores: Config.Redis, %s: %w", redisTable, err)
		}
		o.client = client
		o.backend.onClose(closeClient, func(context.Context) error { return client.Close() })
	}
	link, err := invalidation.NewLink(invalidation.LinkConfig{Client: o.client, Telemetry: o.telemetry})
	if err != nil {
		return fmt.Errorf("stores: %w", err)
	}
	o.link = link
	o.backend.onClose(closeLink, link.Close)
	return nil
}

// linkOf is the bus of a store over Redis, nil for one that no other process could share.
func (o *Opening) linkOf(c chosen) *invalidation.Link {
	if c.InProcess {
		return nil
	}
	return o.link
}

// localOf is the bus of a store that no other process could share, nil for the others: without Redis they have none.
func (o *Opening) localOf(c chosen) *invalidation.Local {
	if c.InProcess {
		return &o.local
	}
	return nil
}

// Local is the bus of the stores whose driver is InProcess, for a driver that changes records by itself: it joins and tells. The
// namespaces are policy, registry, sessions, checkpoints and runs; with a Tenant, "@" and the Tenant come behind. A policy store
// over a *policy.Memory has that one's bus instead, and does not hear.
func (o *Opening) Local() *invalidation.Local { return &o.local }
