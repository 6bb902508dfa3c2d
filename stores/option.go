package stores

import (
	"database/sql"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/layercache/layercache/stores/sqlsource"
	"github.com/layercache/layercache/telemetry"
)

// Option passes a live object that a file cannot hold. It is used and never closed.
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
}

// WithRedis passes a client instead of Config.Redis. It must not read from replicas; short timeouts and
// ContextTimeoutEnabled serve a cache best (l2.NewClient makes such a client).
func WithRedis(client redis.UniversalClient) Option { return func(l *live) { l.redis = client } }

// WithSQL passes a database instead of Config.SQL, and the SQL it speaks: SQLite or Postgres.
func WithSQL(db *sql.DB, dialect sqlsource.Dialect) Option {
	return func(l *live) { l.db, l.dialect = db, dialect }
}

// WithDriver makes a driver known to this Open alone, under a name as RegisterDriver takes it.
func WithDriver(name string, d Driver) Option { return func(l *live) { l.drivers[name] = d } }

// WithTelemetry passes what everything reports to, instead of the three options below.
func WithTelemetry(t telemetry.Telemetry) Option { return func(l *live) { l.telemetry = t } }

// WithTracerProvider makes spans of L2 calls and loads.
func WithTracerProvider(p trace.TracerProvider) Option { return func(l *live) { l.tracer = p } }

// WithMeterProvider exports metrics.
func WithMeterProvider(p metric.MeterProvider) Option { return func(l *live) { l.meter = p } }

// WithLogger receives background failures.
func WithLogger(logger *slog.Logger) Option { return func(l *live) { l.logger = logger } }

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
