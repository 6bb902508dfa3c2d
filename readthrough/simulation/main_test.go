package simulation_test

import (
	"context"
	"flag"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

var (
	seeds = flag.Int("simulation.seeds", 0, "how many seeds are played; 0: some hundred, in short mode fewer")
	first = flag.Uint64("simulation.first", 1, "the first of them")
	only  = flag.Uint64("simulation.seed", 0, "the one seed that is played, with its trace")
	span  = flag.Duration("simulation.span", 500*time.Millisecond, "how long there is load")
)

func TestMain(m *testing.M) {
	flag.Parse()
	runtime.GOMAXPROCS(1) // see the package's documentation
	redis.SetLogger(silent{})
	debug.SetGCPercent(-1) // it would stop goroutines at any moment, and let others go first: play collects
	debug.SetMemoryLimit(2 << 30)
	goleak.VerifyTestMain(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
