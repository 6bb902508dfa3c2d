package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/layercache/layercache/stores/runlog"
)

// patience is how long a follower may take for what it has to do.
const patience = 20 * time.Second

// run speaks, lets followers be killed meanwhile, and judges what they have heard. It undoes everything it has done.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "layercache-runlog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	url, name := cfg.redisURL, "the Redis of REDIS_URL"
	if url == "" {
		embedded, stop, err := embedRedis()
		if err != nil {
			return err
		}
		defer stop()
		url, name = embedded, "an embedded Redis"
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	s := setting{
		RedisURL: url, Tenant: "example_" + hex.EncodeToString(random[:4]), Run: runlog.EventID(append(random[:], random[:]...)).String(),
		Transcript: filepath.Join(dir, "transcript"),
	}
	log, closeAll, err := open(s.RedisURL, s.Tenant)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, log.Delete(closing, s.Run), closeAll(closing))
	}()
	if err := log.Ready(ctx); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "a model says %d tokens in %s; a process follows over %s and is killed %d times\n",
		cfg.tokens, cfg.duration, name, cfg.kills); err != nil {
		return err
	}
	return play(ctx, cfg, s, log, out)
}

// play is the run itself: a model that speaks, and its followers.
func play(ctx context.Context, cfg config, s setting, log *runlog.Store, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	m := model{log: log, run: s.Run, tokens: cfg.tokens, pause: cfg.duration / time.Duration(cfg.tokens)}
	spoken := make(chan error, 1)
	go func() { // ends with ctx, and is waited for
		err := m.speak(ctx)
		if err != nil {
			cancel() // there is nothing to follow any more
		}
		spoken <- err
	}()
	followErr := killing(ctx, cfg, s, &m, out)
	if followErr != nil {
		cancel()
	}
	if err := errors.Join(followErr, <-spoken); err != nil {
		return err
	}
	lines, err := transcript(s.Transcript)
	if err != nil {
		return err
	}
	lost, repeated, err := verdict(m.appended, lines)
	if _, printErr := fmt.Fprintf(out, "heard      %d events in %.1f s by %d processes: %d lost, %d repeated\n",
		len(lines), time.Since(began).Seconds(), cfg.kills+1, lost, repeated); printErr != nil {
		return printErr
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "proved: every event was heard once and in order, whenever the follower was killed")
	return err
}

// killing keeps a follower at work until the run has ended, and kills it now and then.
func killing(ctx context.Context, cfg config, s setting, m *model, out io.Writer) error {
	for kill := range cfg.kills {
		p, err := s.begin()
		if err != nil {
			return err
		}
		due := cfg.tokens * (kill + 1) / (cfg.kills + 1)
		err = p.until(ctx, func() (bool, error) {
			lines, err := transcript(s.Transcript)
			return len(lines) >= due, err
		})
		p.kill()
		if err != nil {
			return err
		}
		lines, err := transcript(s.Transcript)
		if err != nil {
			return err
		}
		missing := m.said.Load() - int64(len(lines))
		if _, err := fmt.Fprintf(out, "killed     after event %d; %d were unheard already\n", len(lines), max(0, missing)); err != nil {
			return err
		}
		if err := m.until(ctx, min(int64(len(lines))+5, int64(cfg.tokens))); err != nil { // nobody listens meanwhile
			return err
		}
	}
	p, err := s.begin()
	if err != nil {
		return err
	}
	defer p.kill()
	select {
	case err := <-p.ended:
		p.ended <- err
		if err != nil {
			return fmt.Errorf("the last follower: %w", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(cfg.duration + patience):
		return errors.New("the last follower does not end with the run")
	}
}

// until waits until something is so while the follower is at work.
func (p *process) until(ctx context.Context, so func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes, err := so(); yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case err := <-p.ended:
			p.ended <- err
			return errors.Join(errors.New("a follower has ended by itself"), err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// model appends what it says, a token at a time.
type model struct {
	log    *runlog.Store
	run    string
	tokens int
	pause  time.Duration

	said     atomic.Int64
	appended []runlog.Envelope // of speak, until it has returned
}

func (m *model) speak(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	if err := m.say(ctx, runlog.RunStarted, map[string]string{"run_id": m.run, "session_id": "example"}); err != nil {
		return err
	}
	words := strings.Fields("what was appended is read once and in order by whoever follows however often it begins anew ")
	for i := range m.tokens {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			tick.Reset(m.pause)
		}
		if err := m.say(ctx, runlog.TextDelta, map[string]string{"run_id": m.run, "delta": words[i%len(words)] + " "}); err != nil {
			return err
		}
	}
	return m.say(ctx, runlog.RunCompleted, map[string]string{"run_id": m.run})
}

// say appends an event, and again if it is unknown whether the first time has succeeded: the id makes that harmless.
func (m *model) say(ctx context.Context, kind string, payload any) error {
	event, err := runlog.NewEvent(kind, payload)
	if err != nil {
		return err
	}
	e, err := m.log.Append(ctx, m.run, event)
	for range 5 {
		if err == nil || ctx.Err() != nil {
			break
		}
		e, err = m.log.Append(ctx, m.run, event)
	}
	if err != nil {
		return err
	}
	m.appended = append(m.appended, e)
	m.said.Add(1)
	return nil
}

// until waits until so many events were said.
func (m *model) until(ctx context.Context, n int64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.said.Load() < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
