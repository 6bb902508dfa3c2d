package stores_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/layercache/layercache/l2/redistest"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/session"
)

func allInMemory(c *stores.Config) {
	c.PolicyStore, c.SessionStore, c.RateLimitCounter = "memory", "memory", "memory"
	c.AgentRegistry, c.Checkpointer, c.EventStore = "memory", "memory", "memory"
}

func TestConfigFaultsAreRefusedBeforeTheDatabaseIsTouched(t *testing.T) {
	redisURL := stores.NewSecret("redis://127.0.0.1:1")
	for name, c := range map[string]struct {
		change func(*stores.Config)
		want   []string
	}{
		"an unknown driver":           {func(c *stores.Config) { c.PolicyStore = "etcd" }, []string{"Config.PolicyStore", `"etcd"`, "memory, redis, sql"}},
		"a driver's name in capitals": {func(c *stores.Config) { c.PolicyStore = "SQL" }, []string{"Config.PolicyStore", "memory, redis, sql"}},
		"sql without a database":      {func(c *stores.Config) { c.PolicyStore, c.SQL.URL = "sql", stores.Secret{} }, []string{"Config.PolicyStore is sql", "Config.SQL.URL", "[storage.sql]", "WithSQL"}},
		"redis without Redis":         {func(c *stores.Config) { c.PolicyStore = "redis" }, []string{"Config.PolicyStore is redis", "Config.Redis", "[storage.redis]", "WithRedis"}},
		"redis alone":                 {func(c *stores.Config) { c.PolicyStore, c.SQL.URL, c.Redis.URL = "redis", stores.Secret{}, redisURL }, []string{"Config.PolicyStore is redis", "a cache", "authority", "[storage.sql]"}},
		"redis alone, by default":     {func(c *stores.Config) { c.SQL.URL, c.Redis.URL = stores.Secret{}, redisURL }, []string{"a cache", "authority"}},
		"sql with nothing but Redis":  {func(c *stores.Config) { c.PolicyStore, c.SQL.URL, c.Redis.URL = "sql", stores.Secret{}, redisURL }, []string{"Config.SQL.URL"}},
		"memory alone and a database": {allInMemory, []string{"every store is in memory", "SQL", "[storage.sql]"}},
		"memory alone and Redis":      {func(c *stores.Config) { allInMemory(c); c.SQL.URL, c.Redis.URL = stores.Secret{}, redisURL }, []string{"every store is in memory", "Redis", "[storage.redis]"}},
		"sole without a database":     {func(c *stores.Config) { c.PolicyStore, c.Sole, c.SQL.URL = "memory", true, stores.Secret{} }, []string{"Config.Sole"}},
		"sole beside Redis":           {func(c *stores.Config) { c.Sole, c.Redis.URL = true, redisURL }, []string{"Config.Sole"}},
		"settings of no Redis":        {func(c *stores.Config) { c.Redis.PoolSize = 3 }, []string{"Config.Redis", "URL"}},
		"a password of no Redis":      {func(c *stores.Config) { c.Redis.Password = stores.NewSecret("s3cret") }, []string{"Config.Redis", "URL"}},
		"a URL of another scheme":     {func(c *stores.Config) { c.Redis.URL = stores.NewSecret("http://h") }, []string{"Config.Redis"}},
		"a URL beside addresses":      {func(c *stores.Config) { c.Redis.URL, c.Redis.Addrs = redisURL, []string{"h:1"} }, []string{"Config.Redis", "Addrs"}},
		"two addresses of one server": {func(c *stores.Config) { c.Redis.Addrs = []string{"h:1", "h:2"} }, []string{"Config.Redis", "Addrs"}},
		"an address without a port":   {func(c *stores.Config) { c.Redis.Addrs = []string{"h"} }, []string{"Config.Redis", "Addrs"}},
		"a cluster of Sentinels": {func(c *stores.Config) {
			c.Redis = stores.RedisConfig{Addrs: []string{"h:1"}, Cluster: true, MasterName: "m"}
		}, []string{"Config.Redis.Cluster", "MasterName"}},
		"a negative pool":              {func(c *stores.Config) { c.Redis.URL, c.Redis.PoolSize = redisURL, -1 }, []string{"Config.Redis", "PoolSize"}},
		"a bare '#' in the Redis URL":  {func(c *stores.Config) { c.Redis.URL = stores.NewSecret("redis://:a#b@h:1") }, []string{"Config.Redis.URL", "percent-encode"}},
		"a bound that is too short":    {func(c *stores.Config) { c.Policy.Bound = time.Millisecond }, []string{"Config.Policy", "Bound"}},
		"a mirror with a separator":    {func(c *stores.Config) { c.Policy.Mirror, c.Redis.URL = "a:b", redisURL }, []string{"Config.Policy", "Mirror"}},
		"a mirror without Redis":       {func(c *stores.Config) { c.Policy.Mirror = "aa" }, []string{"Config.Policy", "Mirror", "Redis"}},
		"a tenant with a separator":    {func(c *stores.Config) { c.Tenant = "a:b" }, []string{"Tenant"}},
		"a tenant with a glob":         {func(c *stores.Config) { c.Tenant, c.Redis.URL = "a*", redisURL }, []string{"Tenant"}},
		"a relay that never rests":     {func(c *stores.Config) { c.Policy.Relay = time.Microsecond }, []string{"Config.Policy", "Relay"}},
		"a database of another scheme": {func(c *stores.Config) { c.SQL.URL = stores.NewSecret("mysql://h/d") }, []string{"Config.SQL.URL", "url of [storage.sql]", "mysql", "postgres", "sqlite"}},
		"a mirror on a Cluster": {func(c *stores.Config) {
			c.Policy.Mirror, c.Redis = "aa", stores.RedisConfig{Addrs: []string{"127.0.0.1:1"}, Cluster: true}
		}, []string{"Config.Policy", "Mirror", "standalone"}},
		"agents on a Cluster without tags": {func(c *stores.Config) {
			c.AgentRegistry, c.Redis = "redis", stores.RedisConfig{Addrs: []string{"127.0.0.1:1"}, Cluster: true}
		}, []string{"Config.AgentRegistry is redis", "Tagged", "[storage.redis] in a file"}},
		"more policies than memory may hold":   {func(c *stores.Config) { c.Policy.MaxEntries = 1<<28 + 1 }, []string{"Config.Policy", "MaxEntries"}},
		"sessions that were stale before":      {func(c *stores.Config) { c.Session.ServeStale = -time.Second }, []string{"Config.Session", "ServeStale"}},
		"agents that are stale for too long":   {func(c *stores.Config) { c.Registry.ServeStale = 8761 * time.Hour }, []string{"Config.Registry", "ServeStale"}},
		"heartbeats of a negative delay":       {func(c *stores.Config) { c.SQL.BeatDelay = -1 }, []string{"Config.SQL.BeatDelay", "beat_delay of [storage.sql]"}},
		"heartbeats of too long a delay":       {func(c *stores.Config) { c.SQL.BeatDelay = 5*time.Second + 1 }, []string{"Config.SQL.BeatDelay"}},
		"heartbeats in negative batches":       {func(c *stores.Config) { c.SQL.BeatBatch = -1 }, []string{"Config.SQL.BeatBatch", "beat_batch of [storage.sql]"}},
		"heartbeats in batches that are large": {func(c *stores.Config) { c.SQL.BeatBatch = 10_001 }, []string{"Config.SQL.BeatBatch"}},
		"settings of no database":              {func(c *stores.Config) { c.SQL = stores.SQLConfig{NoMigrate: true} }, []string{"Config.SQL", "[storage.sql]", "storage.sql.url", "LAYERCACHE_STORAGE_SQL_URL", "WithSQL"}},
		"heartbeats of no database":            {func(c *stores.Config) { c.SQL = stores.SQLConfig{BeatBatch: 3} }, []string{"Config.SQL", "storage.sql.url"}},
		"a database that no store uses": {func(c *stores.Config) {
			c.PolicyStore, c.AgentRegistry, c.Redis.URL = "memory", "redis", redisURL
		}, []string{"no store uses the SQL database", "[storage.sql]"}},
		"a prefix with a separator, of no use": {func(c *stores.Config) { c.Redis.URL, c.Redis.RegistryPrefix = redisURL, "a:b" }, []string{"Config.Redis.RegistryPrefix", "registry_prefix of [storage.redis]"}},
		"a prefix with a glob":                 {func(c *stores.Config) { c.Redis.URL, c.Redis.RunLogPrefix = redisURL, "a*" }, []string{"Config.Redis.RunLogPrefix"}},
		"a Redis URL without slashes":          {func(c *stores.Config) { c.Redis.URL = stores.NewSecret("redis:h:6379") }, []string{"Config.Redis, [storage.redis] in a file", "URL"}},
		"a Redis URL with parameters":          {func(c *stores.Config) { c.Redis.URL = stores.NewSecret("redis://h:1?read_timeout=9s") }, []string{"Config.Redis", "without parameters"}},
		"a timeout that is too short":          {func(c *stores.Config) { c.Redis.URL, c.Redis.Timeout = redisURL, 1 }, []string{"Config.Redis.Timeout", "timeout of [storage.redis]"}},
		"a pool without end":                   {func(c *stores.Config) { c.Redis.URL, c.Redis.PoolSize = redisURL, 1<<40 }, []string{"Config.Redis", "PoolSize"}},
		"a database without a scheme":          {func(c *stores.Config) { c.SQL.URL = stores.NewSecret("policies.db") }, []string{"Config.SQL.URL", "scheme"}},
	} {
		path := filepath.Join(t.TempDir(), "policies.db")
		cfg := stores.Config{SQL: stores.SQLConfig{URL: stores.NewSecret("sqlite://" + path)}}
		c.change(&cfg)
		b, err := stores.Open(t.Context(), cfg)
		if err == nil {
			t.Errorf("%s: accepted", name)
			_ = b.Close(t.Context())
			continue
		}
		if !strings.HasPrefix(err.Error(), "stores: ") {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", name, want, err)
			}
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: the database was made before the fault was found", name)
		}
	}
}

// numbers are the numbers and durations of a Config that have a key, as fields to be set.
func numbers(cfg *stores.Config) map[string]reflect.Value {
	all := map[string]reflect.Value{}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			switch at := path + "." + f.Name; {
			case f.Tag.Get("key") == "":
			case v.Field(i).CanInt() || v.Field(i).CanUint():
				all[at] = v.Field(i)
			case v.Field(i).Kind() == reflect.Struct && f.Type != reflect.TypeFor[stores.Secret]():
				walk(at, v.Field(i))
			}
		}
	}
	walk("Config", reflect.ValueOf(cfg).Elem())
	return all
}

func TestANumberAtItsExtremesIsRefusedBeforeAnythingIsMadeOrServesEveryStore(t *testing.T) {
	fields := slices.Sorted(maps.Keys(numbers(&stores.Config{})))
	if len(fields) < 40 {
		t.Fatalf("%d numbers: %q", len(fields), fields)
	}
	for _, field := range fields {
		for _, n := range []int64{math.MinInt64, -1, 1, math.MaxInt64} {
			dir := t.TempDir()
			everyStoreOrNone(t, fmt.Sprintf("%s is %d, in memory", field, n), with(stores.Config{}, field, n), dir)
			everyStoreOrNone(t, fmt.Sprintf("%s is %d", field, n), with(stores.Config{
				SQL:   stores.SQLConfig{URL: stores.NewSecret("sqlite://" + dir + "/policies.db")},
				Redis: stores.RedisConfig{Addrs: []string{"127.0.0.1:1"}},
			}, field, n), dir)
		}
	}
}

// with is a Config with a number set.
func with(cfg stores.Config, field string, n int64) stores.Config {
	if v := numbers(&cfg)[field]; v.CanInt() {
		v.SetInt(n)
	} else {
		v.SetUint(uint64(n) % 256)
	}
	return cfg
}

// everyStoreOrNone opens a Config and asks for each store. One that is refused leaves the directory empty.
func everyStoreOrNone(t *testing.T, what string, cfg stores.Config, dir string) {
	t.Helper()
	defer func() {
		if said := recover(); said != nil {
			t.Errorf("%s: panic: %v", what, said)
		}
	}()
	b, err := stores.Open(t.Context(), cfg)
	if err != nil {
		if made, _ := os.ReadDir(dir); len(made) > 0 {
			t.Errorf("%s: the database was made before the fault was found: %v", what, err)
		}
		return
	}
	defer func() { _ = b.Close(t.Context()) }()
	b.Policies()
	b.Sessions()
	b.RateLimits()
	b.Agents()
	b.Threads()
	b.Runs()
}

func TestZeroConfigKeepsPoliciesInMemory(t *testing.T) {
	b := open(t, stores.Config{})
	allow(t, b.Policies(), agent(1))
	if !b.Health().Healthy() || b.Ready(t.Context()) != nil {
		t.Errorf("%+v", b.Health())
	}
	if d, err := open(t, stores.Config{PolicyStore: "memory"}).Policies().Decide(t.Context(), agent(1), action); err == nil {
		t.Errorf("another memory knows the policy: %+v", d)
	}
}

// printed is every form in which a Config, its parts and what holds them can be printed.
func printed(t testing.TB, cfg stores.Config) string {
	t.Helper()
	var out bytes.Buffer
	holder := struct {
		Name   string
		Config stores.Config
		List   []stores.RedisConfig
	}{"holder", cfg, []stores.RedisConfig{cfg.Redis}}
	// Package fmt does not call the methods of what is in an unexported field. A name in the wrong place would show there; what
	// is a Secret does not.
	names := cfg
	names.PolicyStore, names.EventStore, names.Tenant = "", "", ""
	for name, settings := range cfg.Drivers {
		if _, proper := settings["password"]; !proper || name != "vault" {
			names.Drivers = nil
		}
	}
	unexported := struct {
		name   string
		config stores.Config
		part   *stores.RedisConfig
		list   []stores.SQLConfig
		url    stores.Secret
		any    any
	}{"holder", names, &names.Redis, []stores.SQLConfig{cfg.SQL}, cfg.Redis.URL, names}

	for _, v := range []any{
		cfg, &cfg, cfg.Redis, &cfg.Redis, cfg.SQL, &cfg.SQL, cfg.SQL.URL, &cfg.Redis.URL, holder, &holder,
		[]any{cfg},
		map[string]stores.SQLConfig{"x": cfg.SQL},
		unexported, &unexported,
		[]any{unexported},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			fmt.Fprintf(&out, verb, v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		if text, err := toml.Marshal(map[string]any{"v": v}); err == nil {
			out.Write(text)
		}
		if err := gob.NewEncoder(&out).Encode(v); err == nil {
			t.Errorf("gob encodes a %T", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	fmt.Fprint(&out, fmt.Errorf("config %v", cfg), cfg, cfg.String(), cfg.Redis.String(), cfg.SQL.String())
	deep(&out, reflect.ValueOf(names), 0)
	return out.String()
}

// deep prints as debuggers and test libraries do: by reflection, through pointers and unexported fields.
func deep(out *bytes.Buffer, v reflect.Value, depth int) {
	if depth > 20 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		out.WriteString(v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			deep(out, v.Elem(), depth+1)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			deep(out, f, depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			deep(out, v.Index(i), depth+1)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			deep(out, k, depth+1)
			deep(out, v.MapIndex(k), depth+1)
		}
	}
}

func TestPasswordsAreInNoPrintedFormOrErrorOrLog(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "another one")
	for _, middle := range []string{
		"", "@", "%", "%25", "#", "/", "?", ":", "@@", " ", "#6789", "/6789", "%zz", "]", "\x00", "ü", "\\", "&", "=", "@h:1/",
	} {
		hidden(t, middle, server.Addr())
	}
}

func FuzzPasswordsAreInNoPrintedFormOrError(f *testing.F) {
	for _, middle := range []string{"@", "%", "#", "#6789", "/b?c#d@e%f", "65535#@h", "", "\\"} {
		f.Add(middle)
	}
	f.Fuzz(func(t *testing.T, middle string) { hidden(t, middle, "127.0.0.1:1") })
}

// A server in which AUTH was renamed, or a proxy that does not know it, repeats the password to whoever sends it.
func TestAPasswordThatTheServerRepeatsIsInNoErrorHealthOrLog(t *testing.T) {
	const secret = "zq9vsecretxk7w"
	for words, refusal := range map[string]string{"redis": redistest.ParrotsRedis, "other": redistest.ParrotsOther} {
		addr := redistest.Parrot(t, refusal)
		for name, cfg := range map[string]stores.RedisConfig{
			"url":      {URL: stores.NewSecret("redis://:" + secret + "@" + addr)},
			"addrs":    {Addrs: []string{addr}, Password: stores.NewSecret(secret)},
			"cluster":  {Addrs: []string{addr}, Cluster: true, Tagged: true, Password: stores.NewSecret(secret)},
			"sentinel": {Addrs: []string{addr}, MasterName: "m", SentinelPassword: stores.NewSecret(secret)},
		} {
			var log logs
			b := open(t, stores.Config{PolicyStore: "memory", Redis: cfg}, stores.WithLogger(log.logger()))
			_, counted := b.RateLimits().Increment(t.Context(), "k", 1, time.Minute)
			_, loaded := b.Sessions().Load(t.Context(), session.ID{1})
			_, listed := b.Agents().List(t.Context())
			_, last := b.Runs().Last(t.Context(), "r")
			_, threads := b.Threads().List(t.Context(), "", 10)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			errs := []error{counted, loaded, listed, last, threads, b.Ready(ctx)}
			cancel()
			for _, err := range errs {
				if err == nil {
					t.Errorf("%s, %s: a server that knows nothing served", words, name)
				}
			}
			if shown := fmt.Sprintf("%v %+v %#v %s", errs, b.Health(), b.Health(), log.String()); strings.Contains(shown, secret) {
				t.Errorf("%s, %s: %s", words, name, shown)
			}
		}
	}
}

// hidden fails the test if a password, or what a bad reading of its URL makes of it, is shown anywhere. The password is
// middle between two words that cannot be there by chance, so that one of them is in whatever piece is shown.
func hidden(t *testing.T, middle, redisAddr string) {
	t.Helper()
	if len(middle) > 200 {
		return
	}
	const before, after = "zq9vsecretxk7w", "w7kxterceqv9z"
	secret := before + middle + after
	var log logs
	for _, cfg := range []stores.Config{
		{SQL: stores.SQLConfig{URL: stores.NewSecret("postgres://u:" + secret + "@127.0.0.1:1/d")}},
		{Redis: stores.RedisConfig{URL: stores.NewSecret("redis://:" + secret + "@" + redisAddr)}, SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}},
		{Redis: stores.RedisConfig{URL: stores.NewSecret("redis://user:" + secret + "@" + redisAddr + "/0")}, SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}},
		{Redis: stores.RedisConfig{Addrs: []string{redisAddr}, Password: stores.NewSecret(secret)}, SQL: stores.SQLConfig{URL: stores.NewSecret(sqliteURL(t))}},
		{PolicyStore: "redis://:" + secret + "@" + redisAddr},
		{EventStore: "redis://:" + secret + "@" + redisAddr},
		{Tenant: "redis://:" + secret + "@" + redisAddr},
		{Drivers: map[string]stores.Settings{"vault": {"password": stores.NewSecret(secret)}}},
		{Drivers: map[string]stores.Settings{"vault": {"//:" + secret: stores.NewSecret("x")}}},
		{Drivers: map[string]stores.Settings{"//:" + secret: {"password": stores.NewSecret(secret)}}},
		{
			Redis: stores.RedisConfig{URL: stores.NewSecret("redis://:" + secret + "@" + redisAddr)}, PolicyStore: "memory",
			SessionStore: "redis", RateLimitCounter: "redis", AgentRegistry: "redis", Checkpointer: "redis", EventStore: "redis",
		},
		{Redis: stores.RedisConfig{Addrs: []string{redisAddr}, MasterName: "m", SentinelPassword: stores.NewSecret(secret)}, PolicyStore: "memory", SessionStore: "redis"},
		{SQL: stores.SQLConfig{URL: stores.NewSecret("mysql://u:" + secret + "@h/d")}},
		{SQL: stores.SQLConfig{URL: stores.NewSecret("u:" + secret + "@h/d")}},
	} {
		shown := printed(t, cfg)
		b, err := stores.Open(t.Context(), cfg, stores.WithLogger(log.logger()))
		if err == nil {
			_, err = b.Policies().PutAsync(t.Context(), agent(1), revision(1)) // Redis refuses the password
			shown += fmt.Sprintf("%v %+v %v", err, b.Health(), b.Ready(t.Context()))
			_ = b.Close(t.Context())
		} else {
			shown += err.Error() + fmt.Sprintf("%+v %q", err, err)
		}
		shown += log.String()
		for _, part := range []string{before, after} {
			if strings.Contains(strings.ToLower(shown), part) {
				i := strings.Index(strings.ToLower(shown), part)
				t.Fatalf("%q of the password %q is shown: …%s…", part, secret, shown[max(0, i-100):min(len(shown), i+100)])
			}
		}
	}
}
