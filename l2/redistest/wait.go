package redistest

import (
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
