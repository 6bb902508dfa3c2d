package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/layercache/layercache/telemetry"
)

var errTest = errors.New("dial refused")

var loadOp = telemetry.Op{Name: telemetry.OpLoad, Namespace: "policies", Keys: 1}

func TestNoSpanWithoutARecordingParent(t *testing.T) {
	remote := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	unsampled := setup(t, sdktrace.NeverSample())
	notSampled, _ := unsampled.tracer.Start(t.Context(), "request")

	for name, ctx := range map[string]context.Context{
		"no parent":                   t.Context(),
		"a parent that is not":        notSampled,
		"a remote parent with a flag": trace.ContextWithSpanContext(t.Context(), remote),
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, sdktrace.AlwaysSample())
			got, span := b.Start(ctx, loadOp)
			if got != ctx {
				t.Error("the context was changed although there is no span")
			}
			span.Link(ctx)
			span.End(telemetry.Found, nil)
			if n := len(b.spans.Started()); n != 0 {
				t.Errorf("%d spans were started", n)
			}
			if h := b.collect(t).histograms["load.duration{ns=policies,outcome=found}"]; h.count != 1 {
				t.Errorf("the duration was recorded %d times, want 1 without a span too", h.count)
			}
		})
	}
}

func TestSpanIsAChildOfTheRecordingParent(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	ctx, parent := b.tracer.Start(t.Context(), "request")
	inner, span := b.Start(ctx, telemetry.Op{Name: telemetry.OpL2Get, Namespace: "policies", Keys: 3})
	if trace.SpanFromContext(inner) == parent {
		t.Error("the returned context does not carry the new span")
	}
	span.End(telemetry.Leased, nil)

	ended := b.spans.Ended()
	if len(ended) != 1 {
		t.Fatalf("%d spans ended, want 1", len(ended))
	}
	got := ended[0]
	if got.Name() != "layercache.l2.get" || got.SpanKind() != trace.SpanKindClient ||
		got.Parent().SpanID() != parent.SpanContext().SpanID() || got.Status().Code != codes.Unset {
		t.Errorf("span %s, kind %s, parent %s, status %v", got.Name(), got.SpanKind(), got.Parent().SpanID(), got.Status())
	}
	attributes := seriesName("", got.Attributes())
	if want := "{layercache.ns=policies,layercache.keys=3,layercache.outcome=leased}"; attributes != want {
		t.Errorf("attributes %s, want %s", attributes, want)
	}
	if h := b.collect(t).histograms["l2.duration{ns=policies,op=get,outcome=leased}"]; h.count != 1 {
		t.Errorf("duration recorded %d times, want 1", h.count)
	}
}

func TestWaiterLinksToTheLoadItJoined(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	first, _ := b.tracer.Start(t.Context(), "first request")
	second, _ := b.tracer.Start(t.Context(), "second request")

	loadCtx, load := b.Start(first, loadOp)
	_, wait := b.Start(second, telemetry.Op{Name: telemetry.OpJoin, Namespace: "policies"})
	wait.Link(loadCtx)
	load.End(telemetry.Found, nil)
	wait.End(telemetry.OK, nil)

	ended := b.spans.Ended()
	if len(ended) != 2 || ended[1].Name() != "layercache.load.join" {
		t.Fatalf("ended %v, want the load and the wait", ended)
	}
	links := ended[1].Links()
	if len(links) != 1 || links[0].SpanContext.SpanID() != ended[0].SpanContext().SpanID() {
		t.Errorf("links %v, want one to %v", links, ended[0].SpanContext().SpanID())
	}
	if n := len(ended[0].Links()); n != 0 {
		t.Errorf("the load has %d links, want none", n)
	}
	got := b.collect(t)
	if h := got.histograms["load.join.duration{ns=policies,outcome=ok}"]; h.count != 1 {
		t.Errorf("the wait was recorded %d times, want 1: %s", h.count, got.all())
	}
}

func TestLinkToNothingOrToItselfIsNoLink(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	ctx, _ := b.tracer.Start(t.Context(), "request")
	own, wait := b.Start(ctx, telemetry.Op{Name: telemetry.OpJoin, Namespace: "policies"})
	wait.Link(t.Context()) // the leader was not traced
	wait.Link(own)
	wait.End(telemetry.OK, nil)
	if n := len(b.spans.Ended()[0].Links()); n != 0 {
		t.Errorf("%d links, want none", n)
	}
}

func TestTextOfAnErrorStaysOutOfTraceAndMetrics(t *testing.T) {
	const secret = "agent-4711"
	for name, tc := range map[string]struct {
		err      error
		wantType string
	}{
		"a plain error": {fmt.Errorf("load %s: %w", secret, errTest), "*errors.errorString"},
		"a cause that is said to mean something": {
			fmt.Errorf("%w: %w", errors.New("unavailable"), &net.OpError{Op: secret, Err: syscall.ECONNREFUSED}), "syscall.Errno",
		},
		"a deadline":       {fmt.Errorf("load %s: %w", secret, context.DeadlineExceeded), "timeout"},
		"a cancellation":   {fmt.Errorf("load %s: %w", secret, context.Canceled), "canceled"},
		"no error, failed": {nil, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, sdktrace.AlwaysSample())
			ctx, _ := b.tracer.Start(t.Context(), "request")
			_, span := b.Start(ctx, loadOp)
			span.End(telemetry.Failed, tc.err)

			got := b.spans.Ended()[0]
			if got.Status().Code != codes.Error {
				t.Errorf("status %v, want an error", got.Status())
			}
			attributes := seriesName("", got.Attributes())
			if !strings.Contains(attributes, "error.type="+tc.wantType) {
				t.Errorf("attributes %s, want error.type=%s", attributes, tc.wantType)
			}
			if told := fmt.Sprint(attributes, got.Events(), got.Status(), got.Name(), b.collect(t).all()); strings.Contains(told, secret) {
				t.Errorf("the error's text is told: %s", told)
			}
		})
	}
}

func TestAbsenceIsNoError(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	ctx, _ := b.tracer.Start(t.Context(), "request")
	_, span := b.Start(ctx, loadOp)
	span.End(telemetry.Absent, nil)
	if got := b.spans.Ended()[0].Status().Code; got != codes.Unset {
		t.Errorf("status %v, want unset", got)
	}
}

func TestSecondEndRecordsNothing(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	ctx, _ := b.tracer.Start(t.Context(), "request")
	_, span := b.Start(ctx, loadOp)
	span.End(telemetry.Found, nil)
	span.End(telemetry.Failed, errTest)

	got := b.collect(t)
	if len(got.histograms) != 1 || got.histograms["load.duration{ns=policies,outcome=found}"].count != 1 {
		t.Errorf("recorded %v, want the first end only", got.histograms)
	}
	if n := len(b.spans.Ended()); n != 1 {
		t.Errorf("%d spans ended, want 1", n)
	}
}
