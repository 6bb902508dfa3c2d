// Dispatch shows a registry at work: 200 agents that beat, dispatchers that route tasks to them, and agents that fail
// without a word and come back, with a proof that nobody got a task who should not have.
//
//	go run ./examples/dispatch [-agents 200] [-duration 10s] [-failing 12]
//
// Nothing needs to be installed: an embedded Redis is the default. REDIS_URL makes it use yours; there everything is under
// a random tenant and is deleted at the end.
//
// It exits with 0 when the proof holds, 1 when it does not or something failed, 2 for a wrong flag, 130 when it was
// interrupted.
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

func program() int {
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
		fmt.Fprintln(os.Stderr, "dispatch: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(os.Stderr, "dispatch:", err)
	return exitFailed
}

// config is what the flags and the environment say.
type config struct {
	agents   int
	failing  int
	duration time.Duration
	redisURL string // "": embedded
}

func parseFlags(args []string, output io.Writer) (config, error) {
	cfg := config{redisURL: os.Getenv("REDIS_URL")}
	flags := flag.NewFlagSet("dispatch", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.IntVar(&cfg.agents, "agents", 200, "how many agents there are, 20 to 2000")
	flags.IntVar(&cfg.failing, "failing", 12, "how many of them fail, 1 to a quarter of them")
	flags.DurationVar(&cfg.duration, "duration", 10*time.Second, "how long tasks are handed out, 10s to 1h")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = errors.New("dispatch takes flags only")
	case cfg.agents < 20 || cfg.agents > 2000:
		err = errors.New("-agents must be from 20 to 2000")
	case cfg.failing < 1 || cfg.failing > cfg.agents/4:
		err = fmt.Errorf("-failing must be from 1 to %d", cfg.agents/4)
	case cfg.duration < 10*time.Second || cfg.duration > time.Hour:
		err = errors.New("-duration must be from 10s to 1h")
	}
	if err != nil {
		fmt.Fprintln(output, err)
		flags.Usage()
	}
	return cfg, err
}
