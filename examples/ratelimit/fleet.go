package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// fleet are the children.
type fleet []*process

// process is a child as the parent sees it.
type process struct {
	number int
	cmd    *exec.Cmd
	stdin  io.Closer
	orders *json.Encoder
	told   *json.Decoder
}

// begin starts children and waits until they are ready. They are killed when ctx ends.
func begin(ctx context.Context, s setting) (f fleet, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	for number := range int(s.Processes) {
		cmd := exec.CommandContext(ctx, self)
		cmd.Env, cmd.Stderr, cmd.WaitDelay = append(os.Environ(), childVariable+"=1"), os.Stderr, time.Second
		stdin, errIn := cmd.StdinPipe()
		stdout, errOut := cmd.StdoutPipe()
		if err := errors.Join(errIn, errOut); err != nil {
			return f, err
		}
		if err := cmd.Start(); err != nil {
			return f, err
		}
		p := &process{number: number + 1, cmd: cmd, stdin: stdin, orders: json.NewEncoder(stdin), told: json.NewDecoder(stdout)}
		f = append(f, p)
		if err := p.orders.Encode(s); err != nil {
			return f, fmt.Errorf("process %d: %w", p.number, err)
		}
	}
	_, err = f.hear()
	return f, err
}

// hear waits until every child has said something.
func (f fleet) hear() ([]result, error) {
	results := make([]result, len(f))
	for i, p := range f {
		if err := p.told.Decode(&results[i]); err != nil {
			return nil, fmt.Errorf("process %d has ended: %w", p.number, err)
		}
		if results[i].Error != "" {
			return nil, fmt.Errorf("process %d: %s", p.number, results[i].Error)
		}
	}
	return results, nil
}

// do lets all children do something at the same time, and answers what they saw and how long it took.
func (f fleet) do(o order) (results []result, took time.Duration, err error) {
	began := time.Now()
	for _, p := range f {
		if err := p.orders.Encode(o); err != nil {
			return nil, 0, fmt.Errorf("process %d: %w", p.number, err)
		}
	}
	if results, err = f.hear(); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", o.Part, err)
	}
	took = time.Since(began)
	_, err = f.hear() // ready again
	return results, took, err
}

// end lets the children end, and waits for them.
func (f fleet) end(context.Context) error {
	var errs []error
	for _, p := range f {
		_ = p.stdin.Close()
	}
	for _, p := range f {
		if err := p.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("process %d: %w", p.number, err))
		}
	}
	return errors.Join(errs...)
}
