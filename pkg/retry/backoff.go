package retry

import (
	"math"
	"time"
)

// Attempts returns how many attempts the policy allows in all, the first
// included.
func (p Policy) Attempts() int {
	if len(p.Schedule) > 0 {
		return len(p.Schedule) + 1
	}
	return p.MaxAttempts
}

// Backoff returns the delay before jitter that follows the given count of
// failed attempts, which starts at 1. Where nothing has failed there is
// nothing to wait for. Beyond the last attempt an exponential policy goes on
// growing to MaxDelay, and the last delay of a schedule stays.
func (p Policy) Backoff(failed int) time.Duration {
	if failed < 1 {
		return 0
	}
	if n := len(p.Schedule); n > 0 {
		return p.Schedule[min(failed, n)-1]
	}
	// In floats, because they overflow to infinity and not to a negative
	// delay. Below MaxDelay they count nanoseconds exactly for 104 days.
	d := float64(p.Base) * math.Pow(p.Factor, float64(failed-1))
	if d < float64(p.MaxDelay) {
		return time.Duration(d)
	}
	return p.MaxDelay
}

// Delay returns Backoff spread by the policy's jitter. It draws from random,
// which gives numbers in [0, 1), once or, without jitter, not at all.
func (p Policy) Delay(failed int, random func() float64) time.Duration {
	d := p.Backoff(failed)
	switch p.jitter() {
	case JitterFull:
		return between(0, d, random)
	case JitterEqual:
		return between(d/2, d, random)
	case JitterProportional:
		// The range is cut, not the draw: otherwise half of all draws at the
		// longest delay would be that very delay, and come back together.
		return between(d-d/5, d+min(d/5, max(p.Longest()-d, 0)), random)
	default:
		return d
	}
}

// Longest returns the longest delay before jitter that the policy can give,
// zero for one that never retries. A receiver's Retry-After counts up to here.
func (p Policy) Longest() time.Duration {
	if len(p.Schedule) == 0 {
		return p.Backoff(p.MaxAttempts - 1)
	}
	var longest time.Duration
	for _, d := range p.Schedule {
		longest = max(longest, d)
	}
	return longest
}

// Window returns the sum of all delays before jitter: how long the policy
// keeps trying. A sum beyond what a duration can hold is the greatest one.
func (p Policy) Window() time.Duration {
	var window time.Duration
	for failed := 1; failed < p.Attempts(); failed++ {
		d := p.Backoff(failed)
		if d > math.MaxInt64-window {
			return math.MaxInt64
		}
		window += d
	}
	return window
}

// Next returns how long to wait after the given count of failed attempts, or
// false when the policy allows no further attempt. The wait is Delay, but not
// shorter than retryAfter, what the receiver asked for, as far as that lies
// within Longest. A receiver that asked for nothing is a retryAfter of zero.
func (p Policy) Next(failed int, retryAfter time.Duration, random func() float64) (delay time.Duration, ok bool) {
	if failed >= p.Attempts() {
		return 0, false
	}
	return max(p.Delay(failed, random), min(retryAfter, p.Longest())), true
}

// jitter returns the jitter in force where the policy leaves it open.
func (p Policy) jitter() Jitter {
	switch {
	case p.Jitter != "":
		return p.Jitter
	case len(p.Schedule) > 0:
		return JitterNone
	default:
		return JitterFull
	}
}

// between returns a duration in [low, high], uniform as random is.
func between(low, high time.Duration, random func() float64) time.Duration {
	return low + time.Duration(random()*float64(high-low))
}
