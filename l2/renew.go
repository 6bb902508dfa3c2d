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

// Leave deletes a process's registration, so that nobody waits for it, if it is still the one that last says: a Leave that
// arrives late must not take the registration of a process that serves again. The process must have stopped serving.
func (s *Store) Leave(ctx context.Context, part int, last Ack) error {
	if err := s.checkPart("leave", part); err != nil {
		return err
	}
	if err := checkProcess("leave", last.Process); err != nil {
		return err
	}
	ctx, span := s.tel.Start(ctx, telemetry.Op{Name: telemetry.OpLeave, Namespace: s.namespace})
	err := do(ctx, s.client, []call{{script: leaveScript, store: s, part: part, args: []any{last.Process, last.registration()}}})[0].err
	if err != nil {
		err = fmt.Errorf("l2: leave: %w", err)
	}
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
