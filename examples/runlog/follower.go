package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// setting is what a follower needs to know: a line of JSON on its stdin. It may hold a password, and is therefore not on a
// command line.
type setting struct {
	RedisURL   string `json:"redis_url"`
	Tenant     string `json:"tenant"`
	Run        string `json:"run"`
	Transcript string `json:"transcript"`
}

// serve follows the run until it has ended, and answers the exit code. When stdin ends, the parent is gone or has given up.
func serve(in io.Reader) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var s setting
	orders := json.NewDecoder(in)
	if orders.Decode(&s) != nil {
		return exitFailed
	}
	go func() { // ends with stdin, or with the process
		_, _ = io.Copy(io.Discard, in)
		time.AfterFunc(time.Second, func() { os.Exit(exitFailed) })
		cancel()
	}()
	if err := s.follow(ctx); err != nil {
		if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "runlog: follower:", err)
		}
		return exitFailed
	}
	return exitDone
}

// follow writes the run down from where the transcript ends.
func (s setting) follow(ctx context.Context) error {
	log, closeAll, err := open(s.RedisURL, s.Tenant)
	if err != nil {
		return err
	}
	defer func() { _ = closeAll(context.WithoutCancel(ctx)) }()
	file, at, err := resume(s.Transcript)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for e, err := range log.Follow(ctx, s.Run, at) {
		if err != nil {
			return err
		}
		text, err := json.Marshal(line{Cursor: e.Cursor(), Kind: e.Kind(), Delta: delta(e)})
		if err != nil {
			return err
		}
		if _, err := file.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// process is a follower as the parent sees it.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan error // of its end
}

// begin starts a follower.
func (s setting) begin() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, ended: make(chan error, 1)}
	err = json.NewEncoder(stdin).Encode(s)
	go func() { p.ended <- cmd.Wait() }() // ends with the process, which kill ends
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// kill ends the follower in the middle of whatever it does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	err := <-p.ended
	p.ended <- err
	_ = p.stdin.Close()
}
