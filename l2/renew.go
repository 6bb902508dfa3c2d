package l2

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/telemetry"
)

// Renewal registers what a process has applied of one partition and asks where the partition stands.
//
// Every process of a namespace must renew partition 0 before it trusts any other: that is where a process with another
// number of partitions is found out.
type Renewal struct {
	Store     *Store
	Partition int
	// Process is the process's random id. It must not be empty nor begin with '!'.
	Process string
	// Epoch is the client's: the one whose invalidations up to Applied it has applied. Empty if it knows none.
	Epoch   Epoch
	Applied uint64
	// Count is how many renewals the process has sent before: it makes every registration different.
	Count uint64
	// LongestLease is the longest B this process has seen stored, beside what the Store itself remembers.
	LongestLease time.Duration
}

// RenewReply answers a Renewal.
type RenewReply struct {
	Position Position
	// LongestLease is the longest B of any process of the namespace in this epoch.
	LongestLease time.Duration
	// Weak says that Redis hides its replication id from this user: only lost keys are noticed.
	Weak bool
	// Degraded says that Redis refused this Store's last attempt to publish.
	Degraded bool
	Err      error
}

// Renew sends all renewals in one pipeline. The replies are in the order of the renewals.
func Renew(ctx context.Context, client redis.UniversalClient, renewals []Renewal) []RenewReply {
	if len(renewals) == 0 {
		return nil
	}
	first := renewals[0].Store
	ctx, span := first.tel.Start(ctx, telemetry.Op{Name: telemetry.OpRenew, Namespace: first.namespace})
	replies := make([]RenewReply, len(renewals))
	var calls []call
	var sent []int
	for i, r := range renewals {
		if err := r.check(); err != nil {
			replies[i].Err = err
			continue
		}
		r.Store.sawLease(r.LongestLease)
		calls = append(calls, call{
			script: renewScript, store: r.Store, part: r.Partition,
			args: []any{r.Process, Ack{Epoch: r.Epoch, Seq: r.Applied, Count: r.Count}.registration()},
		})
		sent = append(sent, i)
	}
	if len(calls) > 0 {
		for n, a := range do(ctx, client, calls) {
			replies[sent[n]] = renewed(renewals[sent[n]].Store, a)
		}
	}
	var errs []error
	for _, r := range replies {
		errs = append(errs, r.Err)
	}
	err := errors.Join(errs...)
	span.End(outcomeOf(err), err)
	return replies
}

func (r Renewal) check() error {
	if err := r.Store.checkPart("renew", r.Partition); err != nil {
		return err
	}
	if r.Epoch != "" && !validEpoch(string(r.Epoch)) {
		return errors.New("l2: renew: Renewal.Epoch is not an epoch")
	}
	return checkProcess("renew", r.Process)
}

func checkProcess(op, process string) error {
	if process == "" || process[0] == '!' {
		return fmt.Errorf("l2: %s: a process id must not be empty nor begin with '!'", op)
	}
	return nil
}

func renewed(s *Store, a answer) RenewReply {
	if a.err != nil {
		return RenewReply{Err: fmt.Errorf("l2: renew: %w", a.err)}
	}
	in := reader{values: a.values[1:]}
	r := RenewReply{Position: in.position(), LongestLease: in.lease(), Weak: in.number() != 0, Degraded: s.degraded.Load()}
	if in.bad {
		return RenewReply{Err: fmt.Errorf("l2: renew: %w", errReply)}
	}
	s.sawLease(r.LongestLease)
	return r
}

// Departure says that a process has stopped serving a partition.
type Departure struct {
	Store     *Store
	Partition int
	// Last is the registration it made last.
	Last Ack
}

// Leave is Leave of one registration.
func (s *Store) Leave(ctx context.Context, part int, last Ack) error {
	return Leave(ctx, s.client, []Departure{{Store: s, Partition: part, Last: last}})
}

// Leave deletes registrations, so that nobody waits for them, in one pipeline. One that is not the Last any more stays: a Leave
// that arrives late must not take the registration of a process that serves again. The error joins what failed; a Departure that
// is not valid fails the whole call before anything is sent.
func Leave(ctx context.Context, client redis.UniversalClient, departures []Departure) error {
	if len(departures) == 0 {
		return nil
	}
	calls := make([]call, len(departures))
	for i, d := range departures {
		if err := d.Store.checkPart("leave", d.Partition); err != nil {
			return err
		}
		if err := checkProcess("leave", d.Last.Process); err != nil {
			return err
		}
		calls[i] = call{
			script: leaveScript, store: d.Store, part: d.Partition, args: []any{d.Last.Process, d.Last.registration()},
		}
	}
	first := departures[0].Store
	ctx, span := first.tel.Start(ctx, telemetry.Op{Name: telemetry.OpLeave, Namespace: first.namespace})
	var errs []error
	for _, a := range do(ctx, client, calls) {
		if a.err != nil {
			errs = append(errs, fmt.Errorf("l2: leave: %w", a.err))
		}
	}
	err := errors.Join(errs...)
	span.End(outcomeOf(err), err)
	return err
}

// Ack is a process's registration: what it had applied at its renewal number Count.
type Ack struct {
	Process string
	Epoch   Epoch
	Seq     uint64
	Count   uint64
}

// registration is an Ack as Redis keeps it under its process.
func (a Ack) registration() string {
	return string(a.Epoch) + ":" + digits(a.Seq) + ":" + strconv.FormatUint(a.Count, 10)
}

// parseAck reads a registration. One that is not readable keeps its process and nothing else: it has applied nothing.
func parseAck(process, registration string) Ack {
	ack := Ack{Process: process}
	epoch, rest, _ := strings.Cut(registration, ":")
	seq, count, _ := strings.Cut(rest, ":")
	s, err := parseDigits(seq)
	if err != nil || epoch != "" && !validEpoch(epoch) {
		return ack
	}
	c, err := parseDigits(count)
	if err != nil {
		return ack
	}
	ack.Epoch, ack.Seq, ack.Count = Epoch(epoch), s, c
	return ack
}
