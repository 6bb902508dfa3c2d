package registry_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores/registry"
)

func TestTheFactoryPicksABackendByTheOriginalsKeys(t *testing.T) {
	m, _ := redistest.Mini(t)
	m.RequireAuth("secret")
	dir := t.TempDir()
	for name, settings := range map[string]registry.Settings{
		"":       {},
		"memory": {Backend: "memory"},
		"sqlite": {Backend: "sqlite", Path: filepath.Join(dir, "a b%.db")},
		"redis":  {Backend: "redis", RedisAddr: m.Addr(), Password: "secret", DB: 3, Prefix: "p", TTL: time.Minute},
	} {
		s, err := registry.Open(t.Context(), settings)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		register(t, s, registry.Agent{ID: "a"})
		if err := s.Heartbeat(t.Context(), "a"); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		wantList(t, s, "a")
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if ttl := m.DB(3).TTL("p:agent:a"); ttl != time.Minute {
		t.Errorf("p:agent:a of database 3 has a TTL of %s", ttl)
	}
}

func TestTheFactoryNamesWhatIsWrong(t *testing.T) {
	for says, settings := range map[string]registry.Settings{
		"registry_backend is unknown; known: memory, redis, sqlite": {Backend: "redis://:secret@h"},
		"registry_path is required":                                 {Backend: "sqlite"},
		"registry_redis_addr is required":                           {Backend: "redis"},
		"Config.TTL":                                                {TTL: -time.Second},
		"registry_path: driver/sqlite":                              {Backend: "sqlite", Path: "/secret/is/nowhere.db"},
	} {
		s, err := registry.Open(t.Context(), settings)
		if err == nil {
			_ = s.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

func TestSettingsShowNoSecret(t *testing.T) {
	s := registry.Settings{Backend: "secret1", Path: "secret2", RedisAddr: "secret3", Password: "secret4", Prefix: "secret5"}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "s", s)
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %s %q %d %x", s, s, s, s, s, s), fmt.Sprint(&s), string(text), logged.String()} {
		if strings.Contains(shown, "secret") || strings.Contains(shown, "736563726574") {
			t.Error(shown)
		}
	}
}

func TestConfigsWithAFaultAreRefusedByName(t *testing.T) {
	_, c := redistest.Mini(t)
	memory := &registry.Memory{}
	for says, cfg := range map[string]registry.Config{
		"Config.Backend":    {},
		"Config.TTL":        {Backend: memory, TTL: 48 * time.Hour},
		"Config.Grace":      {Backend: memory, Grace: 48 * time.Hour},
		"Config.MaxAge":     {Backend: memory, MaxAge: 2 * time.Hour},
		"Config.Bound":      {Backend: memory, Bound: time.Millisecond},
		"Config.Name":       {Backend: memory, Name: "a:b"},
		"Config.Tenant":     {Backend: memory, Tenant: "a:b"},
		"Config.ForeignTTL": {Backend: memory, ForeignTTL: time.Second},
	} {
		if _, err := registry.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "registry: "+says) || strings.Contains(err.Error(), "a:b") {
			t.Errorf("%s: %v", says, err)
		}
	}
	for says, err := range map[string]error{
		"SQLConfig.Source":   second(registry.NewSQL(registry.SQLConfig{})),
		"RedisConfig.Client": second(registry.NewRedis(registry.RedisConfig{})),
		"RedisConfig.Tenant": second(registry.NewRedis(registry.RedisConfig{Client: c, Tenant: "a:b"})),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "registry: "+says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	deaf := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = deaf.Close() }()
	if _, err := registry.NewRedis(registry.RedisConfig{Client: deaf}); err == nil {
		t.Error("a client that ignores deadlines is not refused")
	}
}

func second[T any](_ T, err error) error { return err }
