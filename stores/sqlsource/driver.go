package sqlsource

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// ListenFunc waits for the database's own word that a foreign program has committed a change, and calls wake for each.
// It takes one connection of db for as long as it runs, and runs until ctx ends or the connection is lost.
type ListenFunc func(ctx context.Context, db *sql.DB, wake func()) error

// Driver is how a kind of database is opened. Its package registers it when it is imported.
type Driver struct {
	// Dialect is the SQL of the database.
	Dialect Dialect
	// Open makes a pool from a URL. It may connect. Its errors never hold a password.
	Open func(ctx context.Context, url string) (*sql.DB, error)
	// Listen is nil for a database that cannot notify: relays poll it.
	Listen ListenFunc
}

var (
	driversMu sync.RWMutex // guards drivers
	drivers   = map[string]Driver{}
)

// known are the schemes of the drivers that come with this library, and the import that links each.
var known = map[string]string{
	"sqlite":     "github.com/layercache/layercache/stores/driver/sqlite",
	"file":       "github.com/layercache/layercache/stores/driver/sqlite",
	"postgres":   "github.com/layercache/layercache/stores/driver/postgres",
	"postgresql": "github.com/layercache/layercache/stores/driver/postgres",
}

// RegisterDriver makes a driver known under URL schemes. It is called from the init of a driver's package, and panics if
// the driver cannot be opened or a scheme is taken, as database/sql does.
func RegisterDriver(schemes []string, d Driver) {
	driversMu.Lock()
	defer driversMu.Unlock()
	if d.Open == nil || len(schemes) == 0 {
		panic("sqlsource: RegisterDriver without Open or schemes")
	}
	for _, scheme := range schemes {
		if _, taken := drivers[scheme]; taken {
			panic("sqlsource: RegisterDriver called twice for " + scheme)
		}
		drivers[scheme] = d
	}
}

// Lookup finds the driver of a database URL by its scheme. The error for a driver that comes with this library but is
// not linked names the import to add; for another scheme it lists the known ones. No part of the URL but its scheme is
// in any error.
func Lookup(url string) (Driver, error) {
	scheme := schemeOf(url)
	driversMu.RLock()
	defer driversMu.RUnlock()
	if d, ok := drivers[scheme]; ok {
		return d, nil
	}
	if path, ok := known[scheme]; ok {
		return Driver{}, fmt.Errorf("sqlsource: the driver for %s: is not linked: import _ %q", scheme, path)
	}
	var schemes []string
	for s := range known {
		schemes = append(schemes, s)
	}
	for s := range drivers {
		schemes = append(schemes, s)
	}
	slices.Sort(schemes)
	list := strings.Join(slices.Compact(schemes), ", ")
	if scheme == "" {
		return Driver{}, fmt.Errorf("sqlsource: the database URL has no scheme; known: %s", list)
	}
	return Driver{}, fmt.Errorf("sqlsource: no driver for %s: URLs; known: %s", scheme, list)
}

// schemeOf is the scheme of a URL in lower case, or "" if what stands before the first colon is not one. A scheme that
// nobody registered counts only before "://", so that a user name in front of a password is not taken for one.
func schemeOf(url string) string {
	scheme, rest, ok := strings.Cut(url, ":")
	if !ok || scheme == "" || len(scheme) > 32 {
		return ""
	}
	scheme = strings.ToLower(scheme)
	for i, c := range []byte(scheme) {
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return ""
		}
	}
	if known[scheme] != "" || strings.HasPrefix(rest, "//") {
		return scheme
	}
	driversMu.RLock()
	defer driversMu.RUnlock()
	if _, ok := drivers[scheme]; ok {
		return scheme
	}
	return ""
}
