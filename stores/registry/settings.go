package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/sqlsource"
)

// Settings are the original system's: three keys of its file, and what it could be told beside them. However they are
// printed, they show no address, path or password; but in an unexported field of something else package fmt hides nothing.
type Settings struct {
	// Backend is registry_backend: memory, sqlite or redis. "": memory.
	Backend string `json:"registry_backend" toml:"registry_backend"`
	// Path is registry_path, the file of sqlite. Required there.
	Path string `json:"registry_path" toml:"registry_path"`
	// RedisAddr is registry_redis_addr, host:port of redis. Required there.
	RedisAddr string `json:"registry_redis_addr" toml:"registry_redis_addr"`

	// Password and DB are those of redis.
	Password string `json:"-" toml:"-"`
	DB       int    `json:"-" toml:"-"`
	// Prefix begins the keys of redis. "": agentic.
	Prefix string `json:"-" toml:"-"`
	// TTL is how long an agent stays without a sign of life. 0: 5 min.
	TTL time.Duration `json:"-" toml:"-"`
}

var (
	_ fmt.Formatter  = Settings{}
	_ slog.LogValuer = Settings{}
)

// Format hides all but the backend from every verb of package fmt.
func (s Settings) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.LogValue().String()) }

// LogValue hides all but the backend from package slog.
func (s Settings) LogValue() slog.Value {
	name := s.Backend
	if name != "" && name != "memory" && name != "sqlite" && name != "redis" {
		name = "(unknown)" // an address in the wrong field may hold a password
	}
	return slog.StringValue("registry settings {" + name + "}")
}

// MarshalText hides all but the backend from what encodes by text, such as encoding/json.
func (s Settings) MarshalText() ([]byte, error) { return []byte(s.LogValue().String()), nil }

// Open makes a Store of settings, with the backend and the connections that they name; Close of the Store closes them too.
// Nothing is opened for settings with a fault. sqlite needs the driver to be linked: import
// _ "github.com/layercache/layercache/stores/driver/sqlite". stores.Open is for everything else.
func Open(ctx context.Context, settings Settings) (*Store, error) {
	cfg := Config{TTL: settings.TTL}
	probe := cfg
	probe.Backend = &Memory{}
	if err := probe.Validate(); err != nil {
		return nil, err
	}
	var owned []func(context.Context) error
	switch settings.Backend {
	case "", "memory":
		cfg.Backend = &Memory{}
	case "sqlite":
		if settings.Path == "" {
			return nil, errors.New("registry: registry_path is required with registry_backend sqlite")
		}
		source, end, err := openSQLite(ctx, settings.Path)
		if err != nil {
			return nil, err
		}
		owned = append(owned, end)
		if cfg.Backend, err = NewSQL(SQLConfig{Source: source}); err != nil {
			return nil, errors.Join(err, end(ctx))
		}
	case "redis":
		if settings.RedisAddr == "" {
			return nil, errors.New("registry: registry_redis_addr is required with registry_backend redis")
		}
		client, err := l2.NewClient(l2.ClientConfig{Addrs: []string{settings.RedisAddr}, Password: settings.Password, DB: settings.DB})
		if err != nil {
			return nil, fmt.Errorf("registry: registry_redis_addr: %w", err)
		}
		owned = append(owned, func(context.Context) error { return client.Close() })
		if cfg.Backend, err = NewRedis(RedisConfig{Client: client, Prefix: settings.Prefix}); err != nil {
			return nil, errors.Join(err, client.Close())
		}
	default:
		return nil, errors.New("registry: registry_backend is unknown; known: memory, redis, sqlite")
	}
	s, err := New(cfg)
	if err != nil {
		for _, end := range owned {
			err = errors.Join(err, end(ctx))
		}
		return nil, err
	}
	s.owned = append(owned, s.owned...)
	return s, nil
}

// openSQLite opens a file and brings its schema up to date.
func openSQLite(ctx context.Context, path string) (*sqlsource.Source, func(context.Context) error, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("registry: registry_path: %w", err)
	}
	at := (&url.URL{Scheme: "sqlite", Path: filepath.ToSlash(path)}).String()
	driver, err := sqlsource.Lookup(at)
	if err != nil {
		return nil, nil, fmt.Errorf("registry: registry_path: %w", err)
	}
	db, err := driver.Open(ctx, at)
	if err != nil {
		return nil, nil, fmt.Errorf("registry: registry_path: %w", err)
	}
	source, err := sqlsource.New(sqlsource.Config{DB: db, Dialect: driver.Dialect})
	if err == nil {
		err = source.Migrate(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("registry: registry_path: %w", err), db.Close())
	}
	return source, func(context.Context) error { return db.Close() }, nil
}
