package runlog_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(childVariable); address != "" {
		os.Exit(appendAsChild(address))
	}
	goleak.VerifyTestMain(m)
}
