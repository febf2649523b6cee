package retry

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var jitters = []Jitter{JitterFull, JitterEqual, JitterProportional, JitterNone}

// bounds gives the range that a jitter's documentation promises for a delay d.
func bounds(j Jitter, d, longest time.Duration) (low, high time.Duration) {
	switch j {
	case JitterFull:
		return 0, d
	case JitterEqual:
		return d / 2, d
	case JitterProportional:
		return d - d/5, min(d+d/5, longest)
	default:
		return d, d
	}
}

// checkDelays holds a valid policy to everything that is promised of it.
func checkDelays(t *testing.T, p Policy, random func() float64) {
	t.Helper()
	var sum, longest, last time.Duration
	for failed := 1; failed < p.Attempts(); failed++ {
		d := p.Backoff(failed)
		sum += d
		longest = max(longest, d)
		if d < 0 || d > p.Longest() {
			t.Fatalf("%+v: Backoff(%d) = %v, outside 0 to %v", p, failed, d, p.Longest())
		}
		if len(p.Schedule) == 0 && (d < last || d > p.MaxDelay) {
			t.Fatalf("%+v: Backoff(%d) = %v, before it %v", p, failed, d, last)
		}
		last = d
		low, high := bounds(p.jitter(), d, p.Longest())
		if got := p.Delay(failed, random); got < low || got > high {
			t.Fatalf("%+v: Delay(%d) = %v, outside %v to %v", p, failed, got, low, high)
		}
		if got, ok := p.Next(failed, 0, random); !ok || got < low || got > high {
			t.Fatalf("%+v: Next(%d) = %v, %v, outside %v to %v", p, failed, got, ok, low, high)
		}
	}
	if p.Longest() != longest {
		t.Fatalf("%+v: Longest() = %v, want %v", p, p.Longest(), longest)
	}
	if p.Window() != sum {
		t.Fatalf("%+v: Window() = %v, want %v", p, p.Window(), sum)
	}
	if got, ok := p.Next(p.Attempts(), 0, random); ok || got != 0 {
		t.Fatalf("%+v: Next(%d) = %v, %v after the last attempt", p, p.Attempts(), got, ok)
	}
}

// randomPolicy draws a valid policy; the exponents make small and great values
// equally likely.
func randomPolicy(r *rand.Rand) Policy {
	span := func(low, high float64) float64 { return low * math.Pow(high/low, r.Float64()) }
	p := Policy{Jitter: append(jitters, "")[r.IntN(len(jitters)+1)]}
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(MostDelays) {
			p.Schedule = append(p.Schedule, time.Duration(r.Int64N(int64(LongestWait)+1)))
		}
		return p
	}
	p.MaxDelay = time.Duration(span(float64(MinBase), float64(LongestWait)))
	p.Base = time.Duration(span(float64(MinBase), float64(p.MaxDelay)))
	p.Base = min(max(p.Base, MinBase), p.MaxDelay)
	p.Factor = span(1, MaxFactor)
	p.MaxAttempts = 1 + r.IntN(MostDelays)
	return p
}

func TestRandomPoliciesKeepTheirBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		p := randomPolicy(r)
		if err := p.Validate(); err != nil {
			t.Fatalf("%+v: Validate() = %v", p, err)
		}
		checkDelays(t, p, r.Float64)
		checkDelays(t, p, func() float64 { return 0 })
		checkDelays(t, p, func() float64 { return math.Nextafter(1, 0) })
	}
}

func TestBackoff(t *testing.T) {
	exponential := Policy{Base: time.Second, Factor: 1.5, MaxDelay: 3 * time.Second, MaxAttempts: 5}
	schedule := Policy{Schedule: []time.Duration{5 * time.Second, 5 * time.Minute, 0}}
	greatest := Policy{Base: math.MaxInt64, Factor: math.MaxFloat64, MaxDelay: math.MaxInt64, MaxAttempts: 9}
	tests := map[string]struct {
		policy Policy
		failed int
		want   time.Duration
	}{
		"nothing failed":               {Default(), 0, 0},
		"negative count":               {Default(), -1, 0},
		"default, first":               {Default(), 1, 30 * time.Second},
		"default, second":              {Default(), 2, time.Minute},
		"default, last before the cap": {Default(), 9, 128 * time.Minute},
		"default, first at the cap":    {Default(), 10, 4 * time.Hour},
		"default, last":                {Default(), 15, 4 * time.Hour},
		"duration would overflow":      {Default(), 40, 4 * time.Hour},
		"float would overflow":         {Default(), 2000, 4 * time.Hour},
		"greatest count":               {Default(), math.MaxInt, 4 * time.Hour},
		"fraction, second":             {exponential, 2, 1500 * time.Millisecond},
		"fraction, third":              {exponential, 3, 2250 * time.Millisecond},
		"fraction, fourth":             {exponential, 4, 3 * time.Second},
		"greatest values":              {greatest, 2, math.MaxInt64},
		"schedule, first":              {schedule, 1, 5 * time.Second},
		"schedule, second":             {schedule, 2, 5 * time.Minute},
		"schedule, at once":            {schedule, 3, 0},
		"schedule, beyond the end":     {schedule, 99, 0},
		"schedule, nothing failed":     {schedule, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.policy.Backoff(tt.failed); got != tt.want {
				t.Errorf("Backoff(%d) = %v, want %v", tt.failed, got, tt.want)
			}
		})
	}
}

func TestWholePolicy(t *testing.T) {
	tests := map[string]struct {
		policy          Policy
		attempts        int
		longest, window time.Duration
	}{
		"default":   {Default(), 16, 4 * time.Hour, 28*time.Hour + 15*time.Minute + 30*time.Second},
		"no retry":  {with(func(p *Policy) { p.MaxAttempts = 1 }), 1, 0, 0},
		"cap unmet": {with(func(p *Policy) { p.MaxAttempts = 3 }), 3, time.Minute, 90 * time.Second},
		"schedule": {
			Policy{Schedule: []time.Duration{5 * time.Second, 30 * time.Minute, 5 * time.Minute}},
			4, 30 * time.Minute, 35*time.Minute + 5*time.Second,
		},
		"sum would overflow": {
			Policy{Base: math.MaxInt64 / 2, Factor: 1, MaxDelay: math.MaxInt64 / 2, MaxAttempts: 16},
			16, math.MaxInt64 / 2, math.MaxInt64,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.policy.Attempts(); got != tt.attempts {
				t.Errorf("Attempts() = %d, want %d", got, tt.attempts)
			}
			if got := tt.policy.Longest(); got != tt.longest {
				t.Errorf("Longest() = %v, want %v", got, tt.longest)
			}
			if got := tt.policy.Window(); got != tt.window {
				t.Errorf("Window() = %v, want %v", got, tt.window)
			}
		})
	}
}

func TestJitterLeftOpen(t *testing.T) {
	half := func() float64 { return 0.5 }
	open := with(func(p *Policy) { p.Jitter = "" })
	if got := open.Delay(1, half); got != 15*time.Second {
		t.Errorf("exponential: Delay(1) = %v, want full jitter's 15s", got)
	}
	p := Policy{Schedule: []time.Duration{time.Minute}}
	if got := p.Delay(1, nil); got != time.Minute {
		t.Errorf("schedule: Delay(1) = %v, want the time as written", got)
	}
}

// TestJitterDistribution looks at mean and deciles of seeded draws: a jitter
// within its bounds that favours one place would still bring a crowd back.
func TestJitterDistribution(t *testing.T) {
	const draws = 20_000
	p := Policy{Base: 10 * time.Minute, Factor: 2, MaxDelay: time.Hour, MaxAttempts: 5}
	for _, failed := range []int{1, 4} { // far below the longest delay, and at it
		for _, j := range []Jitter{JitterFull, JitterEqual, JitterProportional} {
			p.Jitter = j
			random := rand.New(rand.NewPCG(7, uint64(failed))).Float64
			low, high := bounds(j, p.Backoff(failed), p.Longest())
			all := make([]float64, draws) // as shares of the range
			var sum float64
			for i := range all {
				all[i] = float64(p.Delay(failed, random)-low) / float64(high-low)
				sum += all[i]
			}
			slices.Sort(all)
			// The mean's standard error is 0.002 and a decile's at most
			// 0.0035; the tolerances are five times as wide.
			if mean := sum / draws; math.Abs(mean-0.5) > 0.01 {
				t.Errorf("%s after %d: mean %.4f of the range, want 0.5", j, failed, mean)
			}
			for decile := 1; decile < 10; decile++ {
				want := float64(decile) / 10
				if got := all[draws*decile/10]; math.Abs(got-want) > 0.0175 {
					t.Errorf("%s after %d: decile %d at %.4f of the range, want %.1f", j, failed, decile, got, want)
				}
			}
		}
	}
}

func TestNext(t *testing.T) {
	half := func() float64 { return 0.5 }
	schedule := Policy{Schedule: []time.Duration{time.Minute, time.Second}}
	tests := map[string]struct {
		policy     Policy
		failed     int
		retryAfter time.Duration
		want       time.Duration
		ok         bool
	}{
		"nothing asked for":         {Default(), 1, 0, 15 * time.Second, true},
		"longer than the backoff":   {Default(), 1, time.Minute, time.Minute, true},
		"shorter never shortens":    {Default(), 1, time.Second, 15 * time.Second, true},
		"negative never shortens":   {Default(), 1, -time.Hour, 15 * time.Second, true},
		"up to the longest":         {Default(), 1, 4 * time.Hour, 4 * time.Hour, true},
		"cut at the longest":        {Default(), 1, LongestRetryAfter, 4 * time.Hour, true},
		"nothing failed yet":        {Default(), 0, 0, 0, true},
		"last delay":                {Default(), 15, 0, 2 * time.Hour, true},
		"attempts used up":          {Default(), 16, 0, 0, false},
		"used up, and asked for":    {Default(), 16, time.Minute, 0, false},
		"more than used up":         {Default(), math.MaxInt, 0, 0, false},
		"schedule":                  {schedule, 2, 0, time.Second, true},
		"schedule, cut at greatest": {schedule, 2, time.Hour, time.Minute, true},
		"schedule used up":          {schedule, 3, 0, 0, false},
		"single attempt":            {with(func(p *Policy) { p.MaxAttempts = 1 }), 1, time.Minute, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := tt.policy.Next(tt.failed, tt.retryAfter, half)
			if got != tt.want || ok != tt.ok {
				t.Errorf("Next(%d, %v) = %v, %v, want %v, %v", tt.failed, tt.retryAfter, got, ok, tt.want, tt.ok)
			}
		})
	}
}
