package stores_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/driver/sqlite"
)

// file is a configuration file.
func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layercache.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, text string) stores.Config {
	t.Helper()
	cfg, err := stores.LoadConfig(file(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// leaves are the fields of a Config that are not zero, by their path in Go, with secrets revealed.
func leaves(cfg stores.Config) map[string]string {
	all := map[string]string{}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		switch x := v.Interface().(type) {
		case stores.Secret:
			if !x.IsZero() {
				all[path] = x.Reveal()
			}
		case map[string]stores.Settings:
			for name, settings := range x {
				for key, value := range settings {
					all[path+"."+name+"."+key] = value.Reveal()
				}
			}
		default:
			if v.Kind() == reflect.Struct {
				for i := range v.NumField() {
					if f := v.Type().Field(i); f.IsExported() {
						walk(path+"."+f.Name, v.Field(i))
					}
				}
			} else if !v.IsZero() {
				all[path] = fmt.Sprint(x)
			}
		}
	}
	walk("", reflect.ValueOf(cfg))
	return all
}

func TestAFileNamesDriversAndWhatTheyNeed(t *testing.T) {
	cfg := load(t, `
tenant = "acme"

[storage]
policy_store = "sql"

[storage.redis]
url = "rediss://:p@cache.internal:6380/1"
pool_size = 20
tls = true

[storage.sql]
url = "postgres://agents@db/agents"
no_migrate = true

[storage.memory]

[cache.policy]
bound = "500ms"
max_entries = 1_000
`)
	want := map[string]string{
		".Tenant": "acme", ".PolicyStore": "sql", ".Redis.URL": "rediss://:p@cache.internal:6380/1", ".Redis.PoolSize": "20",
		".Redis.TLS": "true", ".SQL.URL": "postgres://agents@db/agents", ".SQL.NoMigrate": "true",
		".Policy.Bound": "500ms", ".Policy.MaxEntries": "1000",
	}
	if got := leaves(cfg); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAnEmptyFileAndNoFileAreTheZeroConfig(t *testing.T) {
	if got := leaves(load(t, "")); len(got) != 0 {
		t.Errorf("%q", got)
	}
	cfg, err := stores.LoadConfig("")
	if got := leaves(cfg); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := stores.LoadConfig(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestARedisTableWithoutAnAddressIsTheLocalRedis(t *testing.T) {
	for text, want := range map[string]string{
		"[storage.redis]":                           stores.DefaultRedisURL,
		"[storage.redis]\ntls = true":               stores.DefaultRedisURL,
		"[storage]\nredis = {pool_size = 3}":        stores.DefaultRedisURL,
		"[storage.redis]\naddrs = [\"h:1\"]":        "",
		"[storage.redis]\nurl = \"redis://h:1\"":    "redis://h:1",
		"[storage.sql]\nurl = \"sqlite:agents.db\"": "",
		"": "",
	} {
		if got := load(t, text).Redis.URL.Reveal(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	t.Setenv("LAYERCACHE_STORAGE_REDIS_POOL_SIZE", "3")
	if got := load(t, "").Redis.URL.Reveal(); got != stores.DefaultRedisURL {
		t.Errorf("a table by the environment: %q", got)
	}
}

// A URL excludes these, and nobody wrote one.
func TestARedisTableWithWhatAURLExcludesIsTheLocalRedisByItsAddress(t *testing.T) {
	for _, text := range []string{`password = "p"`, "username = \"u\"\npassword = \"p\"", "db = 3", "password = \"p\"\ndb = 3\ntls = true"} {
		cfg := load(t, "[storage.redis]\n"+text)
		if !cfg.Redis.URL.IsZero() || !slices.Equal(cfg.Redis.Addrs, []string{"127.0.0.1:6379"}) {
			t.Errorf("%s: %q", text, leaves(cfg))
		}
		cfg.PolicyStore, cfg.SessionStore = "memory", "redis"
		open(t, cfg)
	}
	for _, text := range []string{"cluster = true", `master_name = "m"`} {
		cfg := load(t, "[storage.redis]\n"+text)
		if _, err := stores.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "neither URL nor Addrs") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestATableOfSQLThatNamesNoDatabaseIsRefusedUnlessOneIsPassed(t *testing.T) {
	db, err := sqlite.Open(t.Context(), sqliteURL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range []string{"[storage.sql]", "[storage.sql]\nurl = \"\"", "[storage.sql]\nbeat_delay = \"1s\"", "[storage]\nsql = {no_migrate = false}"} {
		cfg := load(t, text)
		b, err := stores.Open(t.Context(), cfg)
		if err == nil {
			t.Errorf("%q: accepted", text)
			_ = b.Close(t.Context())
			continue
		}
		for _, want := range []string{"stores: Config.SQL", "[storage.sql]", "storage.sql.url", "LAYERCACHE_STORAGE_SQL_URL", "WithSQL"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: the error does not say %q: %v", text, want, err)
			}
		}
		allow(t, open(t, cfg, stores.WithSQL(db, stores.SQLite)).Policies(), agent(1))
	}
}

func TestALongKeyIsRefusedByWorkThatGrowsAsTheFileDoes(t *testing.T) {
	deep := strings.Repeat("a.", 10_000) + "a"
	for name, text := range map[string]string{
		"many names":                  deep + " = 1\n",
		"many keys of a long table":   "[" + deep + "]\n" + manyKeys("k%d = 1\n") + "[zz]\n",
		"many keys before a long one": "[storage.redis]\n" + manyKeys("\"k%d\" = 1\n") + "\"" + strings.Repeat("0", 20_000) + "\" = 1\n",
	} {
		path := file(t, text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := stores.LoadConfig(path)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 40<<20 {
			t.Errorf("%s: %d bytes of file took %d MiB", name, len(text), n>>20)
		}
	}
}

func manyKeys(format string) string {
	var text strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&text, format, i)
	}
	return text.String()
}

// samples are a value of each kind: in a file, in the environment, and as leaves shows it.
var samples = map[string][3]string{
	"string":   {`"a-name"`, "a-name", "a-name"},
	"secret":   {`"redis://:p,w@h:1"`, "redis://:p,w@h:1", "redis://:p,w@h:1"},
	"setting":  {`"s,1"`, "s,1", "s,1"},
	"bool":     {"true", "true", "true"},
	"integer":  {"4_2", "42", "42"},
	"duration": {`"1m30s"`, "1m30s", "1m30s"},
	"failure":  {`"local_share"`, "local_share", "2"},
	"list":     {`["a:1", "b:2"]`, "a:1, b:2", "[a:1 b:2]"},
}

func TestEveryKeyIsReadFromTheFileAndOverriddenByTheEnvironment(t *testing.T) {
	variables := map[string]string{}
	for _, k := range stores.Keys() {
		if other, taken := variables[k.Variable]; taken {
			t.Errorf("%s and %s have the variable %s", k.Path, other, k.Variable)
		}
		variables[k.Variable] = k.Path
		t.Run(k.Path, func(t *testing.T) {
			sample, known := samples[k.Kind]
			if !known {
				t.Fatalf("of the kind %q", k.Kind)
			}
			only := func(source string, cfg stores.Config) (field string) {
				t.Helper()
				all := leaves(cfg)
				if strings.HasPrefix(k.Path, "storage.redis.") && cfg.Redis.URL.Reveal() == stores.DefaultRedisURL {
					delete(all, ".Redis.URL")
				}
				if a := cfg.Redis.Addrs; len(all) == 2 && len(a) == 1 && a[0] == "127.0.0.1:6379" {
					delete(all, ".Redis.Addrs")
				}
				for field, value := range all {
					if len(all) == 1 && value == sample[2] {
						return field
					}
				}
				t.Fatalf("%s: %q", source, all)
				return ""
			}
			inFile := only("the file", load(t, k.Path+" = "+sample[0]))
			t.Setenv(k.Variable, sample[1])
			if inEnvironment := only("the environment", load(t, "")); inEnvironment != inFile {
				t.Errorf("the file sets %s and the environment %s", inFile, inEnvironment)
			}
			t.Setenv(k.Variable, "")
			if all := leaves(load(t, k.Path+" = "+sample[0])); all[inFile] != sample[2] {
				t.Errorf("an empty variable overrides: %q", all)
			}
		})
	}
	if len(variables) < 20 {
		t.Errorf("%d keys", len(variables))
	}
}

// Where another program sets a variable of this prefix, as Kubernetes does for a Service, it can be emptied.
func TestAnEmptyVariableCountsAsNoneWhateverItsName(t *testing.T) {
	t.Setenv("LAYERCACHE_PORT", "")
	if _, err := stores.LoadConfig(""); err != nil {
		t.Error(err)
	}
}

func TestTheEnvironmentOverridesTheFile(t *testing.T) {
	path := file(t, "[storage.redis]\nurl = \"redis://a:1\"\npool_size = 3\n[cache.policy]\nbound = \"2s\"")
	t.Setenv("LAYERCACHE_STORAGE_REDIS_URL", "redis://b:2")
	t.Setenv("LAYERCACHE_CACHE_POLICY_BOUND", "3s")
	cfg, err := stores.LoadConfig(path)
	if err != nil || cfg.Redis.URL.Reveal() != "redis://b:2" || cfg.Redis.PoolSize != 3 || cfg.Policy.Bound != 3*time.Second {
		t.Errorf("%q, %v", leaves(cfg), err)
	}
}

func TestAFileWithAFaultIsRefusedWithKeyAndLine(t *testing.T) {
	const secret = "hunter2"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"an unknown key":                 {"tenant = \"a\"\n[storage.redis]\npool = 3\n", []string{"line 3", `unknown key "storage.redis.pool"`, "pool_size"}},
		"an unknown key at the top":      {"\n\ntenants = \"a\"\n", []string{"line 3", `unknown key "tenants"`, "tenant", "storage"}},
		"an unknown table":               {"[storage]\n[storage.mysql]\nurl = \"" + secret + "\"", []string{"line 2", `"storage.mysql"`, "memory", "redis", "sql"}},
		"an unknown table of a table":    {"\n[storage.redis.replica]\nurl = \"" + secret + "\"", []string{"line 2", `"storage.redis.replica"`}},
		"a dotted unknown key":           {"\nstorage.redis.u.rl = \"" + secret + "\"", []string{"line 2", `"storage.redis.u"`}},
		"one in an inline table":         {"[storage]\nredis = {url = \"" + secret + "\", tsl = true}", []string{"line 2", `"storage.redis.tsl"`}},
		"one in an array of tables":      {"[[storage]]\nurl = \"" + secret + "\"", []string{"line 1", "storage must be a table"}},
		"a key with a dot in it":         {"\"storage.redis.url\" = \"" + secret + "\"", []string{"line 1", "unknown key"}},
		"another letter case":            {"[storage.redis]\nURL = \"" + secret + "\"", []string{"line 2", `"storage.redis.URL"`}},
		"a key that is no name":          {"\"redis://:" + secret + "@h\" = 1", []string{"line 1", "withheld"}},
		"a number for a secret":          {"[storage.redis]\npassword = 98765432", []string{"line 2", "storage.redis.password must be a string"}},
		"a table for a secret":           {"[storage.redis.password]\nx = \"" + secret + "\"", []string{"line 1", "storage.redis.password must be a string"}},
		"a string for a number":          {"[storage.redis]\npool_size = \"" + secret + "\"", []string{"line 2", "storage.redis.pool_size must be an integer"}},
		"a string for a boolean":         {"[storage.redis]\ntls = \"" + secret + "\"", []string{"line 2", "storage.redis.tls must be true or false"}},
		"a number for a duration":        {"[cache.policy]\n\nbound = 5", []string{"line 3", "cache.policy.bound must be a duration", `"1s"`}},
		"a duration without a unit":      {"[cache.policy]\nbound = \"" + secret + "\"", []string{"line 2", "cache.policy.bound must be a duration"}},
		"a list of numbers":              {"[storage.redis]\naddrs = [98765432]", []string{"line 2", "storage.redis.addrs must be a list of strings"}},
		"a value for a table":            {"[storage]\nredis = \"" + secret + "\"", []string{"line 2", "storage.redis must be a table"}},
		"no TOML":                        {"[storage.redis]\nurl = redis://:" + secret + "@h", []string{"line 2"}},
		"a string that does not end":     {"[storage.redis]\nurl = \"redis://:" + secret + "@h\n", []string{"line 2"}},
		"a key that is given twice":      {"[storage.redis]\nurl = \"a\"\nurl = \"" + secret + "\"", []string{"line 3"}},
		"a table that is given twice":    {"[storage.redis]\n[storage.sql]\n[storage.redis]\nurl = \"" + secret + "\"", []string{"line 3"}},
		"a number that does not fit":     {"[storage.redis]\npool_size = 98765432109876543210", []string{"line 2"}},
		"bytes that are not UTF-8":       {"[storage.redis]\nurl = \"" + secret + "\xff\"", []string{"line 2"}},
		"the zero byte":                  {"[storage.redis]\nurl = \"" + secret + "\x00\"", []string{"line 2"}},
		"an escape that is none":         {"[storage.redis]\nurl = \"\\q" + secret + "\"", []string{"line 2"}},
		"a value of a kind without keys": {"[storage.memory]\nsize = \"" + secret + "\"", []string{"line 2", `"storage.memory.size"`}},
	} {
		path := file(t, c.text)
		cfg, err := stores.LoadConfig(path)
		if err == nil {
			t.Errorf("%s: accepted: %q", name, leaves(cfg))
			continue
		}
		for _, want := range append(c.want, "stores: load config: ", path) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", name, want, err)
			}
		}
		for _, hidden := range []string{secret, "9876543"} {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), hidden) {
				t.Errorf("%s: the error shows the value: %v", name, err)
			}
		}
		if len(leaves(cfg)) != 0 {
			t.Errorf("%s: a Config beside the error: %q", name, leaves(cfg))
		}
	}
}

func TestAVariableWithAFaultIsRefusedAndItsValueNotShown(t *testing.T) {
	const secret = "hunter2"
	for name, want := range map[string]string{
		"LAYERCACHE_STORAGE_REDIS_ULR":          "unknown variable",
		"LAYERCACHE_STORAGE":                    "unknown variable",
		"LAYERCACHE_storage_redis_url":          "unknown variable",
		"LAYERCACHE_":                           "unknown variable",
		"LAYERCACHE_STORAGE_REDIS_POOL_SIZE":    "must be an integer",
		"LAYERCACHE_STORAGE_REDIS_TLS":          "must be true or false",
		"LAYERCACHE_CACHE_POLICY_TTL":           "must be a duration without quotes",
		"LAYERCACHE_CACHE_RATELIMIT_ON_FAILURE": "must be deny, allow or local_share",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, secret)
			cfg, err := stores.LoadConfig("")
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%q, %v", leaves(cfg), err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
	t.Run("of the tests", func(t *testing.T) {
		for _, name := range []string{"LAYERCACHE_REQUIRE_REAL", "LAYERCACHE_LONG", "LAYERCACHE_FAULTS", "LAYERCACHE_SEED", "LAYERCACHE_CI_WORK"} {
			t.Setenv(name, "1")
		}
		if _, err := stores.LoadConfig(""); err != nil {
			t.Error(err)
		}
	})
}

// A secret reaches no error of LoadConfig, however the file is broken around it.
func FuzzErrorsOfLoadConfigShowNoSecret(f *testing.F) {
	for _, middle := range []string{"", "@", "\"\n", "\"\nx = \"", "'", "\\", "\"\"\"", "\n[a]\n", "\x00", "\xff", "\" = 1\n", "\"}\n", "\" #"} {
		for _, shape := range []string{"[storage.redis]\nurl = \"%s\"\n", "url = %s", "[storage.redis]\npool_size = \"%s\"\n[x]\n", "[storage]\nredis = {url = '%s', x = 1}", "%s"} {
			f.Add(shape, middle)
		}
	}
	f.Fuzz(func(t *testing.T, shape, middle string) {
		const before, after = "zq9vsecretxk7w", "w7kxterceqv9z"
		if len(shape)+len(middle) > 2000 || strings.Contains(strings.ToLower(shape+middle), "secretx") {
			return
		}
		text := strings.Replace(shape, "%s", "redis://:"+before+middle+after+"@h:1", 1)
		cfg, err := stores.LoadConfig(file(t, text))
		shown := printed(t, cfg)
		if err != nil {
			shown += fmt.Sprintf("%v %+v %q", err, err, err)
			if _, quotes := errors.AsType[*toml.DecodeError](err); quotes {
				t.Fatal("the decoder's error, which quotes the file, is within reach")
			}
		}
		for _, part := range []string{before, after} {
			if strings.Contains(strings.ToLower(shown), part) {
				t.Fatalf("%q of\n%s\nis shown: %s", part, text, shown[:min(len(shown), 500)])
			}
		}
	})
}
