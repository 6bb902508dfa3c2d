package stores

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
)

// Config says what to open. Zero fields mean their defaults. However it or a part of it is printed, it shows no secret. The
// keys are those of LoadConfig.
type Config struct {
	// PolicyStore is the driver of the policy store, and the fields below it those of the other kinds: memory, redis, sql, or
	// one of RegisterDriver or WithDriver. "": the first of sql, redis and memory that is configured and offers the kind.
	PolicyStore      string `key:"storage.policy_store"`
	SessionStore     string `key:"storage.session_store"`
	RateLimitCounter string `key:"storage.rate_limit_counter"`
	AgentRegistry    string `key:"storage.agent_registry"`
	Checkpointer     string `key:"storage.checkpointer"`
	EventStore       string `key:"storage.event_store"`

	// Redis is the Redis to use, unless WithRedis passes a client.
	Redis RedisConfig `key:"storage.redis"`
	// SQL is the database to use, unless WithSQL passes one.
	SQL SQLConfig `key:"storage.sql"`
	// Drivers are the settings of other drivers, by the driver's name.
	Drivers map[string]Settings

	// The stores' own settings.
	Policy     PolicyConfig     `key:"cache.policy"`
	Session    SessionConfig    `key:"cache.session"`
	RateLimit  RateLimitConfig  `key:"cache.ratelimit"`
	Registry   RegistryConfig   `key:"cache.registry"`
	Checkpoint CheckpointConfig `key:"cache.checkpoint"`
	RunLog     RunLogConfig     `key:"cache.runlog"`

	// Tenant separates this tenant's records, in every store, from another's: letters, digits, '.', '_' and '-'. "": none.
	Tenant string `key:"tenant"`
	// Sole declares that no other process uses the database: a change then waits for nobody. It is refused beside Redis.
	Sole bool `key:"storage.sole"`
}

// Settings are the settings of a driver, by key.
type Settings map[string]Secret

// RedisConfig names a Redis. The zero RedisConfig is none.
type RedisConfig struct {
	// URL is redis://[[user]:password@]host[:port][/db], or rediss:// for TLS. A '/', '?', '#' or '%' of the password is
	// percent-encoded. Beside the addresses below it must be empty.
	URL Secret `key:"url"`
	// Addrs, with Cluster or MasterName set, are those of a Redis Cluster or of Sentinels.
	Addrs []string `key:"addrs"`
	// Cluster: the addresses are of a Redis Cluster.
	Cluster bool `key:"cluster"`
	// MasterName: the addresses are of Sentinels that know the primary by this name.
	MasterName string `key:"master_name"`
	// Username and Password authenticate beside Addrs. A user needs a password.
	Username string `key:"username"`
	Password Secret `key:"password"`
	// SentinelUsername and SentinelPassword authenticate with the Sentinels. A user needs a password.
	SentinelUsername string `key:"sentinel_username"`
	SentinelPassword Secret `key:"sentinel_password"`
	// DB is the number of the database beside Addrs. 0 on a Cluster.
	DB int `key:"db"`
	// PoolSize is how many connections a node gets at most. At most 65536; 0: 10.
	PoolSize int `key:"pool_size"`
	// Timeout bounds one read and one write of a connection, beside the context's deadline. From 1 ms to 10 min; 0: 250 ms.
	Timeout time.Duration `key:"timeout"`
	// TLS upgrades a redis:// URL, or Addrs, to TLS with the system's roots.
	TLS bool `key:"tls"`

	// Tagged puts the tenant and the prefix of a key into a hash tag, where a Redis Cluster needs it and the original systems do
	// not expect it. On a Cluster the registry and the checkpointer are refused without it if the Config names redis for them,
	// and use it anyway if redis is their driver by default.
	Tagged bool `key:"tagged"`
	// The prefixes begin the keys of a store: letters, digits, '.', '_' and '-'. "": those of the original systems, which are aa
	// (sessions and rate limits), agentic (agents) and agents (threads), and runs for the runs, whose layout is our own.
	SessionPrefix    string `key:"session_prefix"`
	RateLimitPrefix  string `key:"ratelimit_prefix"`
	RegistryPrefix   string `key:"registry_prefix"`
	CheckpointPrefix string `key:"checkpoint_prefix"`
	RunLogPrefix     string `key:"runlog_prefix"`
}

func (c RedisConfig) given() bool { return !c.URL.IsZero() || len(c.Addrs) > 0 }

// SQLConfig names a database. The zero SQLConfig is none.
type SQLConfig struct {
	// URL is sqlite:path or postgres://…; its driver's package must be imported.
	URL Secret `key:"url"`
	// NoMigrate leaves the schema alone, for services whose user may not change it: run Migrate of sqlsource elsewhere.
	NoMigrate bool `key:"no_migrate"`
	// BeatDelay is how long a heartbeat of an agent waits for others to be written with it, and BeatBatch how many are written
	// without waiting longer. 0: as registry.SQLConfig.
	BeatDelay time.Duration `key:"beat_delay"`
	BeatBatch int           `key:"beat_batch"`

	table bool // LoadConfig found [storage.sql]: somebody expects a database
}

// The dialects of WithSQL.
const (
	SQLite   = sqlsource.SQLite
	Postgres = sqlsource.Postgres
)

// The tables of a file, for errors to those who wrote one.
const (
	redisTable = "[storage.redis] in a file"
	sqlTable   = "[storage.sql] in a file"
)

// validate refuses what cannot be a Redis before anything is opened.
func (c RedisConfig) validate() error {
	settings := c.Cluster || c.MasterName != "" || c.Username != "" || !c.Password.IsZero() || c.SentinelUsername != "" ||
		!c.SentinelPassword.IsZero() || c.DB != 0 || c.PoolSize != 0 || c.Timeout != 0 || c.TLS
	// Tagged and the prefixes are of use beside WithRedis too.
	switch {
	case !c.given() && settings:
		return errors.New("stores: Config.Redis, " + redisTable + ", has settings, but neither URL nor Addrs")
	case c.Cluster && c.MasterName != "":
		return errors.New("stores: Config.Redis.Cluster and Config.Redis.MasterName, cluster and master_name of " + redisTable + ", exclude each other")
	case strings.ContainsRune(c.URL.Reveal(), '#'):
		// What stands before it would be read as a host and a port, and a part of the password shown in their place.
		return errors.New("stores: Config.Redis.URL, url of " + redisTable + ", holds a '#': percent-encode it in the password")
	case c.Timeout != 0 && (c.Timeout < time.Millisecond || c.Timeout > 10*time.Minute):
		return fmt.Errorf("stores: Config.Redis.Timeout, timeout of %s, must be from 1ms to 10m, got %s", redisTable, c.Timeout)
	}
	for _, p := range []struct{ field, key, prefix string }{
		{"SessionPrefix", "session_prefix", c.SessionPrefix},
		{"RateLimitPrefix", "ratelimit_prefix", c.RateLimitPrefix},
		{"RegistryPrefix", "registry_prefix", c.RegistryPrefix},
		{"CheckpointPrefix", "checkpoint_prefix", c.CheckpointPrefix},
		{"RunLogPrefix", "runlog_prefix", c.RunLogPrefix},
	} {
		if !isName(p.prefix, 128) {
			return fmt.Errorf("stores: Config.Redis.%s, %s of %s, must have at most 128 letters, digits, '.', '_' or '-'",
				p.field, p.key, redisTable)
		}
	}
	return nil
}

// validate refuses what cannot be a database before anything is opened. given says that WithSQL passes one.
func (c SQLConfig) validate(given bool) error {
	settings := c.table || c.NoMigrate || c.BeatDelay != 0 || c.BeatBatch != 0
	switch {
	case c.URL.IsZero() && !given && settings:
		k := key{path: "storage.sql.url"}
		return fmt.Errorf("stores: Config.SQL, %s, names no database: set %s or the variable %s, or pass WithSQL", sqlTable, k.path, k.variable())
	case c.BeatDelay != 0 && (c.BeatDelay < time.Millisecond || c.BeatDelay > 5*time.Second): // as registry.SQLConfig
		return fmt.Errorf("stores: Config.SQL.BeatDelay, beat_delay of %s, must be from 1ms to 5s, got %s", sqlTable, c.BeatDelay)
	case c.BeatBatch != 0 && (c.BeatBatch < 1 || c.BeatBatch > 10_000):
		return fmt.Errorf("stores: Config.SQL.BeatBatch, beat_batch of %s, must be from 1 to 10000, got %d", sqlTable, c.BeatBatch)
	}
	return nil
}
