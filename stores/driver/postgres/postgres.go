// Package postgres links PostgreSQL (pgx) as an authority. Import it for its effect and open it by URL, or call Open:
//
//	import _ "github.com/layercache/layercache/stores/driver/postgres"
//
//	db, err := postgres.Open(ctx, "postgres://agents@db.example/agents?sslmode=verify-full")
//
// Connections go to a primary only, unless the URL sets target_session_attrs. Relays are woken by NOTIFY on a connection
// of their own, which is lost with the server and taken again. The pool is the caller's to close and safe for
// concurrent use. Open makes no connection: a server that is down is an error of the first call that needs it.
//
// A pool whose URL lets it talk to another machine in plain text says so to stores.Open, which warns.
//
// It refuses key=value connection strings and URLs in which a password could be mistaken for something else; no error
// of it or of the pool holds a password.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/layercache/layercache/stores/sqlsource"
)

func init() {
	sqlsource.RegisterDriver([]string{"postgres", "postgresql"}, sqlsource.Driver{
		Dialect: sqlsource.Postgres, Open: Open, Listen: Listen,
	})
}

// Open makes a pool from a URL: postgres://user:password@host:port/database?parameters, as libpq has them. Reserved
// characters of the password ('/', '?', '#', '%', a space) are percent-encoded.
func Open(_ context.Context, rawURL string) (*sql.DB, error) {
	cfg, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector{stdlib.GetConnector(*cfg), plainHost(cfg)})
	db.SetMaxIdleConns(8)
	return db, nil
}

// connector is pgx's. Its driver, which is that of the pool, says what stores.Open warns of.
type connector struct {
	driver.Connector
	plain string
}

func (c connector) Driver() driver.Driver { return plainDriver{c.Connector.Driver(), c.plain} }

type plainDriver struct {
	driver.Driver
	host string
}

// PlainTextHost is another machine that connections may go to in plain text, which an sslmode below require allows; "":
// there is none.
func (d plainDriver) PlainTextHost() string { return d.host }

func plainHost(cfg *pgx.ConnConfig) string {
	tried := []*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}
	for _, f := range append(tried, cfg.Fallbacks...) {
		if network, _ := pgconn.NetworkAddress(f.Host, f.Port); f.TLSConfig == nil && network != "unix" && !loopback(f.Host) {
			return f.Host
		}
	}
	return ""
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// errURL says nothing of what is wrong: a URL that cannot be read cannot be told from its password.
var errURL = errors.New("driver/postgres: the URL cannot be read; percent-encode reserved characters of the password (its text is withheld)")

// parse reads a URL. The password ends at the last '@' of the authority. A '/', '?' or '#' that the password holds as it
// is would make the rest of it a host, a port or a database, whose names appear in errors; such a URL has an '@' or a
// '#' behind the authority and is refused.
func parse(rawURL string) (*pgx.ConnConfig, error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return nil, errors.New("driver/postgres: the URL must begin with postgres:// or postgresql://")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.ContainsAny(tail, "@#") || strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, errURL
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 { // pgx ends the password at the first
		authority = strings.ReplaceAll(authority[:i], "@", "%40") + authority[i:]
	}
	cfg, err := pgx.ParseConfig(scheme + "://" + authority + tail)
	if err != nil {
		return nil, errURL // not wrapped: it holds the whole URL
	}
	if cfg.ValidateConnect == nil && !strings.Contains(tail, "target_session_attrs=") {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	return cfg, nil
}

// Listen waits for notifications of the change log and calls wake for each, and once at the start, when it hears what
// comes after. It returns when ctx ends or the connection is lost.
func Listen(ctx context.Context, db *sql.DB, wake func()) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var failed error
	_ = conn.Raw(func(driverConn any) error {
		failed = listen(ctx, driverConn, wake)
		return driver.ErrBadConn // the pool must not lend out a connection that listens
	})
	return failed
}

func listen(ctx context.Context, driverConn any, wake func()) error {
	std, ok := driverConn.(*stdlib.Conn)
	if !ok {
		return errors.New("driver/postgres: Listen needs a pool of pgx's stdlib")
	}
	if _, err := std.Conn().Exec(ctx, "LISTEN layercache"); err != nil {
		return err
	}
	for {
		wake()
		if _, err := std.Conn().WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
