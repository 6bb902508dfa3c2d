package telemetry_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func TestReportLogsOneLineAndCountsEachFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, sdktrace.AlwaysSample())
		for range 40 { // a Redis that is out, seen by a renewal
			b.Report("policies", "renew", errTest)
			<-time.After(200 * time.Millisecond)
		}
		b.collect(t).want(t, map[string]float64{"background.error{ns=policies,op=renew}": 40})
		if n := strings.Count(b.log.String(), "\n"); n != 1 {
			t.Errorf("%d lines in 8 s, want 1:\n%s", n, b.log)
		}
		for _, part := range []string{"level=ERROR", "ns=policies", "op=renew", `error="dial refused"`, "skipped=0"} {
			if !strings.Contains(b.log.String(), part) {
				t.Errorf("the line lacks %s: %s", part, b.log)
			}
		}

		b.log.Reset()
		<-time.After(2 * time.Second)
		b.Report("policies", "renew", errTest)
		if !strings.Contains(b.log.String(), "skipped=39") {
			t.Errorf("after ten seconds the next line should tell of 39 skipped ones, got %q", b.log)
		}
	})
}

func TestReportLogsDifferentFailuresApart(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Report("policies", "renew", errTest)
	b.Report("policies", "poll", errTest)
	b.Report("sessions", "renew", errTest)
	b.Report("policies", "renew", fmt.Errorf("renew: %w", context.DeadlineExceeded))
	if n := strings.Count(b.log.String(), "\n"); n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, b.log)
	}
	b.collect(t).want(t, map[string]float64{
		"background.error{ns=policies,op=renew}": 2,
		"background.error{ns=policies,op=poll}":  1,
		"background.error{ns=sessions,op=renew}": 1,
	})
}

func TestReportOfNoErrorIsNone(t *testing.T) {
	b := setup(t, sdktrace.AlwaysSample())
	b.Report("policies", "renew", nil)
	if got := b.collect(t); len(got.values) != 0 || b.log.Len() != 0 {
		t.Errorf("counted %v, logged %q", got.values, b.log)
	}
}
