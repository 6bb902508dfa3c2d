package stores

import (
	"database/sql"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/layercache/layercache/stores/layout"
	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

// Option passes a live object that a file cannot hold. It is used and never closed. Open refuses one that was given nil.
type Option func(*live)

// live are the objects passed to Open.
type live struct {
	redis     redis.UniversalClient
	db        *sql.DB
	dialect   sqlsource.Dialect
	telemetry telemetry.Telemetry
	tracer    trace.TracerProvider
	meter     metric.MeterProvider
	logger    *slog.Logger
	drivers   map[string]Driver
	hollow    []string // the options that were given nil
}

// passed makes an option of an object. Without one Open would do as if nothing had been asked for.
func passed[T any](name string, object T, set func(*live, T)) Option {
	return func(l *live) {
		if layout.IsNil(object) {
			l.hollow = append(l.hollow, name)
			return
		}
		set(l, object)
	}
}

// WithRedis passes a client instead of Config.Redis. It must have ContextTimeoutEnabled and must not read from replicas; short
// timeouts serve a cache best (l2.NewClient makes such a client).
func WithRedis(client redis.UniversalClient) Option {
	return passed("WithRedis", client, func(l *live, client redis.UniversalClient) { l.redis = client })
}

// WithSQL passes a database instead of Config.SQL, and the SQL it speaks: SQLite or Postgres.
func WithSQL(db *sql.DB, dialect sqlsource.Dialect) Option {
	return passed("WithSQL", db, func(l *live, db *sql.DB) { l.db, l.dialect = db, dialect })
}

// WithDriver makes a driver known to this Open alone, under a name as RegisterDriver takes it.
func WithDriver(name string, d Driver) Option { return func(l *live) { l.drivers[name] = d } }

// WithTelemetry passes what everything reports to, instead of the three options below. Backends that share a MeterProvider
// share one (telemetry.NewOTel): of several, each of its own, the gauges show the last alone.
func WithTelemetry(t telemetry.Telemetry) Option {
	return passed("WithTelemetry", t, func(l *live, t telemetry.Telemetry) { l.telemetry = t })
}

// WithTracerProvider makes spans of L2 calls and loads.
func WithTracerProvider(p trace.TracerProvider) Option {
	return passed("WithTracerProvider", p, func(l *live, p trace.TracerProvider) { l.tracer = p })
}

// WithMeterProvider exports metrics.
func WithMeterProvider(p metric.MeterProvider) Option {
	return passed("WithMeterProvider", p, func(l *live, p metric.MeterProvider) { l.meter = p })
}

// WithLogger receives background failures.
func WithLogger(logger *slog.Logger) Option {
	return passed("WithLogger", logger, func(l *live, logger *slog.Logger) { l.logger = logger })
}

// reporter answers what to report to: nothing by default, OpenTelemetry when any of its parts was passed.
func (l *live) reporter() (telemetry.Telemetry, error) {
	switch {
	case l.telemetry != nil:
		return l.telemetry, nil
	case l.tracer == nil && l.meter == nil && l.logger == nil:
		return telemetry.Nop, nil
	}
	return telemetry.NewOTel(telemetry.Config{TracerProvider: l.tracer, MeterProvider: l.meter, Logger: l.logger})
}
