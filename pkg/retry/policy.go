package retry

import (
	"fmt"
	"time"
)

// Jitter names how a delay is spread, so that deliveries that failed together
// do not come back together.
type Jitter string

// The jitters. For a delay d before jitter: full is uniform in [0, d], equal
// in [d/2, d], proportional in [0.8 d, 1.2 d] cut at the policy's longest
// delay, none is d.
const (
	JitterFull         Jitter = "full"
	JitterEqual        Jitter = "equal"
	JitterProportional Jitter = "proportional"
	JitterNone         Jitter = "none"
)

// The bounds that Validate holds a policy to. The least base keeps a typing
// error from becoming a busy loop; the others keep a delivery from waiting for
// longer than anybody would remember why.
const (
	MinBase     = time.Millisecond
	MaxFactor   = 100
	LongestWait = 30 * 24 * time.Hour
	MostDelays  = 100 // of a schedule; max_attempts has the same bound
)

// Policy says when a failed delivery is tried again and when to give up. It is
// either exponential (Base, Factor, MaxDelay, MaxAttempts) or, when Schedule
// is not empty, an explicit list of delays.
type Policy struct {
	// Base is the delay after the first failed attempt, before jitter:
	// from 1ms to MaxDelay. Excluded by Schedule.
	Base time.Duration
	// Factor is what each delay is multiplied by to give the next: from 1
	// (always the same delay) to 100. Excluded by Schedule.
	Factor float64
	// MaxDelay is what no delay exceeds: from 1ms to 30 days. Excluded by
	// Schedule.
	MaxDelay time.Duration
	// MaxAttempts counts all attempts, the first included: from 1 (no retry)
	// to 100. Excluded by Schedule.
	MaxAttempts int
	// Jitter says how delays are spread. Empty means full for an exponential
	// policy, and none for a schedule: who writes times wants those times.
	Jitter Jitter
	// Schedule lists the delays one by one, at most 100, each from 0 to 30
	// days. Attempts in all are one more than its entries.
	Schedule []time.Duration
}

// FieldError says which field of a policy is not allowed, and what would be.
type FieldError struct {
	Field   string // the field's name in the endpoint document, such as max_delay
	Message string // what is allowed there, and what was found
}

// Error gives the field and the message in one line.
func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// Default returns the policy of an endpoint that asks for none: 16 attempts
// within a window of 28 hours, which lets a receiver be down for a day.
func Default() Policy {
	return Policy{
		Base:        30 * time.Second,
		Factor:      2,
		MaxDelay:    4 * time.Hour,
		MaxAttempts: 16,
		Jitter:      JitterFull,
	}
}

// Validate returns nil for a policy that can be followed, and otherwise a
// *FieldError for the first field that is not allowed. It fills nothing in:
// whoever reads a document puts the defaults where the document is silent.
func (p Policy) Validate() error {
	for _, check := range []func() *FieldError{p.checkJitter, p.checkSchedule, p.checkExponential} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (p Policy) checkJitter() *FieldError {
	switch p.Jitter {
	case "", JitterFull, JitterEqual, JitterProportional, JitterNone:
		return nil
	}
	return refuse("jitter", "must be full, equal, proportional or none, not %q", string(p.Jitter))
}

func (p Policy) checkSchedule() *FieldError {
	if n := len(p.Schedule); n > MostDelays {
		return refuse("schedule", "must have at most %d delays, not %d", MostDelays, n)
	}
	for i, d := range p.Schedule {
		if d < 0 || d > LongestWait {
			return refuse("schedule", "each delay must be from 0s to 720h (30 days), number %d is %v", i+1, d)
		}
	}
	return nil
}

func (p Policy) checkExponential() *FieldError {
	if len(p.Schedule) > 0 {
		return p.checkAbsent()
	}
	// The range is asked for in the affirmative, because NaN is in none.
	factorAllowed := p.Factor >= 1 && p.Factor <= MaxFactor
	switch {
	case p.MaxDelay < MinBase || p.MaxDelay > LongestWait:
		return refuse("max_delay", "must be from 1ms to 720h (30 days), not %v", p.MaxDelay)
	case p.Base < MinBase || p.Base > p.MaxDelay:
		return refuse("base", "must be from 1ms to max_delay, which is %v, not %v", p.MaxDelay, p.Base)
	case !factorAllowed:
		return refuse("factor", "must be from 1 to %d, not %v", MaxFactor, p.Factor)
	case p.MaxAttempts < 1 || p.MaxAttempts > MostDelays:
		return refuse("max_attempts", "must be from 1 to %d, not %d", MostDelays, p.MaxAttempts)
	}
	return nil
}

// checkAbsent refuses the exponential fields beside a schedule: one of the two
// would be ignored, and the document's author could not tell which.
func (p Policy) checkAbsent() *FieldError {
	const message = "must be left out where there is a schedule, which lists every delay itself"
	switch {
	case p.Base != 0:
		return refuse("base", message)
	case p.Factor != 0:
		return refuse("factor", message)
	case p.MaxDelay != 0:
		return refuse("max_delay", message)
	case p.MaxAttempts != 0:
		return refuse("max_attempts", message)
	}
	return nil
}

func refuse(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Message: fmt.Sprintf(format, args...)}
}
