package l2

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Mode is how a client finds its primary.
type Mode uint8

// The modes.
const (
	Standalone Mode = iota
	Sentinel
	Cluster
)

// ClientConfig describes a client of Redis. However it is printed, by itself or in an exported field, it shows no secret; but
// in an unexported field of something else package fmt hides nothing.
type ClientConfig struct {
	// URL is redis://[[user]:password@]host[:port][/db], or rediss:// for TLS, without parameters. It stands for Addrs,
	// Username, Password and DB, which must be empty beside it; Mode must be Standalone.
	URL string
	// Addrs are host:port: one of the server, some of the Cluster, or those of the Sentinels, without a password, since an
	// address is shown. Empty without a URL means 127.0.0.1:6379, in Mode Standalone only.
	Addrs []string
	Mode  Mode
	// MasterName is the primary's name in Mode Sentinel, and empty otherwise.
	MasterName string
	// Username and Password authenticate with the server, the other two with the Sentinels. A user needs a password: without one
	// go-redis would not name the user.
	Username         string
	Password         string
	SentinelUsername string
	SentinelPassword string
	// DB is the database number; 0 in Mode Cluster.
	DB int
	// TLS makes every connection a TLS one. nil means plain text, or what the URL says.
	TLS *tls.Config
	// PoolSize is how many connections one node gets at most. At most 65536; 0 means 10.
	PoolSize int
	// DialTimeout (0: 500 ms), ReadTimeout, WriteTimeout and PoolTimeout (0: 250 ms each) bound each step of a call, beside
	// the context's deadline.
	DialTimeout  time.Duration
	ReadTimeout  time.Duration
	WriteTimeout time.Duration
	PoolTimeout  time.Duration
	// Logger receives the warning about a plain-text connection to another machine. nil means slog.Default.
	Logger *slog.Logger
}

// Format hides the secrets from every verb of package fmt.
func (c ClientConfig) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, c.LogValue().String()) }

// LogValue hides the secrets from package slog.
func (c ClientConfig) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("redis client {mode %d, %d addresses, tls %t}", c.Mode, max(1, len(c.Addrs)), c.TLS != nil))
}

// MarshalText hides the secrets from what encodes by text, such as encoding/json.
func (c ClientConfig) MarshalText() ([]byte, error) { return []byte(c.LogValue().String()), nil }

// errURL says nothing of the URL: it may hold a password.
var errURL = errors.New("l2: ClientConfig.URL is not a Redis URL, which is redis://[[user]:password@]host[:port][/db] or rediss://, " +
	"without parameters, and with / ? # % of the password percent-encoded")

// NewClient makes a client without any I/O: short timeouts, context deadlines heeded, nothing retried. No error of its commands
// shows a password of cfg, also where the server repeats it. The caller closes it.
func NewClient(cfg ClientConfig) (redis.UniversalClient, error) {
	o, err := cfg.options()
	if err != nil {
		return nil, err
	}
	if o.TLSConfig == nil {
		warnPlainText(cfg.Logger, o.Addrs)
	}
	client := newClient(cfg.Mode, o)
	client.AddHook(newDiscreet(o))
	return client, nil
}

func newClient(mode Mode, o *redis.UniversalOptions) redis.UniversalClient {
	switch mode {
	case Sentinel:
		return redis.NewFailoverClient(o.Failover())
	case Cluster:
		return redis.NewClusterClient(o.Cluster())
	default:
		return redis.NewClient(o.Simple())
	}
}

func (c ClientConfig) options() (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		Addrs: c.Addrs, MasterName: c.MasterName, DB: c.DB, TLSConfig: c.TLS,
		Username: c.Username, Password: c.Password,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword,
		PoolSize:              or(c.PoolSize, 10),
		DialTimeout:           or(c.DialTimeout, 500*time.Millisecond),
		ReadTimeout:           or(c.ReadTimeout, 250*time.Millisecond),
		WriteTimeout:          or(c.WriteTimeout, 250*time.Millisecond),
		PoolTimeout:           or(c.PoolTimeout, 250*time.Millisecond),
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,
		DialerRetries:         1,
		PipelinePoolSize:      -1,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if c.URL != "" {
		if err := c.fromURL(o); err != nil {
			return nil, err
		}
	}
	return o, c.check(o)
}

func (c ClientConfig) fromURL(o *redis.UniversalOptions) error {
	if len(c.Addrs) > 0 || c.Username != "" || c.Password != "" || c.DB != 0 || c.Mode != Standalone {
		return errors.New("l2: ClientConfig.URL excludes Addrs, Username, Password, DB and any Mode but Standalone")
	}
	// To go-redis a URL without a host is the local Redis, and parameters are options that would be dropped here.
	if u, err := url.Parse(c.URL); err != nil || u.Opaque != "" || u.Scheme != "unix" && u.Hostname() == "" ||
		strings.ContainsAny(c.URL, "?#") {
		return errURL
	}
	u, err := redis.ParseURL(c.URL)
	switch {
	case err != nil || u.DB < 0:
		return errURL
	case u.Username != "" && u.Password == "":
		return errors.New("l2: ClientConfig.URL names a user without a password; a password alone stands behind a colon, redis://:password@host")
	}
	o.Addrs, o.Username, o.Password, o.DB = []string{u.Addr}, u.Username, u.Password, u.DB
	if o.TLSConfig == nil {
		o.TLSConfig = u.TLSConfig
	}
	return nil
}

const maxPool = 1 << 16 // go-redis allocates for each

func (c ClientConfig) check(o *redis.UniversalOptions) error {
	switch {
	case c.Mode > Cluster:
		return fmt.Errorf("l2: ClientConfig.Mode must be Standalone, Sentinel or Cluster, got %d", c.Mode)
	case c.PoolSize > maxPool:
		return fmt.Errorf("l2: ClientConfig.PoolSize must be at most %d, got %d", maxPool, c.PoolSize)
	case c.PoolSize < 0 || c.DialTimeout < 0 || c.ReadTimeout < 0 || c.WriteTimeout < 0 || c.PoolTimeout < 0:
		return errors.New("l2: ClientConfig.PoolSize and the timeouts must not be negative")
	case c.DB < 0:
		return fmt.Errorf("l2: ClientConfig.DB must not be negative, got %d", c.DB)
	case c.Mode == Sentinel && c.MasterName == "":
		return errors.New("l2: ClientConfig.MasterName is required in Mode Sentinel")
	case c.Mode != Sentinel && (c.MasterName != "" || c.SentinelUsername != "" || c.SentinelPassword != ""):
		return errors.New("l2: ClientConfig.MasterName and the Sentinel credentials need Mode Sentinel")
	case c.Username != "" && c.Password == "":
		return errors.New("l2: ClientConfig.Username needs Password")
	case c.SentinelUsername != "" && c.SentinelPassword == "":
		return errors.New("l2: ClientConfig.SentinelUsername needs SentinelPassword")
	case c.Mode == Cluster && c.DB != 0:
		return errors.New("l2: ClientConfig.DB must be 0 in Mode Cluster")
	case c.Mode == Standalone && len(o.Addrs) > 1:
		return errors.New("l2: ClientConfig.Addrs must be one address in Mode Standalone")
	case c.Mode != Standalone && len(o.Addrs) == 0:
		return errors.New("l2: ClientConfig.Addrs is required in Mode Sentinel and Cluster")
	}
	for _, addr := range o.Addrs {
		if strings.HasPrefix(addr, "/") {
			continue // a local socket
		}
		if strings.Contains(addr, "@") {
			return errors.New("l2: ClientConfig.Addrs must be host:port each: a user and a password before an '@' are for Username and Password, or for URL")
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return errors.New("l2: ClientConfig.Addrs must be host:port each")
		}
		if n, err := strconv.Atoi(port); err == nil && (n < 1 || n > math.MaxUint16) {
			return errors.New("l2: ClientConfig.Addrs and URL must name a port from 1 to 65535")
		}
	}
	return nil
}

func warnPlainText(log *slog.Logger, addrs []string) {
	for _, addr := range addrs {
		host, _, err := net.SplitHostPort(addr)
		if err != nil || loopback(host) {
			continue // a path is a local socket
		}
		if log == nil {
			log = slog.Default()
		}
		log.Warn("the connection to Redis is not encrypted", "host", host)
		return
	}
}

func loopback(host string) bool {
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
