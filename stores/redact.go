package stores

import (
	"encoding"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// However a Config, or the part of it that holds a secret, is printed, it goes through LogValue: fmt by Format, slog by
// LogValue, and encoding/json and its like by MarshalText.
var (
	_ = []fmt.Formatter{Config{}, RedisConfig{}, SQLConfig{}}
	_ = []fmt.Stringer{Config{}, RedisConfig{}, SQLConfig{}}
	_ = []slog.LogValuer{Config{}, RedisConfig{}, SQLConfig{}}
	_ = []encoding.TextMarshaler{Config{}, RedisConfig{}, SQLConfig{}}
)

// String is the Config without secrets: the drivers by name, and what is configured.
func (c Config) String() string {
	var out strings.Builder
	out.WriteString("stores config {")
	for _, k := range kinds {
		fmt.Fprintf(&out, "%s %s, ", k.key, shown(k.named(&c)))
	}
	fmt.Fprintf(&out, "%s, %s, tenant given %t}", c.Redis, c.SQL, c.Tenant != "") // a tenant is nobody else's business
	return out.String()
}

// Format hides secrets from every verb of package fmt.
func (c Config) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, c.String()) }

// LogValue hides secrets from package slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText hides secrets from what encodes by text, such as encoding/json.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String is the RedisConfig without URL, addresses, user and passwords.
func (c RedisConfig) String() string {
	return fmt.Sprintf("redis {given %t, tls set %t}", c.given(), c.TLS)
}

// Format hides secrets from every verb of package fmt.
func (c RedisConfig) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, c.String()) }

// LogValue hides secrets from package slog.
func (c RedisConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText hides secrets from what encodes by text.
func (c RedisConfig) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String is the SQLConfig without the URL.
func (c SQLConfig) String() string {
	return fmt.Sprintf("sql {given %t, no_migrate %t}", !c.URL.IsZero(), c.NoMigrate)
}

// Format hides the URL from every verb of package fmt.
func (c SQLConfig) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, c.String()) }

// LogValue hides the URL from package slog.
func (c SQLConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText hides the URL from what encodes by text.
func (c SQLConfig) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// shown is a name in quotes, unless it is none: a URL that was put in the wrong place may hold a password.
func shown(name string) string {
	if !isName(name, 64) {
		return "(not a name, withheld)"
	}
	return strconv.Quote(name)
}

// isName says whether s has letters, digits, '.', '_' and '-' only, and at most so many. The empty one is a name.
func isName(s string, most int) bool {
	odd := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
	}
	return len(s) <= most && !strings.ContainsFunc(s, odd)
}
