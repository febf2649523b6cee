package gate

import (
	"math"
	"time"
)

const (
	firstInterval  = time.Second
	intervalGrowth = 1.25
	intervalJitter = 0.1
	// LongestInterval is the longest that an endpoint which did not ask for more
	// waits for a probe.
	LongestInterval = 2 * time.Minute
)

// Interval returns how long to wait before the next probe when so many have
// failed: a second at first, a quarter more each time, at most LongestInterval,
// spread by a tenth either way. An endpoint that asked for more time gets it.
// random gives numbers in [0, 1) and is asked once.
func Interval(probes int, retryAfter time.Duration, random func() float64) time.Duration {
	// In floats, because they overflow to infinity and not to a negative one.
	d := float64(firstInterval) * math.Pow(intervalGrowth, float64(max(probes, 0)))
	d = min(d, float64(LongestInterval))
	// The range is cut, not the draw: otherwise half of those that wait longest
	// would all wait equally long.
	low, high := d*(1-intervalJitter), min(d*(1+intervalJitter), float64(LongestInterval))
	return max(time.Duration(low+random()*(high-low)), retryAfter)
}
