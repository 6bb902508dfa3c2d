package redistest

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Eventually fails the test unless cond becomes true within the given time. what says what was waited for. cond is
// called from the test's goroutine, at once and then every few milliseconds.
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !poll(within, cond) {
		t.Fatalf("no %s within %s", what, within)
	}
}

// Overdue makes a call with a deadline of 50 ms, of a server that hangs, and answers its error, which must be
// context.DeadlineExceeded and come soon after. what says which call it was.
func Overdue(t testing.TB, what string, call func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := call(ctx)
	if took := time.Since(began); took > 700*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s took %s of 50 ms: %v", what, took, err)
	}
	return err
}

func poll(within time.Duration, cond func() bool) bool {
	end := time.NewTimer(within)
	defer end.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !cond() {
		select {
		case <-end.C:
			return cond()
		case <-again.C:
		}
	}
	return true
}
