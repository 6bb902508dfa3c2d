package ratelimit_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		os.Exit(work(os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}
