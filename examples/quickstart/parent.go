package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/layercache/layercache/examples/quickstart/policies"
	"github.com/layercache/layercache/stores"
	"github.com/layercache/layercache/stores/policy"
	"github.com/layercache/layercache/stores/sqlsource"
)

// parent is a run: it revokes, and judges what the children answered.
type parent struct {
	cfg      config
	undo     undo
	progress *progress

	database  string // its name in what is printed
	setting   setting
	agents    []policy.AgentID
	documents map[policy.AgentID]*policy.Document // as they are now
	backend   *stores.Backend
	fleet     fleet

	revocations []revocation
	tally       tally
	results     []*result
}

// errInterrupted says that a signal has ended the run.
var errInterrupted = errors.New("interrupted")

// run is the whole of the main job. It undoes everything it has done, whatever happens.
func run(interruptible context.Context, cfg config, out *os.File) (err error) {
	// Longer than anything may take that does not hang.
	ctx, cancel := context.WithTimeoutCause(interruptible, 2*cfg.duration+time.Minute, errors.New("the run takes far too long"))
	defer cancel()
	began := time.Now()
	p := &parent{cfg: cfg, progress: newProgress(out)}
	defer func() {
		if err != nil && interrupted(interruptible) {
			err = errInterrupted // whatever else it looked like
		}
		undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, p.progress.end(), p.undo.run(undoing))
	}()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	if err := p.load(ctx); err != nil {
		return err
	}
	if err := p.progress.end(); err != nil {
		return err
	}
	if err := p.report(out, time.Since(began)); err != nil {
		return err
	}
	return p.verdict()
}

// interrupted says whether a signal has come. A child that was only starting may have died of it before this process has
// noticed, so it waits a little.
func interrupted(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// prepare starts what is needed, imports the policies and starts the children.
func (p *parent) prepare(ctx context.Context) error {
	if err := p.services(ctx); err != nil {
		return err
	}
	p.progress.say("importing %s policies", grouped(policies.Count))
	if err := p.fill(ctx); err != nil {
		return err
	}
	p.progress.say("starting %d processes", p.cfg.children)
	fleet, err := begin(p.cfg.children)
	p.fleet = fleet
	p.undo.add(fleet.end)
	if err != nil {
		return err
	}
	for _, child := range fleet {
		own := p.setting
		own.Number = child.number
		if err := child.tell(order{Verb: orderOpen, Setting: &own}); err != nil {
			return err
		}
	}
	_, err = fleet.hear(ctx, noticeReady)
	return err
}

// services starts or finds Redis and the database, and draws what sets this run apart from others that use them.
func (p *parent) services(ctx context.Context) (err error) {
	var run [4]byte
	_, _ = rand.Read(run[:]) // never fails
	_, _ = rand.Read(p.setting.Mask[:])
	name := "quickstart_" + hex.EncodeToString(run[:])
	p.setting.Tenant = name
	p.setting.RedisURL = p.cfg.redisURL
	if p.database, err = databaseName(p.cfg.databaseURL); err != nil {
		return err
	}
	p.progress.say("starting %s and %s", p.redisName(), p.database)
	if p.cfg.redisURL == "" {
		p.setting.RedisURL, err = embedRedis(&p.undo)
	} else {
		err = borrowRedis(&p.undo, p.cfg.redisURL, name)
	}
	if err != nil {
		return err
	}
	if p.cfg.databaseURL == "" {
		p.setting.DatabaseURL, err = embedSQLite(&p.undo)
	} else {
		p.setting.DatabaseURL, err = borrowDatabase(ctx, &p.undo, p.cfg.databaseURL, name)
	}
	return err
}

func (p *parent) redisName() string {
	if p.cfg.redisURL == "" {
		return "an embedded Redis"
	}
	return "the Redis of REDIS_URL"
}

// databaseName shows nothing of DATABASE_URL: what is no URL may hold a password anywhere.
func databaseName(url string) (string, error) {
	if url == "" {
		return "SQLite in a temporary directory", nil
	}
	driver, err := sqlsource.Lookup(url)
	if err != nil {
		return "", fmt.Errorf("DATABASE_URL: %w", err)
	}
	return "the " + driver.Dialect.String() + " of DATABASE_URL", nil
}

// fill opens the stores and imports the policies.
func (p *parent) fill(ctx context.Context) (err error) {
	p.agents = agentIDs(p.setting.Mask)
	if p.documents, err = documents(p.setting.Mask); err != nil {
		return err
	}
	if p.backend, err = p.setting.open(ctx); err != nil {
		return err
	}
	p.undo.add(p.backend.Close)
	if p.setting.DatabaseURL == p.cfg.databaseURL { // shared as it is, not a schema or file of our own
		p.undo.add(func(ctx context.Context) error { return forget(ctx, p.setting.DatabaseURL, p.agents) })
	}
	if _, err := p.backend.Policies().Import(ctx, maps.All(p.documents)); err != nil {
		return err
	}
	return nil
}

// load lets the children decide, revokes meanwhile, and hears what they have seen.
func (p *parent) load(ctx context.Context) error {
	granted := permissions(p.agents, p.documents)
	if len(granted) < p.cfg.revocations {
		return fmt.Errorf("-revocations must be at most %d: that many permissions there are", len(granted))
	}
	began := time.Now()
	if err := p.fleet.tell(order{Verb: orderStart}); err != nil {
		return err
	}
	for i, permission := range granted[:p.cfg.revocations] {
		due := p.cfg.duration * time.Duration(i) / time.Duration(p.cfg.revocations)
		if err := p.await(ctx, began, due); err != nil {
			return err
		}
		if err := p.revoke(ctx, permission); err != nil {
			return fmt.Errorf("revocation %d: %w", i+1, err)
		}
	}
	if err := p.await(ctx, began, p.cfg.duration); err != nil {
		return err
	}
	if err := p.fleet.tell(order{Verb: orderStop}); err != nil {
		return err
	}
	notices, err := p.fleet.hear(ctx, noticeResult)
	if err != nil {
		return err
	}
	for _, n := range notices {
		p.results = append(p.results, n.Result)
		for i, again := range n.Result.Again {
			p.tally.judge(p.revocations[i], again)
		}
	}
	return p.fleet.ended(ctx)
}

// await shows the progress until a time after the beginning has come.
func (p *parent) await(ctx context.Context, began time.Time, due time.Duration) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(due - time.Since(began))
	defer end.Stop()
	for {
		p.progress.show("%4.1f s   %d of %d revoked   %s decisions   %d stale", time.Since(began).Seconds(),
			len(p.revocations), p.cfg.revocations, grouped(p.fleet.decisions()), p.tally.stale)
		select {
		case <-end.C:
			return nil
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// revoke takes one permission away while every child checks it, and judges their answers.
func (p *parent) revoke(ctx context.Context, lost permission) error {
	doc, err := without(p.documents[lost.Agent], lost)
	if err != nil {
		return err
	}
	if err := p.fleet.tell(order{Verb: orderWatch, Permission: &lost}); err != nil {
		return err
	}
	if _, err := p.fleet.hear(ctx, noticeWatching); err != nil {
		return err
	}
	r := revocation{permission: lost, called: now()}
	version, err := p.backend.Policies().Put(ctx, lost.Agent, doc)
	r.returned = now()
	if err != nil {
		return err
	}
	r.version = uint64(version)
	p.documents[lost.Agent] = doc
	p.revocations = append(p.revocations, r)
	if err := p.fleet.tell(order{Verb: orderReport}); err != nil {
		return err
	}
	notices, err := p.fleet.hear(ctx, noticeHistory)
	if err != nil {
		return err
	}
	for _, n := range notices {
		p.tally.judge(r, n.History)
	}
	return nil
}

// verdict is nil if the run has proved what it set out to prove.
func (p *parent) verdict() error {
	var errs []error
	for i, r := range p.results {
		if r.Failed.Count > 0 {
			errs = append(errs, fmt.Errorf("process %d: %d decisions failed, the first: %s", i+1, r.Failed.Count, r.Failed.First))
		}
	}
	return errors.Join(append([]error{p.tally.verdict()}, errs...)...)
}

// inForce are the times from the call of Put to its return, shortest first.
func (p *parent) inForce() []time.Duration {
	took := make([]time.Duration, len(p.revocations))
	for i, r := range p.revocations {
		took[i] = time.Duration(r.returned - r.called)
	}
	slices.Sort(took)
	return took
}
