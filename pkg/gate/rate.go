package gate

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// batchTime is how much of the rate a Take waits for at once where the rate is
// high: fetching messages one by one costs more than they do.
const batchTime = 20 * time.Millisecond

// The ramp on which an endpoint starts again that was down: what all replicas
// together may send begins with what any endpoint bears and doubles every
// second, until it is more than anything here could send.
const (
	rampStart = 32.0
	rampEnd   = 50_000.0
	// rampBurst is how much of the ramp's rate may go at once.
	rampBurst = 10 * time.Millisecond
	// rampStep bounds for how long a wait goes by the rate of its beginning.
	rampStep = 100 * time.Millisecond
)

var rampTime = time.Duration(math.Log2(rampEnd/rampStart) * float64(time.Second))

// tune puts the rate in force that the limits and the ramp allow. The caller
// holds the mutex.
func (g *Gate) tune(at instant) {
	perSecond, burst := g.limits.PerSecond, g.limits.Burst
	if g.ramp != 0 && at-g.ramp >= rampTime {
		g.ramp = 0
	}
	if g.ramp != 0 {
		r := rampStart * math.Exp2((at - g.ramp).Seconds()) / float64(g.replicas)
		b := max(1, int(r*rampBurst.Seconds()))
		if perSecond == 0 {
			perSecond, burst = r, b
		}
		perSecond, burst = min(perSecond, r), min(burst, b)
	}
	switch {
	case perSecond == 0:
		g.tokens = nil
	case g.tokens == nil:
		g.tokens = rate.NewLimiter(rate.Limit(perSecond), burst)
	default:
		g.postpone(at)
		t := g.set.time(at)
		g.tokens.SetLimitAt(t, rate.Limit(perSecond))
		g.tokens.SetBurstAt(t, burst)
	}
}

// batch returns how many tokens one who wants many waits for at most.
func (g *Gate) batch(want int) int {
	if g.tokens == nil {
		return 1
	}
	most := int(float64(g.tokens.Limit()) * batchTime.Seconds())
	return max(1, min(want, most, g.tokens.Burst()))
}

// available returns how many tokens there are, if at least need are.
func (g *Gate) available(at instant, need int) int {
	if g.tokens == nil {
		return math.MaxInt
	}
	n := int(g.tokens.TokensAt(g.set.time(at)))
	if n < need {
		return 0
	}
	return n
}

// spend takes tokens that are available.
func (g *Gate) spend(at instant, n int) {
	if g.tokens != nil {
		g.tokens.AllowN(g.set.time(at), n)
	}
}

// refund gives tokens back that were not used. To take a negative number is
// what does that: a reservation can be cancelled only whole, and before its
// time.
func (g *Gate) refund(at instant, n int) {
	if g.tokens != nil {
		g.postpone(at)
		g.tokens.AllowN(g.set.time(at), -n)
	}
}

// postpone keeps one whose tokens were due from being served as of a time
// before the one that the bucket has been brought to: the time between would
// count twice.
func (g *Gate) postpone(at instant) {
	if g.due != 0 {
		g.due = max(g.due, at)
	}
}

// when returns the time at which n tokens will be there. The nanosecond is for
// what rounding took.
func (g *Gate) when(at instant, n int) instant {
	missing := float64(n) - g.tokens.TokensAt(g.set.time(at))
	wait := missing / float64(g.tokens.Limit()) * float64(time.Second)
	return at + instant(min(wait, float64(24*time.Hour))) + 1
}

// rested reports whether the rate would be the same if it were forgotten.
func (g *Gate) rested(at instant) bool {
	return g.ramp == 0 && (g.tokens == nil || g.tokens.TokensAt(g.set.time(at)) >= float64(g.tokens.Burst()))
}
