package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/layercache/layercache/stores/ratelimit"
)

// parent is a run.
type parent struct {
	cfg    config
	store  *ratelimit.Store // to look at what is counted
	shown  report
	faults []error
}

// run is the whole of the main job. It undoes everything it has done, whatever happens.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*cfg.duration+time.Minute) // longer than anything may take that does not hang
	defer cancel()
	began := time.Now()
	var u undo
	defer func() {
		undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, u.run(undoing))
	}()
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	s := setting{RedisURL: cfg.redisURL, Tenant: "ratelimit_" + hex.EncodeToString(random[:]), Processes: int64(cfg.processes)}
	if cfg.redisURL == "" {
		s.RedisURL, err = embedRedis(&u)
	} else {
		err = borrowRedis(&u, cfg.redisURL, s.Tenant)
	}
	if err != nil {
		return err
	}
	children, err := begin(ctx, s)
	u.add(children.end)
	if err != nil {
		return err
	}
	p := parent{cfg: cfg}
	store, end, err := s.open()
	if err != nil {
		return err
	}
	u.add(func(context.Context) error { return end() })
	p.store = store
	if err := p.show(ctx, children); err != nil {
		return err
	}
	if err := p.shown.print(out, cfg, time.Since(began), len(p.faults) == 0); err != nil {
		return err
	}
	return errors.Join(p.faults...)
}

// show lets the children do all parts, and judges what they have seen.
func (p *parent) show(ctx context.Context, children fleet) error {
	results, _, err := children.do(order{Part: dimensions})
	if err != nil {
		return err
	}
	if err := p.judgeDimensions(ctx, results); err != nil {
		return err
	}
	for _, pace := range []struct {
		part  part
		limit ratelimit.Limit
	}{{fixed, fixedPace}, {smooth, smoothPace}} {
		results, took, err := children.do(order{Part: pace.part, Duration: p.cfg.duration})
		if err != nil {
			return err
		}
		p.judgePace(pace.part, pace.limit, results, took)
	}
	p.shown.exact, _, err = children.do(order{Part: exact, Duration: p.cfg.duration / 2})
	if err != nil {
		return err
	}
	results, took, err := children.do(order{Part: leased, Duration: p.cfg.duration})
	if err != nil {
		return err
	}
	p.judgeLeases(results, took)
	return nil
}

// within is a fault if more was allowed than may be.
func (p *parent) within(what string, allowed, most int64) {
	if allowed > most {
		p.faults = append(p.faults, fmt.Errorf("%s: %d allowed, at most %d may be", what, allowed, most))
	}
}

func (p *parent) judgeDimensions(ctx context.Context, results []result) error {
	var ofAgent [agents]int64
	var ofTeam [teams]int64
	d := &p.shown.dimensions
	for _, r := range results {
		for agent, n := range r.Agents {
			ofAgent[agent] += n
			ofTeam[teamOf[agent]] += n
			d.tenant += n
		}
		for i, n := range r.Refused {
			d.refused[i] += n
		}
	}
	for _, n := range ofAgent {
		d.agent = max(d.agent, n)
	}
	for _, n := range ofTeam {
		d.team = max(d.team, n)
	}
	p.within("the busiest agent", d.agent, agentLimit.Max)
	p.within("the busiest team", d.team, teamLimit.Max)
	p.within("the tenant", d.tenant, tenantLimit.Max)
	if d.tenant < tenantLimit.Max {
		p.faults = append(p.faults, fmt.Errorf("the tenant: %d allowed, and nobody was left who was not refused", d.tenant))
	}
	if err := p.counted(ctx, tenantKey, d.tenant); err != nil {
		return err
	}
	for team, n := range ofTeam {
		if err := p.counted(ctx, teamKey(team), n); err != nil {
			return err
		}
	}
	return nil
}

// counted is a fault if what was refused was counted, or what was allowed was not.
func (p *parent) counted(ctx context.Context, key string, allowed int64) error {
	total, err := p.store.Current(ctx, key)
	if err == nil && total != allowed {
		p.faults = append(p.faults, fmt.Errorf("%s: %d counted, %d allowed", key, total, allowed))
	}
	return err
}

// most is how many permits a limit may give in a time, whatever moment it begins at.
func most(limit ratelimit.Limit, in time.Duration) int64 {
	if limit.Algorithm == ratelimit.GCRA {
		return limit.Burst + int64(float64(limit.Max)*float64(in)/float64(limit.Window)) + 1
	}
	return (int64(in/limit.Window) + 1) * limit.Max // windows do not overlap
}

func (p *parent) judgePace(which part, limit ratelimit.Limit, results []result, took time.Duration) {
	slots := make([]int64, len(results[0].Slots))
	var allowed int64
	for _, r := range results {
		for i, n := range r.Slots {
			slots[i] += n
		}
		allowed += r.Allowed
	}
	p.shown.paces = append(p.shown.paces, pace{which, allowed, slots})
	p.within(string(which)+" pace", allowed, most(limit, took+tick))
	if allowed == 0 {
		p.faults = append(p.faults, fmt.Errorf("%s pace: nothing was allowed", which))
	}
}

// tick is the longest step in which time passes in the embedded Redis.
const tick = 50 * time.Millisecond

func (p *parent) judgeLeases(results []result, took time.Duration) {
	p.shown.leased = results
	for _, r := range results {
		p.shown.spent += r.Allowed
	}
	p.shown.windows = int64((took+tick)/leasedLimit.Window) + 1
	p.within("leases", p.shown.spent, most(leasedLimit, took+tick))
	if p.shown.spent == 0 {
		p.faults = append(p.faults, errors.New("leases: nothing was allowed"))
	}
}
