package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/l2"
)

// Allow takes n permits of a key if the limit has them, in one round trip, or in none for a key that is known to be denied.
// A call that is denied spends nothing. Errors deny: readthrough.ErrUnavailable as Config.OnFailure says, and always when
// the caller has cancelled, or its deadline had passed before; ErrNeverFits, ErrNotCounter.
func (s *Store) Allow(ctx context.Context, key string, n int64, limit Limit) (Result, error) {
	d := Demand{Key: key, N: n, Limit: limit}
	if err := d.check(); err != nil {
		return Result{}, err
	}
	now := s.clock.now()
	if found, ok := s.denied.find(d, now); ok && !s.closed.Load() {
		return found.result(s.clock, n, now), nil
	}
	v, err := s.take(ctx, []Demand{d})
	return v.Result, err
}

// AllowAll takes the permits of every demand, or of none, in one round trip: all limits of an agent, its team and its
// tenant. At most 64 demands, no two with the same key and algorithm. On a Redis Cluster more than one needs
// RedisConfig.Tagged, else it is ErrSlots. Its errors are those of Allow.
func (s *Store) AllowAll(ctx context.Context, demands ...Demand) (Verdict, error) {
	if err := checkDemands(demands); err != nil {
		return Verdict{Refused: -1}, err
	}
	if v, known := s.known(demands); known {
		return v, nil
	}
	return s.take(ctx, demands)
}

// take asks the backend.
func (s *Store) take(ctx context.Context, demands []Demand) (Verdict, error) {
	generation, sent := s.denied.generation(), s.clock.now()
	var answers []Answer
	err := s.call(ctx, func(ctx context.Context) error {
		var err error
		answers, err = s.cfg.Backend.Take(ctx, demands)
		if err == nil && len(answers) != len(demands) {
			err = fmt.Errorf("ratelimit: the backend gave %d answers to %d demands", len(answers), len(demands))
		}
		return err
	})
	if err != nil {
		return s.instead(ctx, demands, err)
	}
	now := s.clock.now()
	each := make([]Result, len(demands))
	for i, a := range answers {
		each[i] = a.result(s.clock, demands[i].Limit, now)
		if !a.Fits {
			s.remember(demands[i], a, sent, generation)
		}
	}
	return together(each), nil
}

// known answers from memory if some demand is known to be denied.
func (s *Store) known(demands []Demand) (v Verdict, known bool) {
	if s.closed.Load() {
		return v, false
	}
	now := s.clock.now()
	var each, refusing []Result
	var which []int // of the demands that refuse
	for i, d := range demands {
		found, ok := s.denied.find(d, now)
		if !ok {
			continue
		}
		if each == nil {
			each = make([]Result, len(demands))
		}
		each[i] = found.result(s.clock, d.N, now)
		refusing, which = append(refusing, each[i]), append(which, i)
	}
	if each == nil {
		return v, false
	}
	v = together(refusing)
	v.Refused, v.Each = which[v.Refused], each
	return v, true
}

func (s *Store) remember(d Demand, a Answer, sent int64, generation uint64) {
	from := d.N
	if d.Limit.Algorithm == Fixed {
		from = a.Remaining + 1 // nothing comes back before the window ends
	}
	s.denied.note(d.Key, s.denial(d.Limit, from, a, sent), generation)
}

func (s *Store) denial(limit Limit, from int64, a Answer, sent int64) denial {
	return denial{
		limit: limit, from: from, remaining: a.Remaining,
		until: sent + int64(min(a.Retry, s.cfg.Remember)),
		retry: s.clock.now() + int64(a.Retry+slack(limit)),
		reset: s.clock.now() + int64(a.Reset+slack(limit)),
	}
}

// slack is what a time that the backend rounded down may lack.
func slack(l Limit) time.Duration {
	if l.Algorithm == Fixed {
		return time.Millisecond
	}
	return 0
}

// result is the Answer as of now, when it has arrived: no time in it is too early.
func (a Answer) result(c clock, limit Limit, now int64) Result {
	r := Result{Allowed: a.Fits, Remaining: a.Remaining}
	if a.Reset > 0 || limit.Algorithm == Fixed && a.Remaining < limit.Max { // the last millisecond is rounded to none
		r.ResetAt = c.at(now + int64(a.Reset+slack(limit)))
	}
	if !a.Fits {
		r.RetryAfter = a.Retry + slack(limit)
	}
	return r
}

func checkKey(key string) error {
	if len(key) < 1 || len(key) > l2.MaxID {
		return fmt.Errorf("ratelimit: the key must have from 1 to %d bytes, got %d", l2.MaxID, len(key))
	}
	return nil
}

func checkDemands(demands []Demand) error {
	if len(demands) < 1 || len(demands) > 64 {
		return fmt.Errorf("ratelimit: there must be from 1 to 64 demands, got %d", len(demands))
	}
	for i, d := range demands {
		if err := d.check(); err != nil {
			return err
		}
		for _, other := range demands[:i] {
			if other.Key == d.Key && other.Limit.Algorithm == d.Limit.Algorithm {
				return errors.New("ratelimit: two demands have the same key and algorithm")
			}
		}
	}
	return nil
}

func (d Demand) check() error {
	if err := checkKey(d.Key); err != nil {
		return err
	}
	if err := d.Limit.Validate(); err != nil {
		return err
	}
	if d.N < 1 {
		return fmt.Errorf("ratelimit: the number of permits must be at least 1, got %d", d.N)
	}
	if d.N > d.Limit.capacity() {
		return fmt.Errorf("%w: %d of %d", ErrNeverFits, d.N, d.Limit.capacity())
	}
	return nil
}
