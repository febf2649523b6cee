package delivery

import (
	"math"
	"time"

	"jethook/pkg/retry"
)

// Terms are what an endpoint asks for, as far as they decide what becomes of a
// delivery.
type Terms struct {
	Retry       retry.Policy
	RetryOn     []int
	ExpireAfter time.Duration
}

// After returns what a result makes of the delivery under the endpoint's terms,
// and the delivery's next state. The receiver stays as it is. random is uniform
// in [0, 1).
func (d *Delivery) After(r Result, t Terms, random func() float64) (Verdict, State) {
	v := Classify(r, t.RetryOn)
	next := d.State
	next.Due = time.Time{}
	if v.Outcome == Interrupted {
		return v, d.State
	}
	next.remember(r)
	if v.Outcome != Retry {
		return v, next
	}
	finished := r.At.Add(r.Duration)
	delay, ok := t.Retry.Next(next.Attempts, r.RetryAfter, random)
	due := finished.Add(delay)
	switch {
	case !ok:
		v.Outcome, v.Reason = Dead, AttemptsExhausted
	case !due.Before(next.expiry(t)):
		v.Outcome, v.Reason = Dead, Expired // no attempt can be made in time
	default:
		next.Due = due
	}
	return v, next
}

// Expired reports whether the delivery's time was over at now.
func (d *Delivery) Expired(t Terms, now time.Time) bool {
	return !now.Before(d.State.expiry(t))
}

func (s *State) expiry(t Terms) time.Time { return s.Since.Add(t.ExpireAfter) }

func (s *State) remember(r Result) {
	s.Attempts++
	keep := s.History
	if over := len(keep) + 1 - MaxHistory; over > 0 {
		keep = keep[over:]
	}
	history := make([]Attempt, len(keep), len(keep)+1)
	copy(history, keep)
	s.History = append(history, Attempt{
		Attempt:    s.Attempts,
		At:         r.At.UTC(),
		Status:     r.Status,
		Error:      r.Error,
		DurationMS: math.Round(float64(r.Duration)/float64(time.Microsecond)) / 1000,
	})
}
