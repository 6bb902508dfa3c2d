// Runlog shows a run followed live by a second process that is killed in the middle, several times, and goes on from the
// last event it has written down; and a proof that no event was lost or repeated.
//
//	go run ./examples/runlog [-tokens 600] [-kills 3] [-duration 3s]
//
// Nothing needs to be installed: an embedded Redis is the default. REDIS_URL makes it use yours; the run is there under a
// random tenant and is deleted at the end.
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

// childVariable is set in the environment of a follower.
const childVariable = "LAYERCACHE_RUNLOG_EXAMPLE_CHILD"

// program is a whole process: the parent, which appends, or a follower.
func program() int {
	if os.Getenv(childVariable) != "" {
		// These reach every process of a terminal or a job. The parent decides what becomes of its followers.
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		return serve(os.Stdin)
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
		if interrupted(ctx) {
			fmt.Fprintln(os.Stderr, "runlog: interrupted")
			return exitInterrupted
		}
		fmt.Fprintln(os.Stderr, "runlog:", err)
		return exitFailed
	}
	return exitDone
}

// interrupted says whether a signal has come. A follower that was only starting may have died of it before this process has
// noticed, so it waits a little.
func interrupted(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// config is what the flags and the environment say.
type config struct {
	tokens   int
	kills    int
	duration time.Duration
	redisURL string // "": embedded
}

func parseFlags(args []string, output io.Writer) (config, error) {
	cfg := config{redisURL: os.Getenv("REDIS_URL")}
	flags := flag.NewFlagSet("runlog", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.IntVar(&cfg.tokens, "tokens", 600, "how many tokens the model says, 10 to 9000")
	flags.IntVar(&cfg.kills, "kills", 3, "how often the follower is killed, 1 to 20")
	flags.DurationVar(&cfg.duration, "duration", 3*time.Second, "how long the model speaks, up to 1h")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = errors.New("runlog takes flags only")
	case cfg.tokens < 10 || cfg.tokens > 9000:
		err = errors.New("-tokens must be from 10 to 9000")
	case cfg.kills < 1 || cfg.kills > 20 || cfg.kills > cfg.tokens/5:
		err = errors.New("-kills must be from 1 to 20, and at most a fifth of -tokens")
	case cfg.duration < 0 || cfg.duration > time.Hour:
		err = errors.New("-duration must be from 0 to 1h")
	}
	if err != nil {
		fmt.Fprintln(output, err)
		flags.Usage()
	}
	return cfg, err
}
