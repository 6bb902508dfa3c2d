package telemetry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

func (t *openTelemetry) Start(ctx context.Context, op Op) (context.Context, Span) {
	op.Namespace = withoutTenant(op.Namespace)
	c := &call{durations: t.durations, op: op, span: noop.Span{}}
	if trace.SpanFromContext(ctx).IsRecording() {
		ctx, c.span = t.tracer.Start(ctx, prefix+op.Name.String(), spanOptions(op)...)
	}
	c.began = time.Now()
	return ctx, c
}

func spanOptions(op Op) []trace.SpanStartOption {
	attributes := []attribute.KeyValue{attribute.String("layercache.ns", op.Namespace)}
	if op.Keys > 0 {
		attributes = append(attributes, attribute.Int("layercache.keys", op.Keys))
	}
	kind := trace.SpanKindInternal
	if op.Name.measure() == L2Duration {
		kind = trace.SpanKindClient
	}
	return []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(attributes...)}
}

// call is a Span: always timed, seen in a trace only if somebody is looking.
type call struct {
	durations *histograms
	op        Op
	span      trace.Span // noop without a recording parent
	began     time.Time
	ended     bool
}

func (c *call) Link(ctx context.Context) {
	to := trace.SpanContextFromContext(ctx)
	if !to.IsValid() || to.Equal(c.span.SpanContext()) {
		return
	}
	c.span.AddLink(trace.Link{SpanContext: to})
}

func (c *call) End(outcome Outcome, err error) {
	if c.ended {
		return
	}
	c.ended = true

	ctx := context.Background()
	if c.span.IsRecording() {
		ctx = trace.ContextWithSpan(ctx, c.span)
		c.span.SetAttributes(attribute.String("layercache.outcome", outcome.String()))
		if err != nil || outcome == Failed {
			c.span.SetStatus(codes.Error, "")
			c.span.SetAttributes(attribute.String("error.type", errorType(err)))
		}
	}
	c.durations.record(ctx, timing{
		ns:      c.op.Namespace,
		measure: c.op.Name.measure(),
		op:      c.op.Name.String(),
		outcome: outcome.String(),
	}, time.Since(c.began))
	c.span.End()
}

// errorType names the kind of an error and nothing of its text: the text of a loader's error may hold a key.
func errorType(err error) string {
	switch {
	case err == nil:
		return "unknown"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	for {
		cause := errors.Unwrap(err)
		if several, ok := err.(interface{ Unwrap() []error }); ok { // the cause is last: what it means to the caller comes before it
			if all := several.Unwrap(); len(all) > 0 {
				cause = all[len(all)-1]
			}
		}
		if cause == nil {
			return fmt.Sprintf("%T", err)
		}
		err = cause
	}
}
