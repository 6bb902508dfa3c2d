package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// reportEvery is how often the same failure is logged: a Redis that is out fails each renewal, four times a second
// or more, and the first line says all of it. Every failure is counted.
const reportEvery = 10 * time.Second

// reports logs and counts the failures of background work.
type reports struct {
	logger  *slog.Logger
	errors  metric.Int64Counter
	options series[reportedOp, metric.AddOption]

	mu    sync.Mutex                // guards lines
	lines map[reportedLine]*logLine // grows with namespaces times operations times types of error
}

type reportedOp struct{ ns, op string }

type reportedLine struct{ ns, op, errorType string }

type logLine struct {
	at      time.Time // when it was last logged
	skipped int       // how many failures since
}

func newReports(meter metric.Meter, logger *slog.Logger) (*reports, error) {
	errors, err := meter.Int64Counter(prefix+"background.error",
		metric.WithDescription("Failures of background work that no caller was told of, by operation."))
	if err != nil {
		return nil, fmt.Errorf("counter background.error: %w", err)
	}
	return &reports{logger: logger, errors: errors, lines: make(map[reportedLine]*logLine)}, nil
}

func (r *reports) add(ns, op string, err error) {
	if err == nil {
		return
	}
	options := r.options.of(reportedOp{ns, op}, func() []metric.AddOption {
		return []metric.AddOption{metric.WithAttributes(nsAttribute(ns), attribute.String("op", op))}
	})
	r.errors.Add(context.Background(), 1, options...)

	kind := errorType(err)
	skipped, due := r.due(reportedLine{ns, op, kind}, time.Now())
	if !due {
		return
	}
	r.logger.LogAttrs(context.Background(), slog.LevelError, "layercache: background failure",
		slog.String("ns", ns),
		slog.String("op", op),
		slog.String("error", err.Error()),
		slog.String("error_type", kind),
		slog.Int("skipped", skipped))
}

// due tells if a failure is to be logged now, and how many of its kind were not since the last one that was.
func (r *reports) due(key reportedLine, now time.Time) (skipped int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, known := r.lines[key]
	if !known {
		r.lines[key] = &logLine{at: now}
		return 0, true
	}
	if now.Sub(line.at) < reportEvery {
		line.skipped++
		return 0, false
	}
	skipped = line.skipped
	*line = logLine{at: now}
	return skipped, true
}
