package ratelimit

import (
	"math/bits"
	"time"
)

// span is a length of virtual time: whole microseconds and a fraction in parts of 1/Max us. A permit is worth Window/Max,
// which is seldom whole, and with the fraction no permit is ever rounded.
//
// The algorithm is that of ITU-T Recommendation I.371, annex A ("virtual scheduling"): a theoretical arrival time runs ahead
// of now by what was spent. n permits fit if it would then be no further ahead than the burst is worth.
type span struct{ us, part int64 }

// worth is what n permits are worth, which is n·Window/Max. n is at most capacity.
func (l Limit) worth(n int64) span {
	hi, lo := bits.Mul64(uint64(n), uint64(l.window()/time.Microsecond))
	us, part := bits.Div64(hi, lo, uint64(l.Max)) // Validate bounds us, and so hi below Max
	return span{int64(us), int64(part)}
}

// left is how many permits fit when the theoretical arrival time is ahead by so much. It can be ahead by more than the burst is
// worth, after a larger limit or a clock that went back.
func (l Limit) left(ahead span) int64 {
	if ahead.exceeds(l.worth(l.capacity())) {
		return 0
	}
	hi, lo := bits.Mul64(uint64(ahead.us), uint64(l.Max))
	lo, carry := bits.Add64(lo, uint64(ahead.part), 0)
	window := uint64(l.window() / time.Microsecond)
	spent, part := bits.Div64(hi+carry, lo, window)
	if part > 0 {
		spent++ // a permit that is not whole again
	}
	return l.capacity() - int64(spent)
}

func (s span) plus(o span, max int64) span {
	s.us, s.part = s.us+o.us, s.part+o.part
	if s.part >= max {
		s.us, s.part = s.us+1, s.part-max
	}
	return s
}

func (s span) minus(o span, max int64) span {
	s.us, s.part = s.us-o.us, s.part-o.part
	if s.part < 0 {
		s.us, s.part = s.us-1, s.part+max
	}
	return s
}

func (s span) exceeds(o span) bool { return s.us > o.us || s.us == o.us && s.part > o.part }

// length is the span as a time, rounded up to a microsecond.
func (s span) length() time.Duration {
	us := s.us
	if s.part > 0 {
		us++
	}
	return time.Duration(min(us, longest)) * time.Microsecond
}

// longest is as long as anybody is told to wait, in us: 2^52 of them are 142 years, and a time.Duration ends at 292.
const longest = 1 << 52

// answer is what a demand is told when the theoretical arrival time is ahead by so much after the call.
func (d Demand) answer(fits bool, ahead span) Answer {
	a := Answer{Fits: fits, Remaining: d.Limit.left(ahead), Reset: ahead.length()}
	if !fits {
		burst := d.Limit.worth(d.Limit.capacity())
		a.Retry = ahead.plus(d.Limit.worth(d.N), d.Limit.Max).minus(burst, d.Limit.Max).length()
	}
	return a
}
