// Ratelimit shows limits that processes share: three dimensions at once, a fixed window beside GCRA, and leases that
// decide locally, with a proof that no limit was exceeded.
//
//	go run ./examples/ratelimit [-processes 4] [-duration 1s]
//
// Nothing needs to be installed: an embedded Redis is the default. REDIS_URL makes it use yours; there everything is under
// a random tenant and is deleted at the end.
//
// It exits with 0 when the proof holds, 1 when it does not or something failed, 2 for a wrong flag, 130 when it was
// interrupted. Either way it ends its processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() { os.Exit(program()) }

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// childVariable is set in the environment of a child.
const childVariable = "LAYERCACHE_RATELIMIT_CHILD"

// program is a whole process: the parent, or one of its children.
func program() int {
	if os.Getenv(childVariable) != "" {
		// These reach every process of a terminal. The parent decides what becomes of them and closes stdin.
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		return serve(os.Stdin, os.Stdout)
	}
	cfg, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err = run(ctx, cfg, os.Stdout)
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "ratelimit: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(os.Stderr, "ratelimit:", err)
	return exitFailed
}

// config is what the flags and the environment say.
type config struct {
	processes int
	duration  time.Duration
	redisURL  string // "": embedded
}

func parseFlags(args []string, output io.Writer) (config, error) {
	cfg := config{redisURL: os.Getenv("REDIS_URL")}
	flags := flag.NewFlagSet("ratelimit", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.IntVar(&cfg.processes, "processes", 4, "how many processes share the limits, 1 to 64")
	flags.DurationVar(&cfg.duration, "duration", time.Second, "how long each of the four timed parts takes, 200ms to 1h")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = errors.New("ratelimit takes flags only")
	case cfg.processes < 1 || cfg.processes > 64:
		err = errors.New("-processes must be from 1 to 64")
	case cfg.duration < 200*time.Millisecond || cfg.duration > time.Hour:
		err = errors.New("-duration must be from 200ms to 1h")
	}
	if err != nil {
		fmt.Fprintln(output, err)
		flags.Usage()
	}
	return cfg, err
}
