// Quickstart shows the library at work on real input: processes that decide from cached policies while permissions are
// taken away from under them, and a proof that none of them answers with a policy that was revoked.
//
//	go run ./examples/quickstart [-duration 6s] [-children 3] [-revocations 120]
//
// Nothing needs to be installed: an embedded Redis and SQLite in a temporary directory are the default. REDIS_URL and
// DATABASE_URL (postgres://… or sqlite:…) make it use yours. In that Redis everything is under a random tenant and is
// deleted at the end. In PostgreSQL everything is in a schema of its own that is dropped at the end, for which the user
// needs the right to create one. A SQLite file gets the library's tables, which stay, and 1,200 policies under random
// agent ids, which are deleted at the end.
//
// It exits with 0 when the proof holds, 1 when it does not or something failed, 2 for a wrong flag, 130 when it was
// interrupted. Either way it ends its processes and removes its files.
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

// program is a whole process: the parent, or one of its children.
func program() int {
	if os.Getenv(childVariable) != "" {
		// These reach every process of a terminal or a job. The parent decides what becomes of them and closes stdin.
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
	signal.Ignore(syscall.SIGPIPE) // a closed stdout is an error of the write, after which there is still cleaning up to do
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, cfg, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		if errors.Is(err, errInterrupted) {
			return exitInterrupted
		}
		return exitFailed
	}
	return exitDone
}

// config is what the flags and the environment say.
type config struct {
	duration    time.Duration
	children    int
	revocations int
	redisURL    string // "": embedded
	databaseURL string // "": SQLite in a temporary directory
}

func parseFlags(args []string, output io.Writer) (config, error) {
	cfg := config{redisURL: os.Getenv("REDIS_URL"), databaseURL: os.Getenv("DATABASE_URL")}
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.DurationVar(&cfg.duration, "duration", 6*time.Second, "how long the processes decide, 100ms to 1h")
	flags.IntVar(&cfg.children, "children", 3, "how many processes decide, 1 to 64")
	flags.IntVar(&cfg.revocations, "revocations", 120, "how many permissions are revoked meanwhile, at least 1")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = errors.New("quickstart takes flags only")
	case cfg.duration < 100*time.Millisecond || cfg.duration > time.Hour:
		err = errors.New("-duration must be from 100ms to 1h")
	case cfg.children < 1 || cfg.children > 64:
		err = errors.New("-children must be from 1 to 64")
	case cfg.revocations < 1:
		err = errors.New("-revocations must be at least 1")
	}
	if err != nil {
		fmt.Fprintln(output, err)
		flags.Usage()
	}
	return cfg, err
}
