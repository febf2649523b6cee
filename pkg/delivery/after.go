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
	// AvailableSince is when the endpoint was last resumed or enabled.
	AvailableSince time.Time
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
	next.Attempts++
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

// AfterProbe returns the state that a failed probe leaves behind: it is in the
// history, and counts for nothing.
func (d *Delivery) AfterProbe(r Result) State {
	next := d.State
	next.Due = time.Time{}
	next.remember(r)
	next.History[len(next.History)-1].Probe = true
	return next
}

// Down returns when the delivery is given up if its endpoint's gate stays open:
// at the end of the retry policy's window, which begins anew when the endpoint can
// be attempted again after it could not.
func (d *Delivery) Down(t Terms) time.Time {
	begin := d.State.First
	if t.AvailableSince.After(begin) {
		begin = t.AvailableSince
	}
	return begin.Add(t.Retry.Window())
}

// Expiry returns when the delivery's time is over, whatever it waits for.
func (d *Delivery) Expiry(t Terms) time.Time { return d.State.expiry(t) }

// Expired reports whether the delivery's time was over at now.
func (d *Delivery) Expired(t Terms, now time.Time) bool {
	return !now.Before(d.State.expiry(t))
}

func (s *State) expiry(t Terms) time.Time { return s.Since.Add(t.ExpireAfter) }

// Begin notes that the round is first attempted or held now, unless it was
// before.
func (s *State) Begin(now time.Time) {
	if !s.Begun() {
		s.First = now.UTC()
	}
}

// Begun reports whether the round was attempted or held before.
func (s *State) Begun() bool { return !s.First.IsZero() }

// remember adds an attempt to the history.
func (s *State) remember(r Result) {
	s.Begin(r.At)
	keep := s.History
	if over := len(keep) + 1 - MaxHistory; over > 0 {
		keep = keep[over:]
	}
	history := make([]Attempt, len(keep), len(keep)+1)
	copy(history, keep)
	s.History = append(history, Attempt{
		Attempt:    s.Attempts + 1,
		At:         r.At.UTC(),
		Status:     r.Status,
		Error:      r.Error,
		DurationMS: math.Round(float64(r.Duration)/float64(time.Microsecond)) / 1000,
	})
}
