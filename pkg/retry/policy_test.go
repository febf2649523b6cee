package retry

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// with returns the default policy after a change.
func with(change func(*Policy)) Policy {
	p := Default()
	change(&p)
	return p
}

func TestValidateAccepts(t *testing.T) {
	tests := map[string]Policy{
		"default":              Default(),
		"no retry":             with(func(p *Policy) { p.MaxAttempts = 1 }),
		"most attempts":        with(func(p *Policy) { p.MaxAttempts = 100 }),
		"constant":             with(func(p *Policy) { p.Factor = 1 }),
		"steepest":             with(func(p *Policy) { p.Factor = 100 }),
		"least base":           with(func(p *Policy) { p.Base = time.Millisecond }),
		"base is max_delay":    with(func(p *Policy) { p.Base = p.MaxDelay }),
		"longest max_delay":    with(func(p *Policy) { p.MaxDelay = 720 * time.Hour }),
		"shortest max_delay":   with(func(p *Policy) { p.Base, p.MaxDelay = time.Millisecond, time.Millisecond }),
		"jitter left open":     with(func(p *Policy) { p.Jitter = "" }),
		"full":                 with(func(p *Policy) { p.Jitter = "full" }),
		"equal":                with(func(p *Policy) { p.Jitter = "equal" }),
		"proportional":         with(func(p *Policy) { p.Jitter = "proportional" }),
		"none":                 with(func(p *Policy) { p.Jitter = "none" }),
		"schedule":             {Schedule: []time.Duration{5 * time.Second, 0, 720 * time.Hour}},
		"longest schedule":     {Schedule: make([]time.Duration, 100)},
		"schedule with jitter": {Schedule: []time.Duration{time.Second}, Jitter: JitterEqual},
		"empty schedule":       with(func(p *Policy) { p.Schedule = []time.Duration{} }),
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			if err := p.Validate(); err != nil {
				t.Errorf("Validate() = %v, want nil", err)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	scheduled := func(change func(*Policy)) Policy {
		p := Policy{Schedule: []time.Duration{time.Second}}
		change(&p)
		return p
	}
	tests := map[string]struct {
		policy  Policy
		field   string
		message string // a part of it: the bound, or the way out
	}{
		"zero policy":             {Policy{}, "max_delay", "from 1ms to 720h"},
		"base zero":               {with(func(p *Policy) { p.Base = 0 }), "base", "from 1ms to max_delay, which is 4h0m0s, not 0s"},
		"base below a ms":         {with(func(p *Policy) { p.Base = time.Millisecond - 1 }), "base", "from 1ms"},
		"base negative":           {with(func(p *Policy) { p.Base = -time.Second }), "base", "not -1s"},
		"base above max_delay":    {with(func(p *Policy) { p.Base = p.MaxDelay + 1 }), "base", "max_delay"},
		"factor zero":             {with(func(p *Policy) { p.Factor = 0 }), "factor", "from 1 to 100, not 0"},
		"factor shrinks":          {with(func(p *Policy) { p.Factor = 0.999 }), "factor", "not 0.999"},
		"factor too steep":        {with(func(p *Policy) { p.Factor = 100.5 }), "factor", "not 100.5"},
		"factor infinite":         {with(func(p *Policy) { p.Factor = math.Inf(1) }), "factor", "from 1 to 100"},
		"factor not a number":     {with(func(p *Policy) { p.Factor = math.NaN() }), "factor", "from 1 to 100"},
		"max_delay zero":          {with(func(p *Policy) { p.MaxDelay = 0 }), "max_delay", "not 0s"},
		"max_delay too long":      {with(func(p *Policy) { p.MaxDelay = 720*time.Hour + 1 }), "max_delay", "720h (30 days)"},
		"max_attempts zero":       {with(func(p *Policy) { p.MaxAttempts = 0 }), "max_attempts", "from 1 to 100, not 0"},
		"max_attempts negative":   {with(func(p *Policy) { p.MaxAttempts = -1 }), "max_attempts", "not -1"},
		"max_attempts too many":   {with(func(p *Policy) { p.MaxAttempts = 101 }), "max_attempts", "not 101"},
		"jitter unknown":          {with(func(p *Policy) { p.Jitter = "some" }), "jitter", `full, equal, proportional or none, not "some"`},
		"jitter in capitals":      {with(func(p *Policy) { p.Jitter = "Full" }), "jitter", `not "Full"`},
		"schedule too long":       {Policy{Schedule: make([]time.Duration, 101)}, "schedule", "at most 100 delays, not 101"},
		"schedule negative":       {Policy{Schedule: []time.Duration{0, -1}}, "schedule", "number 2 is -1ns"},
		"schedule entry too long": {Policy{Schedule: []time.Duration{720*time.Hour + 1}}, "schedule", "from 0s to 720h"},
		"schedule and base":       {scheduled(func(p *Policy) { p.Base = time.Second }), "base", "left out"},
		"schedule and factor":     {scheduled(func(p *Policy) { p.Factor = 2 }), "factor", "left out"},
		"schedule and NaN":        {scheduled(func(p *Policy) { p.Factor = math.NaN() }), "factor", "left out"},
		"schedule and max_delay":  {scheduled(func(p *Policy) { p.MaxDelay = time.Hour }), "max_delay", "left out"},
		"schedule and attempts":   {scheduled(func(p *Policy) { p.MaxAttempts = 2 }), "max_attempts", "left out"},
		"schedule, bad jitter":    {scheduled(func(p *Policy) { p.Jitter = "x" }), "jitter", "must be full"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.policy.Validate()
			field, ok := errors.AsType[*FieldError](err)
			if !ok {
				t.Fatalf("Validate() = %v, want a *FieldError", err)
			}
			if field.Field != tt.field || !strings.Contains(field.Message, tt.message) {
				t.Errorf("Validate() = %q, want field %q and %q", err, tt.field, tt.message)
			}
			if want := field.Field + ": " + field.Message; err.Error() != want {
				t.Errorf("Error() = %q, want %q", err, want)
			}
		})
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(int64(30*time.Second), 2.0, int64(4*time.Hour), 16, "full", int64(0), 0.5)
	f.Add(int64(1), math.Inf(1), int64(math.MaxInt64), math.MaxInt, "none", int64(-1), 0.0)
	f.Add(int64(0), 0.0, int64(0), 0, "", int64(time.Hour), 0.999)
	f.Add(int64(time.Millisecond), 100.0, int64(720*time.Hour), 100, "proportional", int64(0), 0.25)
	f.Fuzz(func(t *testing.T, base int64, factor float64, maxDelay int64, attempts int, jitter string, scheduled int64, draw float64) {
		p := Policy{
			Base: time.Duration(base), Factor: factor, MaxDelay: time.Duration(maxDelay),
			MaxAttempts: attempts, Jitter: Jitter(jitter),
		}
		if scheduled != 0 {
			p.Schedule = []time.Duration{time.Second, time.Duration(scheduled)}
		}
		err := p.Validate()
		if err != nil {
			fields := []string{"base", "factor", "max_delay", "max_attempts", "jitter", "schedule"}
			if field, ok := errors.AsType[*FieldError](err); !ok || !slices.Contains(fields, field.Field) {
				t.Fatalf("Validate() = %v, want a *FieldError that names a field", err)
			}
			return
		}
		if !(draw >= 0 && draw < 1) {
			draw = 0
		}
		checkDelays(t, p, func() float64 { return draw })
	})
}
